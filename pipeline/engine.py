"""The engine: a warm child process that runs jobs. Requests come as JSON lines on stdin, events go as JSON lines to a
private fd.

It knows the work directory it is given and nothing else: no bucket, no credentials, no network. Libraries print to
stdout, so fd 1 is turned to stderr. When the handler is gone, however it went, the engine ends too, whatever it is
doing.
"""

from __future__ import annotations

import ctypes
import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pydantic import TypeAdapter, ValidationError

from pipeline.errors import EngineFailure, OutOfSpace, PipelineError
from pipeline.export import export
from pipeline.models import Models
from pipeline.run import run_job
from pipeline.types import Done, Event, ExportRequest, Failed, Ready, Request

log = logging.getLogger(__name__)

Emit = Callable[[Event], None]

_REQUEST: TypeAdapter[Request] = TypeAdapter(Request)

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def serve(requests: BinaryIO, events_fd: int) -> int:
    """Run jobs until ``requests`` ends. Returns the process's exit status."""
    os.dup2(2, 1)  # what libraries print must not reach whoever reads our stdout
    events = os.fdopen(events_fd, "wb", buffering=0)
    _die_with_parent()
    emit = _emitter(events)
    models = Models()
    lines: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_read, args=(requests, lines), name="requests", daemon=True).start()
    emit(Ready(pid=os.getpid(), versions={"python": sys.version.split()[0]}))
    while True:
        emit(answer(lines.get(), models, emit))


def answer(line: bytes, models: Models, emit: Emit) -> Done | Failed:
    """Run one request; whatever goes wrong becomes an event, and the engine goes on."""
    try:
        request = _REQUEST.validate_json(line)
        if isinstance(request, ExportRequest):
            export(request)
        else:
            run_job(Path(request.work), request, models, emit)
        return Done()
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
        return Failed(error=EngineFailure(f"{type(error).__name__}: {error}").to_detail())


def _of_os(error: OSError) -> PipelineError:
    if OutOfSpace.explains(error):
        return OutOfSpace("the work directory's disk is full")
    return EngineFailure(f"{type(error).__name__}: {error}")


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


def _read(requests: BinaryIO, lines: queue.Queue[bytes]) -> None:
    for line in requests:
        lines.put(line)
    # Not sys.exit: native threads in the middle of a decode would hold the process for as long as they like.
    os._exit(0)
