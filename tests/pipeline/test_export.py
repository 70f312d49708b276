"""Exports in the engine: no model, no stage, one answer; and as the handler sees them, through a real child."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from caption_text import RESULTS

from handler.child import ChildEngine
from handler.clock import SystemClock
from handler.errors import EngineDied
from pipeline.engine import answer
from pipeline.export import export, export_name
from pipeline.formats.captions import render
from pipeline.models import Models
from pipeline.options import OUTPUTS
from pipeline.types import Done, ExportRequest, Failed


class NoModels(Models):
    """Fails as soon as a model is asked for."""

    def get(self, *args: Any) -> Any:
        raise AssertionError("a model was loaded for captions")


def request(work: Path, body: bytes = json.dumps(RESULTS).encode(), **fields: Any) -> ExportRequest:
    (work / "results.json").write_bytes(body)
    return ExportRequest(work=str(work), results="results.json", **{"kinds": OUTPUTS, **fields})


def test_every_kind_lies_there(tmp_path: Path) -> None:
    """A file for each kind, as `render` makes it, with the names and the recording's name."""
    export(request(tmp_path, names={"0": "Alice"}, file="a.wav"))
    for kind in OUTPUTS:
        made = (tmp_path / export_name(kind)).read_text(encoding="utf-8")
        assert made == render(RESULTS, kind, {"0": "Alice"}, file="a.wav")
        assert made


def test_the_engine_answers_without_a_model(tmp_path: Path) -> None:
    """The engine's loop takes exports and jobs from one pipe, and says nothing before it is done."""
    events: list[Any] = []
    line = request(tmp_path, kinds=("srt",)).model_dump_json().encode()
    assert isinstance(answer(line, NoModels(), events.append), Done)
    assert events == []
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("export")] == ["export.srt"]


@pytest.mark.parametrize("body", [b"no json", b"[]", b"{}", b'{"channels": 1}', b"[" * 100_000, b"\xff"])
def test_what_is_no_result(tmp_path: Path, body: bytes) -> None:
    """Results that are none are a failure that no retry mends, and the engine goes on."""
    found = answer(request(tmp_path, body).model_dump_json().encode(), NoModels(), lambda event: None)
    assert isinstance(found, Failed)
    assert (found.error.error_class, found.error.retryable) == ("NotAResult", False)


def test_a_real_child(tmp_path: Path) -> None:
    """A real engine makes them one after the other in one process, which has loaded no library of a model."""
    engine = ChildEngine(SystemClock(), home=tmp_path)
    try:
        assert engine.export(request(tmp_path), seconds=60) is None
        pid = engine.pid
        failed = engine.export(request(tmp_path, b"{}"), seconds=60)
        assert failed is not None
        assert failed.error_class == "NotAResult"
        assert engine.export(request(tmp_path, kinds=("txt",)), seconds=60) is None
        assert engine.pid == pid
        loaded = {Path(one.path).name for one in psutil.Process(pid).memory_maps()}
        assert not [name for name in loaded if name.startswith(("libctranslate2", "_pocketsphinx", "onnxruntime"))]
    finally:
        engine.close()
    assert (tmp_path / "export.txt").read_text(encoding="utf-8") == render(RESULTS, "txt")


@pytest.mark.parametrize("job", ["import time; time.sleep(600)", "import os; os.abort()"])
def test_a_child_that_hangs_or_dies(tmp_path: Path, job: str) -> None:
    """A child that hangs is killed when its time is over, one that died is noticed: `EngineDied`, and a new one does
    the next.
    """
    script = f"import sys\nsys.stdin.readline()\n{job}"
    engine = ChildEngine(SystemClock(), command=[sys.executable, "-c", script])
    with pytest.raises(EngineDied):
        engine.export(request(tmp_path), seconds=0.5)
    assert engine.pid is None
