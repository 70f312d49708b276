"""The real engine in a child process, driven over its pipe: for benches that measure whole jobs.

Takes recordings and a model, gives the events of each job with the moment they came. What the handler adds (claims,
heartbeats, stores) is left out. Moments are ``time.monotonic()``, which on Linux all processes share.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from pipeline.catalog import Model
from pipeline.companions import Companions
from pipeline.options import Options
from pipeline.types import Done, Event, Failed, Frozen, JobRequest, PrepareRequest, Ready

ROOT = Path(__file__).parents[1]
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


@dataclass(frozen=True, slots=True)
class Ran:
    """One job: ``seconds`` from the request to the answer, and its events with the moments they came."""

    started: float
    ended: float
    events: tuple[tuple[float, Event], ...]

    @property
    def seconds(self) -> float:
        return self.ended - self.started


class Engine:
    """An engine that is warm once a job has run. A context manager: leaving it ends the child. ``threads``: that each
    model computes with on the CPU, None for what the libraries think best.
    """

    def __init__(
        self, *, command: Sequence[str] = (), log: Path, cuda: bool = False, threads: int | None = None
    ) -> None:
        reading, writing = os.pipe()
        environment = {**os.environ, **({} if cuda else {"CUDA_VISIBLE_DEVICES": ""})}
        if threads is not None:
            environment["OMP_NUM_THREADS"] = str(threads)
        with log.open("ab") as errors:
            self._child = subprocess.Popen(
                [*(command or (sys.executable, "-P", "-m", "pipeline")), "engine", "--events-fd", str(writing)],
                cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=errors, stderr=errors, pass_fds=[writing],
            )  # fmt: skip
        os.close(writing)
        self._events = os.fdopen(reading, "rb")
        self._log = log
        if not isinstance(self._next(), Ready):
            raise RuntimeError(f"the engine did not start: {self._tail()}")

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._child.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._child.stdin.close()
        try:
            self._child.wait(20)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._events.close()

    @property
    def pid(self) -> int:
        return self._child.pid

    def send(self, request: Frozen) -> None:
        if self._child.stdin is None:
            raise RuntimeError("the engine has no stdin")
        self._child.stdin.write(request.model_dump_json().encode() + b"\n")
        self._child.stdin.flush()

    def run(self, request: JobRequest, *, beside: PrepareRequest | None = None) -> Ran:
        """The job, with ``beside`` sent after it as the handler does once a job is under way. `RuntimeError` if it
        fails.
        """
        started = time.monotonic()
        self.send(request)
        if beside is not None:
            self.send(beside)
        events = tuple(self._answers())
        last = events[-1][1]
        if isinstance(last, Failed):
            raise RuntimeError(f"the job failed: {last.error.message}; {self._tail()}")
        return Ran(started, events[-1][0], events)

    def memory_mb(self, field: str) -> float:
        """``VmRSS`` (resident now) or ``VmHWM`` (the most ever) of the engine, in MB."""
        return process_mb(self._child.pid, field)

    def forget_peak(self) -> None:
        """What `memory_mb` then gives as the most ever is of what comes. Linux."""
        Path(f"/proc/{self._child.pid}/clear_refs").write_text("5")

    def _answers(self) -> Iterator[tuple[float, Event]]:
        while True:
            event = self._next()
            yield time.monotonic(), event
            if isinstance(event, Done | Failed):
                return

    def _next(self) -> Event:
        line = self._events.readline()
        if not line:
            raise RuntimeError(f"the engine ended: {self._tail()}")
        return _EVENT.validate_json(line)

    def _tail(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]


def job(
    work: Path,
    recording: Path,
    model: Model,
    *,
    prepared: Path | None = None,
    companions: Companions | None = None,
    **options: Any,
) -> JobRequest:
    """The request for ``recording`` in the new folder ``work``; ``options`` are those of `Options`. ``companions``: the
    models beside the recogniser, None for none.
    """
    work.mkdir(parents=True)
    source = work / f"source{recording.suffix}"
    source.symlink_to(recording.absolute())
    return JobRequest(
        work=str(work),
        source=source.name,
        options=Options.model_validate({"language": "en", **options}).model_dump(mode="json"),
        model=model.model_dump(mode="json"),
        companions=companions.model_dump(mode="json") if companions is not None else {},
        seed=recording.name,
        prepared=str(prepared) if prepared is not None else None,
    )


def process_mb(pid: int, field: str) -> float:
    """A memory field of /proc/PID/status in MB of 1,000,000 bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError(f"no {field} in /proc/{pid}/status: memory is measured on Linux only")
