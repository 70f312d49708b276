"""The engine as the handler sees it: a child process that is started once, kept warm, fed jobs and killed when it must
be.

Takes a `JobRequest`, gives events. A crash of the child is `EngineDied`: one attempt, never the worker. Knows nothing
of stores.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from pydantic import TypeAdapter, ValidationError

import pipeline
from handler.clock import Clock
from handler.errors import EngineDied
from handler.recycling import Drift, kind_of
from pipeline.cage.wish import Cage
from pipeline.errors import DeviceLost, ErrorDetail
from pipeline.types import Done, Event, ExportRequest, Failed, JobRequest, Media, PrepareRequest, Ready

log = logging.getLogger(__name__)

_EVENT: TypeAdapter[Event] = TypeAdapter(Event)
_TAIL_LINES = 20  # of the child's stderr, for the message when it dies
_GRACE_SECONDS = 2.0
_LAST_WORDS_SECONDS = 2.0  # to read what a dead child wrote, should something else keep its stderr open
_PACKAGES = str(Path(pipeline.__file__).parents[1])

# The child sees these variables and no others: no AWS_*, no tokens, no proxies that may carry a password.
_ALLOWED = {"PATH", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "SYSTEMROOT"}
_ALLOWED_PREFIXES = ("LC_", "CUDA_", "NVIDIA_", "OMP_", "GOMP_", "MKL_", "CT2_", "OPENBLAS_")


class Engine(Protocol):
    """Runs one job at a time. `ChildEngine` is the real one; `handler.fakes` has one for tests."""

    def run(
        self, request: JobRequest, *, time_limit: Callable[[float | None], float], poll: float
    ) -> Iterator[Event | None]:
        """Yield the job's events, ending with `Done` or `Failed`; None at least every ``poll`` seconds when there are
        none.

        ``time_limit`` gives the seconds allowed, from the recording's length: 0 until it is open, None if it is open
        and does not say. `EngineDied` when the process ends or overruns. Closing the iterator early kills the job.
        """

    def prepare(self, request: PrepareRequest) -> None:
        """Have a recording decoded ahead of its job, beside the one under way; from any thread. Nothing is answered,
        and nothing raised: without a process, or with one that has just died, nothing happens.
        """

    def export(self, request: ExportRequest, *, seconds: float) -> ErrorDetail | None:
        """Have captions and text made of a finished job's results; None when the files lie there.

        `EngineDied` when the process ends, or takes longer than ``seconds``.
        """

    def close(self) -> None:
        """End the process, if there is one."""


class ChildEngine:
    """``python -m pipeline engine`` behind a pair of pipes. ``arguments``: the engine's own settings, see
    `pipeline.__main__`. ``cage``: what it gives up before it does anything, asked for at each start; nothing without.
    ``drift``: when its memory has grown so much that a fresh process takes its place between two
    jobs. ``restarts``: how often a process ended that a fresh one has to replace, by reason (`handler.metrics`);
    ``ready_seconds``: what the first one took to be ready, once one was.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        command: list[str] | None = None,
        arguments: Sequence[str] = (),
        home: Path | None = None,
        drift: Drift | None = None,
        cage: Callable[[], Cage] | None = None,
    ) -> None:
        self._clock = clock
        # -P: a stray pipeline.py in the current folder is not the engine.
        self._command = [*(command or [sys.executable, "-P", "-m", "pipeline", "engine"]), *arguments]
        self._home = home
        self._drift = drift or Drift()
        self._cage = cage
        self._warned = False
        self._pipe = threading.Lock()  # one line at a time
        self.restarts: collections.Counter[str] = collections.Counter()
        self.ready_seconds: float | None = None
        self._started = 0.0  # monotonic, the present process
        self._process: subprocess.Popen[bytes] | None = None
        self._events: queue.Queue[bytes | None] = queue.Queue()
        self._tail: collections.deque[str] = collections.deque(maxlen=_TAIL_LINES)
        self._log: threading.Thread | None = None

    @property
    def recycled(self) -> int:
        """How often a fresh process took the place of one whose memory had grown."""
        return self.restarts["grown"]

    @property
    def pid(self) -> int | None:
        """The child's process id, None while there is none."""
        return self._process.pid if self._process is not None else None

    def run(
        self, request: JobRequest, *, time_limit: Callable[[float | None], float], poll: float
    ) -> Iterator[Event | None]:
        resident = 0
        events = self._answers(request, time_limit, poll)
        try:
            for event in events:
                if isinstance(event, Done):
                    resident = event.resident
                yield event
        finally:
            events.close()  # type: ignore[attr-defined]
            self._recycle_if_drifted(kind_of(request), resident)

    def _recycle_if_drifted(self, kind: str, resident: int) -> None:
        if self._process is None:
            return
        reason = self._drift.after(kind, resident)
        if self._drift.too_small and not self._warned:
            self._warned = True
            log.warning("DROPSCRIBE_ENGINE_MEMORY_BYTES is less than the engine needs for its models: it has no effect")
        if reason is not None:
            self.restarts["grown"] += 1
            log.info("the engine is started afresh: %s", reason)
            self.close()

    def _answers(
        self, request: JobRequest | ExportRequest, time_limit: Callable[[float | None], float], poll: float
    ) -> Iterator[Event | None]:
        self._send(request)
        started = self._clock.monotonic()
        limit = time_limit(0.0)  # until the recording is open, its length is no excuse
        finished = False
        try:
            while True:
                event = self._next(poll)
                if isinstance(event, Media):
                    limit = time_limit(event.duration)
                finished = isinstance(event, Done | Failed)
                if isinstance(event, Failed) and event.error.error_class == DeviceLost.__name__:
                    self._kill("device_lost")  # it ends by itself, but may take the next job's line before it does
                if not isinstance(event, Ready):
                    yield event
                elif self.ready_seconds is None:
                    self.ready_seconds = self._clock.monotonic() - self._started
                if finished:
                    return
                if self._clock.monotonic() - started > limit:
                    raise EngineDied(
                        f"the job took longer than its time limit of {limit:.0f} s and was stopped",
                        "Raise DROPSCRIBE_TIME_LIMIT_FACTOR, or use a smaller model.",
                    )
        finally:
            if not finished:
                self._kill()

    def prepare(self, request: PrepareRequest) -> None:
        process = self._process
        if process is None or process.poll() is not None or process.stdin is None:
            return
        with contextlib.suppress(OSError, ValueError):  # it died, or was ended, meanwhile
            self._write(process, request)

    def export(self, request: ExportRequest, *, seconds: float) -> ErrorDetail | None:
        events = self._answers(request, lambda duration: seconds, poll=seconds)
        with contextlib.closing(events):  # type: ignore[type-var]
            for event in events:
                if isinstance(event, Failed):
                    return event.error
        return None

    def close(self) -> None:
        process = self._process
        if process is None:
            return
        with contextlib.suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        try:
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._process = None

    def _send(self, request: JobRequest | ExportRequest) -> None:
        for fresh in (False, True):
            if self._process is None or self._process.poll() is not None:
                self._start()
            process = self._process
            assert process is not None
            try:
                self._write(process, request)
                return
            except OSError as error:  # it died while idle: no attempt is charged for that
                self._kill()
                if fresh:
                    raise EngineDied(f"the engine could not be started: {self._last_words()}") from error

    def _write(self, process: subprocess.Popen[bytes], request: JobRequest | ExportRequest | PrepareRequest) -> None:
        assert process.stdin is not None
        with self._pipe:
            process.stdin.write(request.model_dump_json().encode() + b"\n")
            process.stdin.flush()

    def _start(self) -> None:
        self._kill()
        self._drift, self._started = self._drift.fresh(), self._clock.monotonic()
        read_fd, write_fd = os.pipe()
        self._events, self._tail = queue.Queue(), collections.deque(maxlen=_TAIL_LINES)
        try:
            self._process = subprocess.Popen(
                [*self._command, *self._bars(), "--events-fd", str(write_fd)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[write_fd],
                env=child_environment(os.environ, self._home),
                start_new_session=True,  # a Ctrl-C at the terminal is the handler's to act on
            )
        except BaseException:
            os.close(read_fd)
            raise
        finally:
            os.close(write_fd)
        threading.Thread(target=_pump, args=(read_fd, self._events), name="engine events", daemon=True).start()
        self._log = threading.Thread(
            target=_drain, args=(self._process.stderr, self._tail), name="engine log", daemon=True
        )
        self._log.start()

    def _bars(self) -> list[str]:
        return [] if self._cage is None else ["--cage", self._cage().model_dump_json()]

    def _next(self, poll: float) -> Event | None:
        try:
            line = self._events.get(timeout=poll)
        except queue.Empty:
            return None
        if line is None:
            raise EngineDied(self._death())
        try:
            return _EVENT.validate_json(line)
        except ValidationError as error:
            raise EngineDied(f"the engine wrote an event that is not one: {line[:200]!r}") from error

    def _death(self) -> str:
        assert self._process is not None
        code = self._process.wait()
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit status {code}"
        reason = " (out of memory?)" if code == -signal.SIGKILL else ""
        return f"the engine ended {how}{reason}: {self._last_words()}"

    def _last_words(self) -> str:
        """Of a process that has ended."""
        if self._log is not None:
            self._log.join(_LAST_WORDS_SECONDS)  # what it said last may be on its way yet
        return self._tail[-1] if self._tail else "it said nothing"

    def _kill(self, reason: str | None = None) -> None:
        """``reason``: of `restarts`; without one, whether it had ended by itself."""
        if self._process is None:
            return
        self.restarts[reason or ("killed" if self._process.poll() is None else "died")] += 1
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self._process = None


def child_environment(environ: dict[str, str] | os._Environ[str], home: Path | None) -> dict[str, str]:
    """The variables the child may see. Its HOME is the work directory: ``~/.aws`` is not the engine's to read."""
    kept = {name: value for name, value in environ.items() if name in _ALLOWED or name.startswith(_ALLOWED_PREFIXES)}
    path = kept.get("PYTHONPATH")
    return {
        **kept,
        "PYTHONPATH": f"{_PACKAGES}{os.pathsep}{path}" if path else _PACKAGES,  # the engine is this handler's own
        "HOME": str(home) if home is not None else "/nonexistent",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime would look for its maker's server, and leave files in HOME
        "PYTHONUNBUFFERED": "1",
    }


def _pump(read_fd: int, events: queue.Queue[bytes | None]) -> None:
    with os.fdopen(read_fd, "rb") as file:
        for line in file:
            events.put(line)
    events.put(None)


def _drain(stderr: object, tail: collections.deque[str]) -> None:
    with contextlib.closing(stderr):  # type: ignore[type-var]
        for line in stderr:  # type: ignore[attr-defined]
            text = line.decode("utf-8", "replace").rstrip()
            if text:
                tail.append(text)
                log.info("engine: %s", text)
