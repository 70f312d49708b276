"""Starts ``dropscribe`` commands as processes of their own, quickly: everything is imported once, then each is a fork.

    python soak_nursery.py ENGINE_LOG

Reads JSON lines: ``{"start": [argument, …], "log": path}`` is answered with ``{"pid": …}``, ``{"wait": pid, "seconds":
…}`` with ``{"status": …}``: what `os.waitstatus_to_exitcode` makes of that process's end, null if it did not end in so
many seconds. At the end of the input, all that still live are killed. The workers' engine is soak_engine.py.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from handler.child import ChildEngine, Engine
from handler.cli import main as dropscribe
from handler.cli.runtime import Runtime
from handler.clock import Clock
from handler.settings import Settings

SLOW_TO_IMPORT = ("boto3", "botocore.config", "s3transfer.manager", "handler.store.s3", "handler.cli.work")
LOOK_SECONDS = 0.01
ENGINE = Path(__file__).with_name("soak_engine.py")


def runtime(engine_log: str) -> Runtime:
    command = [sys.executable, "-I", "-S", str(ENGINE), engine_log]

    def engine(clock: Clock, home: Path, settings: Settings) -> Engine:
        return ChildEngine(clock, command=command, home=home)

    return Runtime(engine=engine)


def forked(arguments: list[str], log: str, engine_log: str) -> int:
    """The process id of ``dropscribe ARGUMENTS``, whose output goes to ``log``."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDONLY)
        out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        for number, fd in ((0, nothing), (1, out), (2, out)):
            os.dup2(fd, number)
        dropscribe(arguments, obj=runtime(engine_log))
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def ended(pid: int, seconds: float) -> int | None:
    until = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            return None
        time.sleep(LOOK_SECONDS)


def serve(engine_log: str) -> None:
    living: set[int] = set()
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        answer: dict[str, Any]
        if "start" in asked:
            pid = forked(asked["start"], asked["log"], engine_log)
            living.add(pid)
            answer = {"pid": pid}
        else:
            status = ended(asked["wait"], asked["seconds"])
            if status is not None:
                living.discard(asked["wait"])
            answer = {"status": status}
        print(json.dumps(answer), flush=True)
    for pid in living:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    for name in SLOW_TO_IMPORT:
        importlib.import_module(name)
    serve(sys.argv[1])
