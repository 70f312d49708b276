"""What several tests of infra/ need: the repository's root, and programs that lint."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def tool(name: str, source: str) -> str:
    """The program's path: the one installed beside this Python, or on PATH. Skips, saying where it comes from."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: {source}")
    return found


def output(*command: str | Path, cwd: Path = ROOT) -> tuple[int, str]:
    """Exit code, and what was said on both streams."""
    done = subprocess.run([str(one) for one in command], cwd=cwd, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr
