"""The command line in this process, with a scripted engine; and how its errors must look."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from handler.cli import main
from handler.cli.runtime import Runtime, store_at
from handler.clock import Clock, SystemClock
from handler.fakes import ScriptedEngine
from handler.settings import Settings
from handler.store.base import Store
from handler.store.memory import MemoryStore
from pipeline.devices import Gpus
from pipeline.errors import ErrorDetail
from pipeline.machine import Machine


class Describing(MemoryStore):
    """A store in memory that keeps metadata, as S3 does."""

    def upload_described(
        self, key: str, path: Path, metadata: Mapping[str, str], sent: Callable[[int], None] | None = None
    ) -> None:
        self.upload(key, path)
        self.drop(key, path.read_bytes(), metadata)
        if sent is not None:
            sent(path.stat().st_size)


NO_MACHINE = Machine(
    gpus=Gpus(problem="no NVIDIA driver"),
    libraries=(),
    ctranslate2="4",
    compute_types={},
    models=(),
    trials=(),
    problem="a machine in a test",
)


@dataclass
class Cli:
    """Runs commands. ``failures``: what the next engines answer with; ``engines``: those that were made."""

    env: dict[str, str | None]
    clock: Clock = field(default_factory=SystemClock)
    failures: Sequence[ErrorDetail | None] = ()
    between: Callable[[str], None] | None = None
    store: Store | None = None  # instead of the one that is named
    engines: list[ScriptedEngine] = field(default_factory=list)
    machine: Machine = NO_MACHINE
    probed: list[str] = field(default_factory=list)  # models that a machine was asked to try

    def __call__(self, *args: str | Path, input: str | None = None) -> Result:
        store = self.store
        runtime = Runtime(
            clock=self.clock,
            engine=self._engine,
            probe=self._probe,
            store=store_at if store is None else lambda url, clock, settings: store,
        )
        return CliRunner(env=self.env).invoke(main, [str(arg) for arg in args], obj=runtime, input=input)

    def json(self, *args: str | Path) -> Any:
        """What a command that must succeed writes with ``--json``."""
        result = self(*args, "--json")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    def _probe(self, settings: Settings, model: str) -> Machine:
        self.probed.append(model)
        return self.machine

    def _engine(self, clock: Clock, home: Path, settings: Settings) -> ScriptedEngine:
        self.engines.append(ScriptedEngine(failures=self.failures, between=self.between))
        return self.engines[-1]


def model_rows(listed: Any) -> dict[tuple[str, str], dict[str, Any]]:
    """What ``models list`` lists, by name and places."""
    return {(row["name"], ",".join(row["where"])): row for row in listed["models"]}


def one_line(result: Result) -> str:
    """The single line of stderr of a command that failed: for a person, without a traceback."""
    assert "Traceback" not in result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("dropscribe: ")
    return lines[0]
