"""The image's lock files: `python infra/image/lock.py` writes them, `--check` says which are stale.

Takes pyproject.toml; gives ``cpu.txt``, ``gpu.txt``, ``gpu-sources.txt`` and ``build.txt`` beside this file, with the
hash of every file that may be installed. Writing needs `uv` and the package index; what is locked already stays as it
is unless `--upgrade` says otherwise. Checking needs neither: each file carries the digest of the requirements that it
was resolved from. Knows nothing of Docker.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PYPROJECT = HERE.parents[1] / "pyproject.toml"

PYTHON = "3.11"  # the Dockerfile's; a test compares
PLATFORM = "x86_64-manylinux_2_36"  # Debian bookworm's C library
# These exist as source archives only. They are installed after the others, built by the setuptools among those.
SOURCES = frozenset({"antlr4-python3-runtime"})

_DIGEST = re.compile(r"^# from: sha256:([0-9a-f]{64})$", re.MULTILINE)
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}\b")
_OTHER_HASH = re.compile(r"--hash=(?!sha256:[0-9a-f]{64}\b)")


@dataclass(frozen=True, slots=True)
class Lock:
    """One file. ``requirements``: what it was asked for, as in pyproject.toml. ``source``: it has what is in `SOURCES`,
    and nothing else; otherwise all but that.
    """

    name: str
    purpose: str
    requirements: tuple[str, ...]
    source: bool = False

    @property
    def digest(self) -> str:
        asked = [PYTHON, PLATFORM, sorted(SOURCES), sorted(self.requirements)]
        return hashlib.sha256(json.dumps(asked, separators=(",", ":")).encode()).hexdigest()

    @property
    def header(self) -> str:
        return (
            f"# Written by `python infra/image/lock.py`: {self.purpose}\n"
            f"# for: Python {PYTHON}, {PLATFORM}\n"
            f"# from: sha256:{self.digest}\n"
        )


def locks(pyproject: Path = PYPROJECT) -> tuple[Lock, ...]:
    """Every lock file that there should be."""
    said = tomllib.loads(pyproject.read_text("utf-8"))
    project = said["project"]
    gpu = _expanded(project, "gpu")
    return (
        Lock("cpu.txt", "what the target `cpu` runs on.", tuple(project["dependencies"])),
        Lock("gpu.txt", "what the target `gpu` runs on, but for gpu-sources.txt.", gpu),
        Lock("gpu-sources.txt", "what of the target `gpu` has to be built here.", gpu, source=True),
        Lock("build.txt", "what the wheel is built with.", tuple(said["build-system"]["requires"])),
    )


def _expanded(project: Mapping[str, Any], extra: str) -> tuple[str, ...]:
    """The dependencies with an extra's, and those of the extras that it names in turn."""
    asked: list[str] = list(project["dependencies"])
    for requirement in project["optional-dependencies"][extra]:
        inner = re.fullmatch(rf"{re.escape(project['name'])}\[([\w-]+)\]", requirement)
        asked += _expanded(project, inner[1]) if inner else [requirement]
    return tuple(dict.fromkeys(asked))


def pins(text: str) -> dict[str, str]:
    """Name → version, of a lock file's text. Names as the index writes them: lower case, with dashes."""
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in _PIN.findall(text)}


def stale(folder: Path = HERE, pyproject: Path = PYPROJECT) -> list[str]:
    """What is wrong with the lock files in ``folder``, in words; empty when they are those of ``pyproject``."""
    said: list[str] = []
    for lock in locks(pyproject):
        path = folder / lock.name
        text = path.read_text("utf-8") if path.exists() else ""
        digest = _DIGEST.search(text)
        if digest is None or digest[1] != lock.digest:
            said.append(f"{lock.name} was not made from this pyproject.toml")
        for name, block in _blocks(text).items():
            if not _HASH.search(block) or _OTHER_HASH.search(block):
                said.append(f"{lock.name}: {name} has no hash, or one that is not SHA-256")
            if (name in SOURCES) != lock.source:
                said.append(f"{lock.name}: {name} is in the wrong file")
    return said


def _blocks(text: str) -> dict[str, str]:
    """Name → the lines of its pin and hashes."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines(keepends=True):
        if pin := _PIN.match(line):
            name = re.sub(r"[-_.]+", "-", pin[1]).lower()
        elif not line.startswith(" "):
            name = ""
        if name:
            found[name] = found.get(name, "") + line
    return found


def _resolve(requirements: Sequence[str], present: str, *, upgrade: bool) -> dict[str, str]:
    """`_blocks` of what uv resolves. ``present``: pins that are kept where they still fit."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "lock.txt"
        output.write_text(present, "utf-8")
        command = ["uv", "pip", "compile", "-", "--quiet", "--generate-hashes", "--no-header", "--no-annotate"]
        command += ["--python-version", PYTHON, "--python-platform", PLATFORM, "--output-file", str(output)]
        command += ["--no-config", *(["--upgrade"] if upgrade else [])]
        subprocess.run(command, input="\n".join(requirements), text=True, check=True)
        return _blocks(output.read_text("utf-8"))


def write(folder: Path = HERE, pyproject: Path = PYPROJECT, *, upgrade: bool = False) -> None:
    """Resolve and write all. Raises `FileNotFoundError` without uv, `CalledProcessError` if there is no solution."""
    resolved: dict[tuple[str, ...], dict[str, str]] = {}
    every = locks(pyproject)
    for lock in every:
        if lock.requirements not in resolved:
            same = [folder / other.name for other in every if other.requirements == lock.requirements]
            present = "".join(path.read_text("utf-8") for path in same if path.exists())
            resolved[lock.requirements] = _resolve(lock.requirements, present, upgrade=upgrade)
        blocks = resolved[lock.requirements]
        chosen = [blocks[name] for name in sorted(blocks) if (name in SOURCES) == lock.source]
        (folder / lock.name).write_text(lock.header + "".join(chosen), "utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the image's lock files.")
    parser.add_argument("--check", action="store_true", help="only say which are stale")
    parser.add_argument("--upgrade", action="store_true", help="take the newest of everything")
    given = parser.parse_args()
    if not given.check:
        write(upgrade=given.upgrade)
    for line in (wrong := stale()):
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
