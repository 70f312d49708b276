"""Requests that a job costs: counted at the store, compared with what each case may cost.

    python -m bench.requests_per_job [--markdown]

One worker with a scripted engine on the store in memory, results inline, no sidecar. Left out are listings (their cost
goes with the scan, not with the job), heartbeats (with the time a job takes) and progress manifests (one at most every
two seconds). ``--markdown`` prints the table of docs/requests.md, which a test compares with a measurement.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.table import Row, show
from handler.fakes import OwnedClock, ScriptedEngine
from handler.settings import Settings
from handler.store.memory import Call, MemoryStore
from handler.watch import scan
from handler.worker import Worker
from pipeline.plan import CODE_VERSIONS

KEPT_STAGES = len(CODE_VERSIONS) - 1  # decoded sound is never kept
HEADINGS = ("case", "GET + HEAD allowed", "PUT allowed", "GET + HEAD measured", "PUT measured", "which requests")

FIRST = "first-seen content"
TWICE = "duplicate notice"
AGAIN = "same bytes under a new key"
VOUCHED = "same bytes under a new key, SHA-256 known to the store"

ALLOWED = {FIRST: (5, 5 + KEPT_STAGES), TWICE: (2, 0), AGAIN: (6, 4), VOUCHED: (6, 4)}


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
    return [*_cases(vouched=False), _cases(vouched=True)[-1]]


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
    """First-seen, noticed twice, and the same bytes again, on a store that vouches for a SHA-256 or does not."""
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
        worker.sweep()
        counted(VOUCHED if vouched else AGAIN)
    return found


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
