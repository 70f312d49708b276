"""The real engine with a stop-watch around its model: when each call of CTranslate2's Whisper began and ended.

    python -m bench.watched SPANS engine --events-fd N …

What follows SPANS goes to ``python -m pipeline``. The file gets one JSON line for each call: its name, begin and end
as ``time.monotonic()``, which all processes share on Linux. The calls return when the device is done (CTranslate2 waits
for its stream), so what lies between them is time in which the model's device had nothing to do for this job.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

CALLS = ("encode", "generate", "align", "detect_language")


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


def watch(path: Path) -> None:
    """From now on every CTranslate2 Whisper of this process is watched. Before faster-whisper makes one."""
    import ctranslate2

    real: Callable[..., Any] = ctranslate2.models.Whisper
    lock = threading.Lock()
    file = path.open("a")

    def note(name: str, begin: float) -> None:
        with lock:
            file.write(json.dumps([name, begin, time.monotonic()]) + "\n")
            file.flush()

    class Watched:
        def __init__(self, *given: Any, **named: Any) -> None:
            self._real = real(*given, **named)

        def __getattr__(self, name: str) -> Any:
            found = getattr(self._real, name)
            return self._timed(name, found) if name in CALLS else found

        def _timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
            def timed(*given: Any, **named: Any) -> Any:
                begin = time.monotonic()
                try:
                    return call(*given, **named)
                finally:
                    note(name, begin)

            return timed

    ctranslate2.models.Whisper = Watched


def main() -> int:
    from pipeline.__main__ import main as pipeline

    watch(Path(sys.argv[1]))
    return pipeline(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
