"""The real engine in a process that kills itself with SIGKILL after each stage that leaves an artifact, once a stage.

    python mortal_engine.py SURVIVED --events-fd N

When it has told that a stage is done, and the stage does not stand in the file SURVIVED yet, it is written there and
the process dies: whoever starts it often enough sees a job through that lost its engine after every stage.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from pipeline.engine import Warm, answer, prepares
from pipeline.models import Models
from pipeline.types import Event, Ready, StageDone


def main(survived: Path, events_fd: int) -> None:
    def emit(event: Event) -> None:
        os.write(events_fd, event.model_dump_json().encode() + b"\n")
        if isinstance(event, StageDone) and event.artifact and event.stage not in survived.read_text().splitlines():
            with survived.open("a") as file:
                file.write(f"{event.stage}\n")
            os.kill(os.getpid(), signal.SIGKILL)

    warm = Warm(Models())
    emit(Ready(pid=os.getpid()))
    for line in sys.stdin.buffer:
        if not prepares(line, warm.preparing):
            emit(answer(line, warm.models, emit, warm))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[3]))
