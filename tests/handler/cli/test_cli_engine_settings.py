"""The engine's own settings reach it from the environment; and whether a worker fetches ahead is one of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_rig import Cli, one_line
from click.testing import CliRunner

from handler.child import ChildEngine
from handler.cli import main
from handler.cli.runtime import Runtime, child_engine, engine_arguments
from handler.clock import Clock, SystemClock
from handler.fakes import ScriptedEngine
from handler.settings import Settings
from pipeline.__main__ import _devices, _parser
from pipeline.devices import DeviceSettings
from pipeline.types import Event, Progress


@pytest.mark.parametrize(
    "given",
    [{}, {"device": "cpu", "compute_type": "int8", "gpu_memory_threshold": 0.5}, {"gpu_memory_threshold": 1.0}],
)
def test_the_engine_takes_what_it_is_given(given: dict[str, Any]) -> None:
    """The arguments are those of ``python -m pipeline engine``, which makes of them the same settings."""
    arguments = engine_arguments(Settings(**given))
    parsed = _parser().parse_args(["engine", "--events-fd", "1", *arguments])
    assert _devices(parsed) == DeviceSettings(**given)


def test_the_real_engine_is_started_with_them(tmp_path: Path) -> None:
    """The child's command line carries the settings, and its memory's limit is the handler's to keep."""
    settings = Settings(device="cpu", compute_type="float32", engine_memory_bytes=5 * 2**30)
    engine = child_engine(SystemClock(), tmp_path, settings)
    assert isinstance(engine, ChildEngine)
    assert engine._command[-7:] == ["engine", *engine_arguments(settings)]
    assert engine._drift.limit == 5 * 2**30


@pytest.mark.parametrize("command", ["work", "run"])
def test_commands_hand_their_settings_over(
    env: dict[str, str | None], bucket: Path, recording: Path, command: str
) -> None:
    """`work` and `run` make their engine by the settings of their environment."""
    made: list[Settings] = []

    def engine(clock: Clock, home: Path, settings: Settings) -> ScriptedEngine:
        made.append(settings)
        return ScriptedEngine()

    arguments = ["work", str(bucket), "--drain"] if command == "work" else ["run", str(recording)]
    environment = env | {"DROPSCRIBE_DEVICE": "cpu", "DROPSCRIBE_COMPUTE_TYPE": "int8"}
    done = CliRunner(env=environment).invoke(main, arguments, obj=Runtime(engine=engine))
    assert done.exit_code == 0, done.stderr
    assert [(settings.device, settings.compute_type) for settings in made] == [("cpu", "int8")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEVICE", "tpu"),
        ("COMPUTE_TYPE", "float3"),
        ("GPU_MEMORY_THRESHOLD", "0"),
        ("GPU_MEMORY_THRESHOLD", "1.1"),
        ("ENGINE_MEMORY_BYTES", "0"),
        ("FETCH_AHEAD", "perhaps"),
    ],
)
def test_impossible_settings_are_told(env: dict[str, str | None], recording: Path, name: str, value: str) -> None:
    """A wrong value is one line that names the setting, before an engine is started."""
    cli = Cli(env | {f"DROPSCRIBE_{name}": value})
    done = cli("run", recording)
    assert done.exit_code == 2
    assert f"DROPSCRIBE_{name}" in one_line(done)
    assert cli.engines == []


class Skipping(SystemClock):
    """Real time, and two seconds more whenever a job asks for it."""

    skipped = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.skipped


class Long(ScriptedEngine):
    """Jobs that seem to take two seconds; in fact the first one takes until it was asked to prepare the next, or for
    as many looks as ``looks``.
    """

    def __init__(self, clock: Skipping, looks: int) -> None:
        super().__init__()
        self._clock = clock
        self._looks = looks

    def run(self, *args: Any, **given: Any) -> Iterator[Event | None]:
        for event in super().run(*args, **given):
            yield event
            if isinstance(event, Progress):
                self._clock.skipped += 2.0
                for _ in range(self._looks):
                    yield None
                    if self.prepared:
                        break
                    self._clock.sleep(0.01)


@pytest.mark.parametrize(("fetches", "looks"), [("true", 2000), ("false", 20)])
def test_a_worker_fetches_ahead_unless_told_otherwise(
    env: dict[str, str | None], bucket: Path, fetches: str, looks: int
) -> None:
    """By default the next recording is fetched beside the job under way, in a thread; with the setting off, never."""
    (bucket / "input").mkdir()
    for name in ("a.wav", "b.wav"):
        (bucket / "input" / name).write_bytes(f"the recording {name}".encode())
    clock = Skipping()
    engine = Long(clock, looks)
    done = CliRunner(env=env | {"DROPSCRIBE_FETCH_AHEAD": fetches}).invoke(
        main,
        ["work", str(bucket), "--drain", "--json"],
        obj=Runtime(clock=clock, engine=lambda clock, home, settings: engine),
    )
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["completed"], told["ahead"]) == (2, 1 if fetches == "true" else 0)
    assert len(engine.used) == told["ahead"]
