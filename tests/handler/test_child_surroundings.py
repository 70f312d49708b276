"""What surrounds the engine does not reach it, and it leaves nothing behind: current folder, network, home."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from handler.child import ChildEngine, child_environment
from handler.clock import SystemClock
from handler.errors import EngineDied
from pipeline.catalog import resolve
from pipeline.options import Options
from pipeline.types import Done, Event, JobRequest

RECORDING = Path(__file__).parents[2] / "examples" / "jfk.flac"

# An engine that never gets as far as opening the recording.
STUCK = "import sys, time; sys.stdin.readline(); time.sleep(600)"


def transcribed(engine: ChildEngine, work: Path) -> list[Event | None]:
    """The events of a real job on a real recording."""
    work.mkdir()
    (work / "source.flac").symlink_to(RECORDING)
    model = resolve("sphinx", None, work)
    request = JobRequest(
        work=str(work),
        source="source.flac",
        options=Options().model_dump(mode="json"),
        model=model.model_dump(mode="json"),
        seed="0" * 64,
    )
    return list(engine.run(request, time_limit=lambda duration: 120.0, poll=1.0))


def test_a_stray_module_is_not_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the user's that is called like one of our modules, or the library's, is not run and breaks nothing."""
    for name in ("pipeline", "queue", "av"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('this is not what was meant')\n")
    monkeypatch.chdir(tmp_path)
    engine = ChildEngine(SystemClock(), home=tmp_path)
    try:
        assert isinstance(transcribed(engine, tmp_path / "work")[-1], Done)
    finally:
        engine.close()


def test_nothing_is_left_in_its_home(tmp_path: Path) -> None:
    """No library keeps an account of its own there; onnxruntime's comes with calls to its maker's server."""
    home = tmp_path / "home"
    home.mkdir()
    engine = ChildEngine(SystemClock(), home=home)
    try:
        assert isinstance(transcribed(engine, tmp_path / "work")[-1], Done)
        assert list(home.rglob("*")) == []
    finally:
        engine.close()


def test_without_the_handler_there_is_no_telemetry_either(tmp_path: Path) -> None:
    """``python -m pipeline run`` switches it off by itself."""
    environment = {**os.environ, "HOME": str(tmp_path)}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    command = [sys.executable, "-m", "pipeline", "run", str(RECORDING), "--model", "sphinx"]
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    assert [path for path in tmp_path.rglob("*") if "onnx" in path.name.lower()] == []


def test_the_engine_is_the_handlers_own(tmp_path: Path) -> None:
    """The child imports the very package that the handler runs from, whatever else is installed."""
    environment = child_environment({"PYTHONPATH": str(tmp_path)}, None)
    first, rest = environment["PYTHONPATH"].split(os.pathsep)
    assert (Path(first) / "pipeline" / "engine.py").is_file()
    assert rest == str(tmp_path)


def test_a_recording_that_does_not_open_is_given_up(tmp_path: Path) -> None:
    """Until it is open, the length that a recording may have is no excuse: a stuck start is not waited for for days."""
    asked: list[float | None] = []

    def limit(duration: float | None) -> float:
        asked.append(duration)
        return 0.3 if duration == 0 else 1e6

    engine = ChildEngine(SystemClock(), command=[sys.executable, "-c", STUCK])
    request = JobRequest(work=str(tmp_path), source="source", options={}, model={}, seed="0" * 64)
    try:
        with pytest.raises(EngineDied, match="time limit"):
            list(engine.run(request, time_limit=limit, poll=0.1))
    finally:
        engine.close()
    assert asked == [0.0]
