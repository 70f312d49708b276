"""The hub's side of the catalog, in processes of their own: ``python -m pipeline fetch`` and ``convert``.

Takes names and the folder of models; afterwards the model lies there. Those processes are the only ones that talk to
the hub, and they get none of this one's credentials for buckets and callbacks. Knows nothing of what they do.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from handler.settings import SECRETS
from pipeline.errors import ModelUnavailable
from pipeline.family import fetch_command

Run = Callable[[Sequence[str], Mapping[str, str]], int]
"""Runs ``python`` with these arguments and this environment; gives its exit status. What it says goes to stderr."""

_SECRETS = tuple(f"DROPSCRIBE_{name.upper()}{ending}" for name in SECRETS for ending in ("", "_FILE"))


def run_python(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    return subprocess.run(
        [sys.executable, "-P", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=dict(environment)
    ).returncode


def fetch(name: str, home: Path, run: Run = run_python) -> None:
    """Fetch ``name``, which may carry ``@commit``, into ``home``. `ModelUnavailable`: the process said why."""
    if run(["-m", "pipeline", "fetch", "--", name], _environment(home)):
        raise ModelUnavailable(
            f"the model {name} could not be fetched (the reason stands above)",
            f"Check the network, or run `{fetch_command(name)}` where there is one and copy the folder.",
        )


def convert(source: str, home: Path, quantization: str, name: str, run: Run = run_python) -> None:
    """Turn a Whisper of the hub, or in a folder, into the model ``name`` in ``home``. `ModelUnavailable`."""
    arguments = ["-m", "pipeline", "convert", "--quantization", quantization, "--name", name, "--", source]
    if run(arguments, _environment(home)):
        raise ModelUnavailable(
            f"{source} could not be converted (the reason stands above)", "Mend that, then pull it again."
        )


def _environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _SECRETS and not name.startswith("AWS_")}
    return {**kept, "DROPSCRIBE_HOME": str(home)}
