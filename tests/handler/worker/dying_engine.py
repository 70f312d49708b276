"""The real engine's jobs in a process that kills itself with SIGKILL, once at each point of a list.

    python dying_engine.py POINTS --events-fd N

A line of POINTS is an event's type and, with a colon, its stage. When an event of the first line's kind has been
written, the line goes and the process dies; with no lines left it is an engine like any other.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from pipeline.engine import Warm, answer, prepares
from pipeline.models import Models
from pipeline.types import Event, Ready


def main(points: Path, events_fd: int) -> None:
    def emit(event: Event) -> None:
        os.write(events_fd, event.model_dump_json().encode() + b"\n")
        left = points.read_text().splitlines()
        kind = ":".join([event.type, *([event.stage] if hasattr(event, "stage") else [])])
        if left and left[0] == kind:
            points.write_text("".join(f"{line}\n" for line in left[1:]))
            os.kill(os.getpid(), signal.SIGKILL)

    warm = Warm(Models())
    emit(Ready(pid=os.getpid()))
    for line in sys.stdin.buffer:
        if not prepares(line, warm.preparing):
            emit(answer(line, warm.models, emit, warm))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[3]))
