"""The real engine's jobs in a process that kills itself with SIGKILL, once at each point of a list.

    python dying_engine.py POINTS --events-fd N

A point is an event's type and, with a colon, its stage; of a stage that is done, if it leaves an artifact. The lines of
POINTS come one after the other, the points of a line in any order: when an event of the first line's kinds has been
written, that point goes and the process dies. With no points left it is an engine like any other.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from pipeline.engine import Warm, answer, prepares
from pipeline.models import Models
from pipeline.types import Event, Ready, StageDone


def point_of(event: Event) -> str | None:
    if isinstance(event, StageDone) and not event.artifact:
        return None
    return ":".join([event.type, *([event.stage] if hasattr(event, "stage") else [])])


def main(points: Path, events_fd: int) -> None:
    def emit(event: Event) -> None:
        os.write(events_fd, event.model_dump_json().encode() + b"\n")
        line, *rest = [*points.read_text().splitlines(), ""]
        left, point = line.split(), point_of(event)
        if point in left:
            left.remove(point)
            points.write_text("".join(f"{one}\n" for one in (" ".join(left), *rest) if one))
            os.kill(os.getpid(), signal.SIGKILL)

    warm = Warm(Models())
    emit(Ready(pid=os.getpid()))
    for line in sys.stdin.buffer:
        if not prepares(line, warm.preparing):
            emit(answer(line, warm.models, emit, warm))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[3]))
