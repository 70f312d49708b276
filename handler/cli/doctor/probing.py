"""The pipeline's probe as a child process: it opens CUDA's libraries and loads a model, and may die of either."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from pydantic import ValidationError

from handler.child import child_environment
from handler.cli.runtime import engine_arguments
from handler.errors import EngineDied
from handler.settings import Settings
from pipeline.machine import Machine

_SECONDS = 300.0  # large weights from a slow disk, onto two devices

COMMAND = (sys.executable, "-P", "-m", "pipeline", "probe")


def ask_machine(settings: Settings, model: str, command: Sequence[str] = COMMAND) -> Machine:
    """What this machine can compute with. ``model``: the folder of the one to try, or ``sphinx`` for none.

    `EngineDied` when the child ends badly, or takes longer than `_SECONDS`.
    """
    arguments = ["--json", "--model", model, *engine_arguments(settings)]
    try:
        done = subprocess.run(
            [*command, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=child_environment(os.environ, settings.work_dir),
            check=False,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise EngineDied(f"the probe of the machine took longer than {_SECONDS:.0f} s") from error
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise EngineDied(f"the probe of the machine ended {_how(done.returncode)}: {_last(done.stderr)}")
    try:
        return Machine.model_validate_json(lines[-1])  # libraries print to stdout, too
    except ValidationError as error:
        raise EngineDied(f"the probe of the machine wrote something else: {lines[-1][:200]!r}") from error


def _how(code: int) -> str:
    return f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit status {code}"


def _last(stderr: bytes) -> str:
    lines = [line for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
