"""The engine: a warm child process that runs jobs. Requests come as JSON lines on stdin, events go as JSON lines to a
private fd.

It knows the work directory it is given and nothing else: no bucket, no credentials, no network. Beside the job under
way it prepares the next one, if asked to. Libraries print to stdout, so fd 1 is turned to stderr. When the handler is
gone, however it went, the engine ends too, whatever it is doing.
"""

from __future__ import annotations

import ctypes
import logging
import os
import queue
import resource
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, BinaryIO

from pydantic import Field, TypeAdapter, ValidationError

from pipeline.errors import DeviceLost, EngineFailure, OutOfSpace, PipelineError
from pipeline.export import export
from pipeline.models import Models
from pipeline.models.failures import explained
from pipeline.preparing import Ahead, Preparing
from pipeline.rates import Rates
from pipeline.run import run_job
from pipeline.types import Done, Event, ExportRequest, Failed, JobRequest, PrepareRequest, Ready, Request

log = logging.getLogger(__name__)

Emit = Callable[[Event], None]

_REQUEST: TypeAdapter[Request] = TypeAdapter(Request)
_ANSWERED: TypeAdapter[JobRequest | ExportRequest] = TypeAdapter(
    Annotated[JobRequest | ExportRequest, Field(discriminator="type")]
)

EXIT_DEVICE_LOST = 75  # EX_TEMPFAIL of sysexits.h: another process may have more luck

_STATM = Path("/proc/self/statm")  # proc(5): pages in all, and resident
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Warm:
    """What an engine keeps from job to job: loaded models, measured rates, and what was prepared ahead."""

    def __init__(self, models: Models) -> None:
        self.models = models
        self.rates = Rates()
        self.preparing = Preparing()


def serve(requests: BinaryIO, events_fd: int, models: Models | None = None) -> int:
    """Run jobs until ``requests`` ends. Returns the process's exit status."""
    os.dup2(2, 1)  # what libraries print must not reach whoever reads our stdout
    events = os.fdopen(events_fd, "wb", buffering=0)
    _die_with_parent()
    emit = _emitter(events)
    warm = Warm(models or Models())
    lines: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_read, args=(requests, lines, warm.preparing), name="requests", daemon=True).start()
    emit(Ready(pid=os.getpid(), versions={"python": sys.version.split()[0]}))
    while True:
        answered = answer(lines.get(), warm.models, emit, warm)
        emit(answered)
        if isinstance(answered, Failed) and answered.error.error_class == DeviceLost.__name__:
            os._exit(EXIT_DEVICE_LOST)  # not in order: what is lost cannot be tidied up, and may hang for ever


def answer(line: bytes, models: Models, emit: Emit, warm: Warm | None = None) -> Done | Failed:
    """Run one request; whatever goes wrong becomes an event, and the engine goes on."""
    try:
        request = _ANSWERED.validate_json(line)
        if isinstance(request, ExportRequest):
            export(request)
        else:
            _run(request, models, emit, warm or Warm(models))
        return Done(resident=resident())
    except PipelineError as error:
        log.info("job failed: %s", error.message)
        return Failed(error=error.to_detail())
    except ValidationError as error:
        return Failed(
            error=EngineFailure(f"not a request of this engine's version: {error.errors()[0]['msg']}").to_detail()
        )
    except OSError as error:
        log.exception("job failed")
        return Failed(error=_of_os(error).to_detail())
    except Exception as error:
        log.exception("job failed")
        known = explained(error) or EngineFailure(f"{type(error).__name__}: {error}")
        return Failed(error=known.to_detail())


def _run(request: JobRequest, models: Models, emit: Emit, warm: Warm) -> None:
    """The job; what was prepared for it is forgotten afterwards, used or not."""
    try:
        run_job(Path(request.work), request, models, emit, rates=warm.rates, ahead=_ahead(request, warm.preparing))
    finally:
        if request.prepared is not None:
            warm.preparing.forget(request.prepared)


def _ahead(request: JobRequest, preparing: Preparing) -> Ahead | None:
    if request.prepared is None:
        return None
    multichannel = bool(request.options.get("multichannel"))
    found = preparing.find(request.prepared, per_channel=multichannel, max_duration=request.max_duration)
    if found is None:
        preparing.forget(request.prepared)  # it must not go on beside the job
    return found


def resident() -> int:
    """Bytes of memory that this process holds, 0 where the system does not say."""
    try:
        return int(_STATM.read_bytes().split()[1]) * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        return 0


def _of_os(error: OSError) -> PipelineError:
    if OutOfSpace.explains(error):
        return OutOfSpace("the work directory's disk is full")
    return explained(error) or EngineFailure(f"{type(error).__name__}: {error}")


def _emitter(events: BinaryIO) -> Emit:
    lock = threading.Lock()

    def emit(event: Event) -> None:
        with lock:
            events.write(event.model_dump_json().encode() + b"\n")

    return emit


def _die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends, on Linux.

    The end of stdin says the same, but whoever reads it needs the interpreter's lock, which some native code
    (pocketsphinx) keeps for as long as it computes.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _read(requests: BinaryIO, lines: queue.Queue[bytes], preparing: Preparing) -> None:
    for line in requests:
        if not prepares(line, preparing):
            lines.put(line)
    # Not sys.exit: native threads in the middle of a decode would hold the process for as long as they like.
    os._exit(0)


def prepares(line: bytes, preparing: Preparing) -> bool:
    """Whether the line asks for a preparation, which is then begun. Of a job that comes after one, the preparation is
    told at once: the job itself may have to wait for another one, and the next preparation must not take its place.
    """
    try:
        request = _REQUEST.validate_json(line)
    except ValidationError:
        return False  # answered when its turn comes
    if isinstance(request, PrepareRequest):
        try:
            preparing.ask(request)
        except Exception:  # nobody waits for it, but everybody for this thread
            log.exception("not prepared, the job will do it")
        return True
    if isinstance(request, JobRequest) and request.prepared is not None:
        preparing.claim(request.prepared)
    return False
