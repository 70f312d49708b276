"""``./run demo``: the first thing that a newcomer sees."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.demo import MARKER, RECORDING, main
from handler.cli.runtime import Runtime
from handler.clock import SystemClock
from handler.fakes import ScriptedEngine
from pipeline.errors import NoAudio


@pytest.fixture
def quick(env: dict[str, str | None], monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """The demo's own settings, and an engine that needs no model."""
    for name, value in env.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    return Runtime(clock=SystemClock(), engine=lambda clock, home, settings: ScriptedEngine())


def test_shows_a_result_and_a_cache_hit(quick: Runtime, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It names the small model, prints the words and the result objects, and then a cache hit with both times."""
    assert main([str(tmp_path / "demo")], quick) == 0
    shown = capsys.readouterr().out
    for told in ("sphinx", "the small one", "results/jfk.flac.json", "a cache hit. First time", "s3://", "Whisper"):
        assert told in shown
    assert (tmp_path / "demo/results/the-same-again.flac.json").exists()
    assert (tmp_path / "demo/input/jfk.flac").read_bytes() == RECORDING.read_bytes()


def test_may_be_run_again(quick: Runtime, tmp_path: Path) -> None:
    """Its own folder is removed and made again."""
    folder = tmp_path / "demo"
    assert main([str(folder)], quick) == 0
    (folder / "input" / "left-over").write_bytes(b"x")
    assert main([str(folder)], quick) == 0
    assert not (folder / "input" / "left-over").exists()


def test_never_deletes_what_it_did_not_make(quick: Runtime, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder with somebody's files, or a link to one of the demo's, is refused in one line and left as it was."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.txt").write_text("years of work")
    assert main([str(theirs)], quick) == 2
    assert (theirs / "thesis.txt").read_text() == "years of work"
    made = tmp_path / "made"
    made.mkdir()
    (made / MARKER).touch()
    link = tmp_path / "link"
    link.symlink_to(made)
    assert main([str(link)], quick) == 2
    assert (made / MARKER).exists()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all("the demo did not make it" in line for line in lines)


def test_says_what_went_wrong(quick: Runtime, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If the recording fails, the demo ends with the reason instead of waiting."""
    error = NoAudio("there is no sound in it").to_detail()
    broken = Runtime(clock=quick.clock, engine=lambda clock, home, settings: ScriptedEngine(failures=[error]))
    assert main([str(tmp_path / "demo")], broken) == 1
    assert "there is no sound in it" in capsys.readouterr().err.splitlines()[-1]


def test_a_broken_worker_ends_it(quick: Runtime, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If the worker itself cannot go on, the demo says why at once."""
    error = NoAudio("x").to_detail().model_copy(update={"error_class": "ModelUnavailable", "retryable": True})
    broken = Runtime(clock=quick.clock, engine=lambda clock, home, settings: ScriptedEngine(failures=[error]))
    assert main([str(tmp_path / "demo")], broken) == 69
    assert capsys.readouterr().err.splitlines()[-1].startswith("dropscribe: x")
