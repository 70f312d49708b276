"""What dropscribe costs on AWS while nothing is to be done: dollars, from requests that are counted here.

    python -m bench.cost [--markdown]

An idle worker is let run for six hours of virtual time on an empty bucket, by scan and by queue, and its requests are
counted at the store and at the queue. Scans of a million are not run but reckoned: their requests by what 1,000 keys
are counted to take in a bucket with some, their number by the worker's own pace.
The same for a fleet that scales to zero, of infra/terraform/: the sweep's scans, and what AWS asks for looking at the
queue. Left out: what is kept (recordings, results, images), the GPU, and AWS's free tiers. ``--markdown`` prints the
table of docs/operations.md, which a test compares with this.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.table import Row, show
from handler.fake_sqs import FakeSqs
from handler.fakes import OwnedClock, ScriptedEngine
from handler.layout import Layout
from handler.missed import tell_missed
from handler.queue import SqsQueue
from handler.settings import Settings
from handler.sqs import Sqs
from handler.store.base import PAGE
from handler.store.memory import Call, MemoryStore, Phase
from handler.store.opening import event_keys
from handler.watch import Pace
from handler.worker import Worker

DAY = 86_400.0  # seconds
DAYS = 365.25 / 12  # in a month
WATCHED = 21_600.0  # seconds for which an idle worker is watched
WARM = 300.0  # seconds until a worker has found its pace
MILLION = 1_000_000
SOME = 1_100  # recordings, where scans are counted

# US dollars in us-east-1, list prices of November 2025 (aws.amazon.com/s3/pricing and the like), free tiers left out.
PRICES: Mapping[str, float] = {
    "LIST": 5e-6,
    "PUT": 5e-6,
    "GET": 0.4e-6,
    "HEAD": 0.4e-6,
    "DELETE": 0.0,
    "queue": 0.4e-6,
    "schedule": 1e-6,  # EventBridge Scheduler, an invocation
    "look": 1e-6 + 64 / 1024 * 1.0 * 1.667e-5,  # Step Functions Express: a request, and a second at 64 MB
    "sweep minute": (0.25 * 0.04048 + 1.0 * 0.004445 + 0.005) / 60,  # Fargate: 0.25 vCPU, 1 GB, a public address
    "alarm": 0.10 / DAYS,  # a day of one
}
SWEEP_MINUTES = 2.0  # from the pull of the image to its end, without the scan
LIST_SECONDS = 0.2  # an answer with 1,000 keys

SCAN, QUEUE, FLEET = "a worker that scans", "a worker on a queue", "a fleet that scales to zero"
HEADINGS = ("idle", "requests a day: empty bucket", "a month", "requests a day: 1,000,000 settled", "a day")
MOST_A_MONTH, MOST_A_DAY = 1.0, 1.0  # dollars: an empty bucket, a million settled recordings


@dataclass(frozen=True, slots=True)
class Standing:
    """``empty``, ``full``: how often a day each thing of `PRICES` is asked for."""

    name: str
    empty: Mapping[str, float]
    full: Mapping[str, float]

    @property
    def empty_month(self) -> float:
        """Dollars."""
        return dollars(self.empty) * DAYS

    @property
    def full_day(self) -> float:
        """Dollars."""
        return dollars(self.full)

    @property
    def cells(self) -> tuple[str, ...]:
        return (self.name, told(self.empty), f"{self.empty_month:.2f} $", told(self.full), f"{self.full_day:.2f} $")


def dollars(asked: Mapping[str, float]) -> float:
    return sum(PRICES[name] * times for name, times in asked.items())


def told(asked: Mapping[str, float]) -> str:
    """Requests, in words; what is none has no place here."""
    kinds = ("LIST", "PUT", "GET", "HEAD", "queue")
    return ", ".join(f"{asked[kind]:,.0f} {kind}" for kind in kinds if asked.get(kind, 0) >= 0.5)


def standings() -> list[Standing]:
    """Every way to run, measured and reckoned."""
    return [
        Standing(SCAN, idle(0, WATCHED, hears=False), reckoned(MILLION, hears=False)),
        Standing(QUEUE, idle(0, WATCHED, hears=True), reckoned(MILLION, hears=True)),
        Standing(FLEET, fleet(0), fleet(MILLION)),
    ]


@cache
def idle(settled: int, seconds: float, *, hears: bool) -> Mapping[str, float]:
    """Requests a day of a worker that has nothing to do for ``seconds`` of virtual time, once it has found its pace, on
    a bucket with so many settled recordings. Counted.
    """
    clock, stop = OwnedClock(), threading.Event()
    begin = clock.monotonic() + WARM
    counted: Counter[str] = Counter()

    def count(kind: str) -> None:
        now = clock.monotonic()
        if now >= begin + seconds:
            stop.set()
        elif now >= begin:
            counted[kind] += 1

    def at_the_store(call: Call, phase: Phase) -> None:
        if phase == "before":
            count(call.verb)

    bucket, sqs = MemoryStore(clock, "s3://b"), FakeSqs(clock)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(model="sphinx", work_dir=Path(folder))
        _fill(bucket, settings, settled)
        source = None
        if hears:
            told_by = sqs.client(hook=lambda method, arguments, phase: count("queue") if phase == "before" else None)
            source = SqsQueue(Sqs(told_by, sqs.make("told")), event_keys("s3://b"), clock, visibility=90, inline=True)
        store = bucket.client(hook=at_the_store)
        Worker(store, settings, clock, ScriptedEngine(), name="idle", stop=stop, source=source).run(drain=False)
    return {kind: times * DAY / seconds for kind, times in counted.items()}


def reckoned(settled: int, *, hears: bool) -> Mapping[str, float]:
    """As `idle`, for more than can be run: from what `SOME` took, and the pace at so many."""
    asked = dict(idle(0, WATCHED, hears=hears))
    asked["LIST"] += DAY / pause(settled, hears=hears) * pages(settled) - DAY / pause(0, hears=hears) * pages(0)
    return asked


def pause(settled: int, *, hears: bool) -> float:
    """Seconds between two scans of an idle worker, by its own pace: recordings and markers are listed."""
    pace = Pace(Settings(), "paid", hears=hears)
    return [pace.after(found_work=False, listed=2 * settled) for _ in range(100)][-1]


@cache
def pages(settled: int) -> float:
    """LISTs that a scan takes, with as many markers as recordings: by counting scans of `SOME` for each 1,000."""
    if settled <= SOME:
        return float(_swept(settled)["LIST"] - _swept(0)["LIST"] + 2)
    return pages(SOME) * (settled / PAGE) / -(-SOME // PAGE)


def fleet(settled: int) -> Mapping[str, float]:
    """A day of infra/terraform/ without a worker: an hourly sweep, a look at the queue each minute, two alarms."""
    swept = {kind: 24.0 * times for kind, times in _swept(min(settled, SOME)).items()}
    if settled > SOME:
        swept["LIST"] = 24.0 * (_swept(0)["LIST"] - 2 + pages(settled))
    minutes = 24 * (SWEEP_MINUTES + swept["LIST"] / 24 * LIST_SECONDS / 60)
    looks = DAY / 60
    beyond = {"schedule": looks + 24, "look": looks, "sweep minute": minutes, "alarm": 2.0}
    return {**swept, "queue": swept["queue"] + looks, **beyond}


@cache
def _swept(settled: int) -> Mapping[str, int]:
    """Requests of one `dropscribe sweep` in a bucket where all is settled. Counted."""
    clock = OwnedClock()
    bucket, sqs = MemoryStore(clock, "s3://b"), FakeSqs(clock)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(model="sphinx", work_dir=Path(folder))
        layout = _fill(bucket, settings, settled)
        store, queue = bucket.client(), sqs.client()
        told_now = tell_missed(store, layout, Sqs(queue, sqs.make("told")), clock)
        assert told_now.unsettled == 0
        tuple(store.list(layout.pending))  # its look for callbacks
    return {**Counter(call.verb for call in store.calls), "queue": len(queue.calls) + 1}  # it opens the queue first


def _fill(bucket: MemoryStore, settings: Settings, settled: int) -> Layout:
    """So many recordings, all of them settled."""
    layout = Layout.of(bucket.url, settings)
    for number in range(settled):
        bucket.drop(f"{settings.input_prefix}{number:07}.wav", b"a recording")
    for info in list(bucket.client().list(settings.input_prefix)):
        bucket.drop(layout.settled_key(layout.source(info).sid), b"{}")
    return layout


def rows(long: bool) -> list[Row]:
    """The figures; ``long`` changes nothing."""
    found = []
    for one in standings():
        month, day = one.empty_month, one.full_day
        found.append(
            Row(f"{one.name}: an empty bucket", f"{month:.2f} $ a month", f"< {MOST_A_MONTH:g} $", month < MOST_A_MONTH)
        )
        found.append(
            Row(f"{one.name}: 1,000,000 settled", f"{day:.2f} $ a day", f"< {MOST_A_DAY:g} $", day < MOST_A_DAY)
        )
    return found


def markdown() -> str:
    """The table of docs/operations.md."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *(one.cells for one in standings())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.cost", description="What an idle dropscribe costs on AWS.")
    parser.add_argument("--markdown", action="store_true", help="print the table of docs/operations.md")
    if parser.parse_args().markdown:
        print(markdown())
        return 0
    return show("cost on AWS while nothing is to be done", rows(False))


if __name__ == "__main__":
    sys.exit(main())
