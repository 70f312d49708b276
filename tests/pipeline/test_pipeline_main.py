"""``python -m pipeline``: one file without a bucket, and how mistakes are told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.__main__ import main

JFK = Path(__file__).parents[2] / "examples" / "jfk.flac"


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """The exit status and what stands on stderr of a command that fails; nothing may stand on stdout."""
    try:
        status = main(arguments)
    except SystemExit as ended:  # argparse's own way
        status = int(ended.code or 0)
    out, err = capsys.readouterr()
    assert out == ""
    return status, err


def test_run_writes_the_results(tmp_path: Path) -> None:
    """`run FILE` writes the results part to stdout, and only that; progress goes to stderr; the file stays as it is."""
    before = JFK.stat().st_mtime_ns
    environ = {**os.environ, "DROPSCRIBE_HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "pipeline", "run", str(JFK), "--model", "sphinx"]
    done = subprocess.run(command, capture_output=True, env=environ, timeout=120)
    assert done.returncode == 0, done.stderr
    [channel] = json.loads(done.stdout)["channels"]
    assert "all my fellow" in channel["alternatives"][0]["transcript"].lower()
    assert b"transcribing 100 %" in done.stderr
    assert JFK.stat().st_mtime_ns == before
    assert list(tmp_path.glob("dropscribe*")) == []  # the work directory is gone


def test_run_writes_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`-o` writes the same to a file, and nothing to stdout."""
    import wave

    quiet = tmp_path / "quiet.wav"
    with wave.open(str(quiet), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(16_000))
    output = tmp_path / "out.json"
    assert main(["run", str(quiet), "-o", str(output), "--model", "sphinx"]) == 0
    assert capsys.readouterr().out == ""
    [channel] = json.loads(output.read_bytes())["channels"]
    assert channel["alternatives"][0]["transcript"] == ""


@pytest.mark.parametrize(
    ("arguments", "status", "word"),
    [
        ([], 2, "command"),
        (["nothing"], 2, "nothing"),
        (["run"], 2, "file"),
        (["run", "a.wav", "--no-such-option"], 2, "--no-such-option"),
        (["engine"], 2, "--events-fd"),
        (["engine", "--events-fd", "three"], 2, "three"),
        (["engine", "--events-fd", "987"], 2, "987"),
        (["engine", "--events-fd", "2", "--gpu-memory-threshold", "1.5"], 2, "1.5"),
        (["engine", "--events-fd", "2", "--gpu-memory-threshold", "most"], 2, "most"),
        (["engine", "--events-fd", "2", "--device", "tpu"], 2, "tpu"),
        (["fetch"], 2, "name"),
        (["fetch", "no-such-model"], 1, "no-such-model"),
        (["run", "/no/such/file.wav"], 1, "/no/such/file.wav"),
        (["run", str(JFK.parent)], 1, "examples"),
        (["run", str(JFK), "--model", "no-such-model"], 1, "no-such-model"),
        (["run", __file__, "--model", "sphinx"], 1, "not a recording"),
        (["run", str(JFK), "--model", "sphinx", "-o", "/no/such/folder/out.json"], 1, "/no/such/folder"),
    ],
)
def test_a_mistake_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, word: str
) -> None:
    """Whatever is wrong with a command is said in one line that names it, with a status that is not 0."""
    code, err = said(capsys, *arguments)
    assert code == status
    lines = [line for line in err.splitlines() if not line.startswith("transcribing")]
    assert len(lines) == 1, err
    assert lines[0].startswith("pipeline: ")
    assert word in lines[0]
    assert "Traceback" not in err


def test_help_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    """--help of every command is on stdout, with status 0."""
    for arguments in (["--help"], ["run", "--help"], ["fetch", "--help"], ["engine", "--help"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
        assert "usage: python -m pipeline" in capsys.readouterr().out
