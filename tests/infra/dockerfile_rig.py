"""A Dockerfile, read; and the part of `docker build` that a machine without an engine can do: COPY and RUN in folders.

Takes the file and its context; gives stages, what each layer is made from, and folders with what was built. Each stage
has a folder of its own as its root, and the image's paths in a command are turned into paths there. No base image is
there: Python is this one, and stages that need root (`useradd`) are read but not run.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# What the Dockerfile has under /.
_PATH = re.compile(r"(?<![\w./:{}$])/(?=(?:opt|src|code|var/lib/dropscribe)(?:/|\s|$))")
_LAYERS = frozenset({"RUN", "COPY", "ADD"})
UNREACHABLE = re.compile(r"Temporary failure in name resolution|Network is unreachable|Connection refused|timed out")


class NoRegistry(Exception):
    """The package index does not answer."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """``words``: the arguments without flags; the exec form's elements, or what the shell would split."""

    verb: str
    text: str
    flags: Mapping[str, str]

    @property
    def words(self) -> list[str]:
        return json.loads(self.text) if self.text.startswith("[") else shlex.split(self.text)

    @property
    def makes_layer(self) -> bool:
        return self.verb in _LAYERS


@dataclass(frozen=True, slots=True)
class Stage:
    name: str
    base: str
    instructions: tuple[Instruction, ...]

    def all(self, verb: str) -> list[Instruction]:
        return [one for one in self.instructions if one.verb == verb]


@dataclass(frozen=True, slots=True)
class Dockerfile:
    arguments: Mapping[str, str]  # those before the first FROM
    stages: Mapping[str, Stage]  # in the file's order

    def course(self, name: str) -> list[Instruction]:
        """All instructions that make up a stage, those of the stages below it first."""
        stage = self.stages[name]
        return [*(self.course(stage.base) if stage.base in self.stages else []), *stage.instructions]

    def environment(self, name: str) -> dict[str, str]:
        """The variables that a stage's process has, ``${…}`` of build arguments with their defaults."""
        known: dict[str, str] = {}
        found: dict[str, str] = {}
        for one in self.course(name):
            if one.verb in ("ARG", "ENV"):
                pairs = dict(word.partition("=")[::2] for word in one.words)
                filled = {key: _filled(value, known) for key, value in pairs.items()}
                known |= filled
                found |= filled if one.verb == "ENV" else {}
        return found

    def sources(self, name: str, upto: int | None = None) -> set[str]:
        """The paths of the context that the first ``upto`` instructions of a stage (all) are made from."""
        found: set[str] = set()
        for one in self.course(name)[:upto]:
            found |= self.sources_of(one)
        return found

    def sources_of(self, one: Instruction) -> set[str]:
        if one.verb not in ("COPY", "ADD"):
            return set()
        return self.sources(one.flags["from"]) if "from" in one.flags else {word.rstrip("/") for word in one.words[:-1]}


def _filled(text: str, known: Mapping[str, str]) -> str:
    return re.sub(r"\$\{(\w+)\}", lambda found: known.get(found[1], ""), text)


def read(text: str) -> Dockerfile:
    """Raises `ValueError` for what it does not understand, so that nothing is passed over."""
    arguments: dict[str, str] = {}
    stages: dict[str, tuple[str, list[Instruction]]] = {}
    current: list[Instruction] | None = None
    kept = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in re.sub(r"\\\n\s*", " ", kept).splitlines():
        if not line.strip():
            continue
        verb, _, rest = line.strip().partition(" ")
        if verb == "FROM":
            base, word, name = rest.split()
            if word != "AS":
                raise ValueError(f"a stage without a name: {line}")
            current = []
            stages[name] = (base, current)
        elif current is None:
            name, _, default = rest.partition("=")
            arguments[name] = default
        else:
            current.append(_instruction(verb, rest.strip()))
    return Dockerfile(arguments, {name: Stage(name, base, tuple(said)) for name, (base, said) in stages.items()})


def _instruction(verb: str, rest: str) -> Instruction:
    flags: dict[str, str] = {}
    while (word := rest.split(" ", 1)[0]).startswith("--") and verb in ("RUN", "COPY", "ADD", "HEALTHCHECK"):
        name, _, value = word[2:].partition("=")
        flags[name] = value
        rest = rest[len(word) :].strip()
    return Instruction(verb, rest, flags)


def ignored(rules: Sequence[str], path: str) -> bool:
    """Whether a .dockerignore keeps ``path`` out: the last rule that fits the path or a folder above it counts."""
    parts = path.split("/")
    above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    out = False
    for rule in rules:
        pattern = rule.lstrip("!").rstrip("/")
        if any(_fits(pattern, one) for one in above):
            out = not rule.startswith("!")
    return out


def _fits(pattern: str, path: str) -> bool:
    if pattern.startswith("**/"):
        return fnmatch.fnmatchcase(path.rsplit("/", 1)[-1], pattern[3:])
    return pattern.count("/") == path.count("/") and fnmatch.fnmatchcase(path, pattern)


@dataclass
class Builder:
    """``root``: where the stages' folders are made. ``unrun``: stages whose RUNs need root, and are passed over."""

    dockerfile: Dockerfile
    context: Path
    root: Path
    unrun: frozenset[str] = frozenset()
    built: set[str] = field(default_factory=set)

    def build(self, name: str) -> Path:
        """The folder that is the stage's root."""
        place = self.root / name
        if name in self.built:
            return place
        self.built.add(name)
        stage = self.dockerfile.stages[name]
        place.mkdir(parents=True)
        if stage.base in self.dockerfile.stages:
            shutil.copytree(self.build(stage.base), place, symlinks=True, dirs_exist_ok=True)
        folder = place
        for one in stage.instructions:
            if one.verb == "WORKDIR":
                folder = place / one.text.lstrip("/")
                folder.mkdir(parents=True, exist_ok=True)
            elif one.verb == "COPY":
                self._copy(one, place, folder)
            elif one.verb == "RUN" and name not in self.unrun:
                self._run(one, place, folder)
        return place

    def _copy(self, one: Instruction, place: Path, folder: Path) -> None:
        *sources, target = one.words
        into = place / target.lstrip("/") if target.startswith("/") else folder / target
        start = self.build(one.flags["from"]) if "from" in one.flags else self.context
        rules = [] if "from" in one.flags else self._rules()
        for source in sources:
            found = start / source.strip("/")
            if found.is_dir():
                shutil.copytree(found, into, symlinks=True, dirs_exist_ok=True, ignore=_leave_out(start, rules))
            elif ignored(rules, source):
                raise FileNotFoundError(f"{source} is kept out by .dockerignore")
            else:
                into.mkdir(parents=True, exist_ok=True)
                shutil.copy2(found, into)

    def _rules(self) -> list[str]:
        lines = (self.context / ".dockerignore").read_text("utf-8").splitlines()
        return [line for line in lines if line and not line.startswith("#")]

    def _run(self, one: Instruction, place: Path, folder: Path) -> None:
        shims = self.root / "shims"
        shims.mkdir(exist_ok=True)
        for name, command in (("python", ""), ("pip", "-m pip ")):
            (shims / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {command}"$@"\n')
            (shims / name).chmod(0o755)
        done = subprocess.run(
            ["sh", "-ec", _PATH.sub(f"{place}/", one.text)],
            cwd=folder,
            env=_surroundings(shims),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            told = f"{one.text}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
            raise NoRegistry(told) if UNREACHABLE.search(told) else RuntimeError(told)


def _surroundings(shims: Path) -> dict[str, str]:
    """What a step sees of this machine: how its registry is reached, and nothing of an environment that is active."""
    kept = ("PIP_", "SSL_", "REQUESTS_", "HTTP", "http", "NO_PROXY", "no_proxy", "HOME", "LANG")
    found = {name: value for name, value in os.environ.items() if name.startswith(kept)}
    return {**found, "PATH": f"{shims}:/usr/local/bin:/usr/bin:/bin", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def _leave_out(start: Path, rules: Sequence[str]) -> Callable[[str, list[str]], set[str]]:
    def chosen(folder: str, names: list[str]) -> set[str]:
        inside = Path(folder).relative_to(start)
        return {name for name in names if ignored(rules, (inside / name).as_posix())}

    return chosen
