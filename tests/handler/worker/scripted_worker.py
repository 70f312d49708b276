"""``dropscribe work BUCKET --drain`` with a scripted engine that writes down every stage it really runs.

    python scripted_worker.py LOG BUCKET WORKERS

A line of LOG is a stage and the digest of the job's last recipe: equal for equal content and options. The work begins
when that many WORKERS have come.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from handler.cli import main
from handler.cli.runtime import Runtime
from handler.fakes import ScriptedEngine
from pipeline.types import Event, JobRequest


class Logging(ScriptedEngine):
    def __init__(self, path: str) -> None:
        super().__init__(between=self._write)
        self._log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._seed = ""

    def run(
        self, request: JobRequest, *, time_limit: Callable[[float | None], float], poll: float
    ) -> Iterator[Event | None]:
        self._seed = request.seed
        return super().run(request, time_limit=time_limit, poll=poll)

    def _write(self, stage: str) -> None:
        os.write(self._log, f"{stage} {self._seed}\n".encode())
        time.sleep(0.01)  # so that the other worker comes to see it


def meet(log: Path, workers: int) -> None:
    """Wait until the others are as far as this one."""
    log.with_name(f"here-{os.getpid()}").touch()
    while len(list(log.parent.glob("here-*"))) < workers:
        time.sleep(0.01)


if __name__ == "__main__":
    meet(Path(sys.argv[1]), int(sys.argv[3]))
    main(["work", sys.argv[2], "--drain"], obj=Runtime(engine=lambda clock, home, settings: Logging(sys.argv[1])))
