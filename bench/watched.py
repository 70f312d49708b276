"""The real engine with a stop-watch around its models: when each call of one began and ended.

    python -m bench.watched SPANS engine --events-fd N …

What follows SPANS goes to ``python -m pipeline``. The file gets one JSON line for each call: its name, begin and end
as ``time.monotonic()``, which all processes share on Linux. Watched are CTranslate2's Whisper, the separator, the
aligner and the Sortformer. The calls return when the device is done (CTranslate2 waits for its stream, the others bring
what they found to the CPU), so what lies between them is time in which no model's device had work for this job.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

CALLS = ("encode", "generate", "align", "detect_language")  # of CTranslate2's Whisper
BESIDE = ("separate", "hear words", "tell speakers")


class Span(NamedTuple):
    """One call; seconds of ``time.monotonic()``."""

    name: str
    begin: float
    end: float


def read(path: Path) -> list[Span]:
    """The calls that ended so far, in the order of their ends."""
    return [Span(*json.loads(line)) for line in path.read_text().splitlines()]


def covered(spans: list[Span], begin: float, end: float) -> float:
    """Seconds of [begin, end] in which at least one call ran."""
    total, reached = 0.0, begin
    for span in sorted(spans, key=lambda span: span.begin):
        total += max(0.0, min(span.end, end) - max(span.begin, reached))
        reached = max(reached, min(span.end, end))
    return total


class _Notes:
    """The file of spans, for calls from any thread."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._file = path.open("a")

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """``call``, noted each time."""

        def timed(*given: Any, **named: Any) -> Any:
            begin = time.monotonic()
            try:
                return call(*given, **named)
            finally:
                with self._lock:
                    self._file.write(json.dumps([name, begin, time.monotonic()]) + "\n")
                    self._file.flush()

        return timed


def watch(path: Path) -> None:
    """From now on every model of this process is watched. Before faster-whisper makes one."""
    notes = _Notes(path)
    _watch_whisper(notes)
    _watch_beside(notes)


def _watch_whisper(notes: _Notes) -> None:
    import ctranslate2

    real: Callable[..., Any] = ctranslate2.models.Whisper

    class Watched:
        def __init__(self, *given: Any, **named: Any) -> None:
            self._real = real(*given, **named)

        def __getattr__(self, name: str) -> Any:
            found = getattr(self._real, name)
            return notes.timed(name, found) if name in CALLS else found

    ctranslate2.models.Whisper = Watched


def _watch_beside(notes: _Notes) -> None:
    """One step of each: a batch of segments, a batch of stretches, a chunk."""
    from pipeline.models import aligner, demucs, sortformer

    owners: tuple[tuple[Any, str], ...] = (
        (demucs.LoadedDemucs, "_step"), (aligner.LoadedAligner, "emissions"), (sortformer, "_step"),
    )  # fmt: skip
    for name, (owner, step) in zip(BESIDE, owners, strict=True):
        setattr(owner, step, notes.timed(name, getattr(owner, step)))


def main() -> int:
    from pipeline.__main__ import main as pipeline
    from pipeline.cores import share_cores

    share_cores()  # before the libraries that are watched
    watch(Path(sys.argv[1]))
    return pipeline(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
