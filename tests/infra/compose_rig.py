"""infra/compose/compose.yaml, read as `docker compose` would; its processes on this machine.

Takes the file's own environment and commands; gives processes in which only the addresses are others: of a service's
name, where its stand-in listens. What the file says wrongly goes wrong here, too.
"""

from __future__ import annotations

import copy
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from infra_tools import ROOT

FOLDER = ROOT / "infra" / "compose"
_VARIABLE = re.compile(r"\$\{(\w+)(?:(:?[-?])([^}]*))?\}")

# What the image's entry point is here: the command line, with an engine that answers without a model.
DROPSCRIBE = """
import sys
from handler.cli import main
from handler.cli.runtime import Runtime
from handler.fakes import ScriptedEngine

main(sys.argv[1:], obj=Runtime(engine=lambda clock, home, settings: ScriptedEngine()))
"""


def variables(text: str) -> set[str]:
    """The names of all ``${…}``."""
    return {found[1] for found in _VARIABLE.finditer(text)}


def filled(value: Any, given: Mapping[str, str]) -> Any:
    """``${NAME}``, ``${NAME:-default}`` and ``${NAME:?message}`` in all strings. `KeyError` with the message."""

    def one(found: re.Match[str]) -> str:
        name, sign, rest = found[1], found[2] or "", found[3] or ""
        if given.get(name) or (name in given and ":" not in sign):
            return given[name]
        if "?" in sign:
            raise KeyError(rest)
        return rest

    if isinstance(value, str):
        return _VARIABLE.sub(one, value)
    if isinstance(value, list):
        return [filled(item, given) for item in value]
    if isinstance(value, dict):
        return {key: filled(item, given) for key, item in value.items()}
    return value


def load(given: Mapping[str, str]) -> dict[str, Any]:
    """The services by name, as they are once an ``.env`` says ``given``."""
    raw = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))
    return dict(filled(copy.deepcopy(raw), given)["services"])


def chosen(services: Mapping[str, Any], profiles: Iterable[str]) -> dict[str, Any]:
    """The services that run with these profiles."""
    wanted = set(profiles)
    return {name: one for name, one in services.items() if not one.get("profiles") or wanted & set(one["profiles"])}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@dataclass
class Running:
    """A process, and the lines it has said so far. Reads on in a thread, so that it never waits for a reader."""

    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)
    heard: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self.heard:
                self.said.append(line)
                self.heard.notify_all()
        with self.heard:
            self.heard.notify_all()

    def until(self, text: str) -> None:
        """Waits for a line with ``text``; fails when the process has ended without one."""
        with self.heard:
            while not any(text in line for line in self.said):
                assert self.process.poll() is None or self.reader.is_alive(), "".join(self.said)
                self.heard.wait(0.1)

    def stop(self) -> int:
        """As `docker compose stop` does it. The exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


@dataclass
class Machine:
    """``addresses``: the text by which the file names a place → by which it is reached here."""

    services: Mapping[str, Any]
    addresses: Mapping[str, str]
    scratch: Path
    running: list[Running] = field(default_factory=list)

    def here(self, text: str) -> str:
        for there, here in self.addresses.items():
            text = text.replace(there, here)
        return text

    def start(self, service: str, **changed: str) -> Running:
        """The service's process. ``changed``: variables that are others here."""
        said = self.services[service]
        environment = {name: self.here(str(value)) for name, value in said.get("environment", {}).items()}
        environment |= {
            "DROPSCRIBE_WORK_DIR": str(self.scratch / "work"),
            "DROPSCRIBE_HOME": str(self.scratch / "home"),
        }
        command = [self.here(word) for word in [*said.get("entrypoint", ["dropscribe"]), *said.get("command", [])]]
        process = subprocess.Popen(
            self._program(command, said),
            env={**_plain(), "HOME": str(self.scratch), **environment, **changed},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.running.append(Running(process))
        return self.running[-1]

    def _program(self, command: list[str], said: Mapping[str, Any]) -> list[str]:
        """``dropscribe …`` and ``python FILE …`` of the image, the file being one that is mounted."""
        name, *rest = command
        if name == "dropscribe":
            return [sys.executable, "-c", DROPSCRIBE, *rest]
        assert name == "python", command
        mounted = dict(one.split(":")[1::-1] for one in said["volumes"] if isinstance(one, str) and ".py:" in one)
        return [sys.executable, str(FOLDER / mounted[rest[0]]), *rest[1:]]

    def close(self) -> None:
        for one in self.running:
            one.process.kill()
            one.process.wait()
            one.reader.join()
            assert one.process.stderr is not None
            one.process.stderr.close()


def _plain() -> dict[str, str]:
    """Nobody's settings, credentials or endpoints."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**kept, "PYTHONPATH": path, "NO_PROXY": "*"}
