"""Requests that a job costs: counted at the store, compared with what each case may cost.

    python -m bench.requests_per_job [--markdown]

Workers with a scripted engine on the store in memory, results inline, no sidecar. Left out are listings (their cost
goes with the scan, not with the job), heartbeats (with the time a job takes) and progress manifests (one at most every
two seconds). Requests to a queue stand among the others, under what they are for. ``--markdown`` prints the table of
docs/requests.md, which a test compares with a measurement.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.table import Row, show
from handler.fake_sqs import FakeSqs
from handler.fakes import OwnedClock, ScriptedEngine
from handler.queue import SqsQueue
from handler.settings import Settings
from handler.sqs import Sqs
from handler.store.memory import Call, MemoryStore
from handler.store.opening import event_keys
from handler.watch import scan
from handler.worker import Worker
from pipeline.plan import GENERATING_OUTPUT, TRANSCRIBING

KEPT_STAGES = len((TRANSCRIBING, GENERATING_OUTPUT))  # of the others none runs here, and decoded sound is never kept
HEADINGS = ("case", "GET + HEAD allowed", "PUT allowed", "GET + HEAD measured", "PUT measured", "which requests")

FIRST = "first-seen content"
TWICE = "duplicate notice"
AGAIN = "same bytes under a new key"
WARM = "same bytes under a new key, by a worker that met them before"
VOUCHED = "same bytes under a new key, SHA-256 known to the store"
TOLD_FIRST = "event of first-seen content"
TOLD_TWICE = "duplicate event"
TOLD_AGAIN = "event of the same bytes under a new key, by a worker that met them before"
TOLD_NOTHING = "event of no recording: a result, a removal, a test"
TOLD_POISON = "message that is no event"
TOLD_BUSY = "event of a job that another worker has"
TOLD_BUSY_AGAIN = "the same event, received once more"

CAPTIONED = "same bytes under a new key, with two outputs"

ALLOWED = {
    FIRST: (5, 5 + KEPT_STAGES),
    TWICE: (2, 0),
    AGAIN: (6, 4),
    WARM: (6, 3),
    VOUCHED: (6, 4),
    CAPTIONED: (6 + 4, 3 + 2),
    TOLD_FIRST: (7, 5 + KEPT_STAGES),
    TOLD_TWICE: (2, 0),
    TOLD_AGAIN: (7, 3),
    TOLD_NOTHING: (0, 0),
    TOLD_POISON: (0, 0),
    TOLD_BUSY: (7, 2),
    TOLD_BUSY_AGAIN: (5, 0),
}
QUEUE_REQUESTS = {
    "receive_message": "receive",
    "delete_message_batch": "delete",
    "delete_message": "delete",
    "change_message_visibility": "hide",
    "get_queue_url": "find dead letters'",
    "send_message": "send to dead letters'",
}


@dataclass(frozen=True, slots=True)
class Count:
    """One case: the requests that count, in the order in which they were made, as ``VERB prefix``."""

    case: str
    requests: tuple[str, ...]

    @property
    def reads(self) -> int:
        return sum(request.startswith(("GET ", "HEAD ")) for request in self.requests)

    @property
    def writes(self) -> int:
        return sum(request.startswith("PUT ") for request in self.requests)

    @property
    def cells(self) -> tuple[str, ...]:
        """A row of the table in docs/requests.md."""
        reads, writes = ALLOWED[self.case]
        named = ", ".join(f"{name} × {times}" if times > 1 else name for name, times in Counter(self.requests).items())
        return (self.case, str(reads), str(writes), str(self.reads), str(self.writes), named)


def counts() -> list[Count]:
    """Every case of the table, measured."""
    *unvouched, captioned = _cases(vouched=False)
    return [*unvouched, _cases(vouched=True)[2], captioned, *_told()]


def requests(calls: Sequence[Call], settings: Settings) -> tuple[str, ...]:
    """What counts of a call log. DELETEs cost nothing on S3; the cases here make none."""
    left_out = (settings.progress_prefix,)
    return tuple(
        f"{call.verb} {_prefix(call.key, settings)}"
        for call in calls
        if call.verb != "LIST" and not call.key.startswith(left_out)
    )


def rows(long: bool) -> list[Row]:
    """The figures; ``long`` changes nothing."""
    found = []
    for count in counts():
        reads, writes = ALLOWED[count.case]
        kept = count.reads <= reads and count.writes <= writes
        found.append(Row(count.case, f"{count.reads} GET/HEAD, {count.writes} PUT", f"≤ {reads}, ≤ {writes}", kept))
    return found


def markdown() -> str:
    """The table of docs/requests.md."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *(count.cells for count in counts())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _prefix(key: str, settings: Settings) -> str:
    return key.removeprefix(settings.state_prefix).split("/", 1)[0]


def _cases(*, vouched: bool) -> list[Count]:
    """First-seen, noticed twice, the same bytes again, and again with outputs; on a store that vouches for a SHA-256 or
    does not.
    """
    clock = OwnedClock()
    bucket = MemoryStore(clock, vouch_sha256=vouched)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(model="sphinx", work_dir=Path(folder))
        store = bucket.client()
        worker = Worker(store, settings, clock, ScriptedEngine(), name="counted")
        found = []

        def counted(case: str) -> None:
            found.append(Count(case, requests(store.calls, settings)))
            store.calls.clear()

        bucket.drop("input/first.wav", b"a recording")
        stale = scan(bucket.client(), worker.layout)
        worker.sweep()
        counted(FIRST)
        for candidate in stale.candidates:
            worker.inputs.handle(candidate, stale.options)
        counted(TWICE)
        bucket.drop("input/second.wav", b"a recording")
        Worker(store, settings, clock, ScriptedEngine(), name="another").sweep()
        counted(VOUCHED if vouched else AGAIN)
        bucket.drop("input/third.wav", b"a recording")
        worker.sweep()
        counted(WARM)
        bucket.drop("input/fourth.wav", b"a recording", {"dropscribe": "outputs=srt,txt"})
        worker.sweep()
        counted(CAPTIONED)
    return found


def _told() -> list[Count]:
    """What events cost, each in a message of its own."""
    clock = OwnedClock()
    bucket, sqs = MemoryStore(clock, "s3://b"), FakeSqs(clock)
    url = sqs.make("told", dead_letters=sqs.make("dead").rpartition("/")[2])
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(model="sphinx", work_dir=Path(folder))
        found = []

        def teller(name: str, engine: ScriptedEngine | None = None) -> Callable[..., None]:
            """Has a worker hear of one message, and counts what that costs."""
            store, queue = bucket.client(), sqs.client()
            source = SqsQueue(
                Sqs(queue, url, dead_letters="dead"), event_keys("s3://b"), clock, visibility=90, inline=True
            )
            worker = Worker(store, settings, clock, engine or ScriptedEngine(), name=name, source=source)

            def tell(case: str, body: str = "") -> None:
                if body:
                    sqs.send(url, body)
                worker.hear(source.wait(20, threading.Event()) or ())
                source.flush()
                asked = [f"{QUEUE_REQUESTS.get(method, method)} queue" for method, _ in queue.calls]
                found.append(Count(case, (*requests(store.calls, settings), *asked)))
                store.calls.clear()
                queue.calls.clear()

            return tell

        def event(key: str, name: str = "ObjectCreated:Put") -> str:
            record = {"eventName": name, "s3": {"bucket": {"name": "b"}, "object": {"key": key}}}
            return json.dumps({"Records": [record]})

        tell = teller("counted")
        bucket.drop("input/first.wav", b"a recording")
        tell(TOLD_FIRST, event("input/first.wav"))
        tell(TOLD_TWICE, event("input/first.wav"))
        bucket.drop("input/second.wav", b"a recording")
        tell(TOLD_AGAIN, event("input/second.wav"))
        tell(TOLD_NOTHING, event("results/first.wav.json"))
        tell(TOLD_POISON, "no event")

        def meanwhile(stage: str) -> None:
            if stage == TRANSCRIBING:
                other = teller("another")
                other(TOLD_BUSY, event("input/long.wav"))
                clock.advance(10)
                other(TOLD_BUSY_AGAIN)

        bucket.drop("input/long.wav", b"a long recording")
        teller("holder", ScriptedEngine(between=meanwhile))("", event("input/long.wav"))
    return [count for count in found if count.case]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.requests_per_job", description="Requests that a job costs.")
    parser.add_argument("--long", action="store_true", help="changes nothing here")
    parser.add_argument("--markdown", action="store_true", help="print the table of docs/requests.md")
    arguments = parser.parse_args()
    if arguments.markdown:
        print(markdown())
        return 0
    return show("requests per job", rows(arguments.long))


if __name__ == "__main__":
    sys.exit(main())
