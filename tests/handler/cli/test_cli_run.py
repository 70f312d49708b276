"""``dropscribe run``: a file in, its transcript out."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_rig import Cli, one_line

from handler.cli.run import StageBars
from handler.cli.screen import progress_bars
from pipeline.errors import ErrorDetail, UnreadableMedia
from pipeline.types import Media, Progress, StageDone


def test_prints_the_transcript(cli: Cli, recording: Path) -> None:
    """Without options the words go to stdout, and nothing else does."""
    result = cli("run", recording)
    assert result.exit_code == 0, result.stderr
    words = hashlib.sha256(recording.read_bytes()).hexdigest()
    assert [words[:8], words[8:16]] == result.stdout.lower().replace(".", "").split()[:2]


def test_json_is_the_whole_answer(cli: Cli, recording: Path) -> None:
    """--json gives Deepgram's JSON, assembled as a worker does: the file's SHA-256, tags, and an id made of the job."""
    answer = cli.json("run", recording, "--option", "tag=a", "--option", "tag=b", "--option", "utterances=false")
    assert answer["metadata"]["sha256"] == hashlib.sha256(recording.read_bytes()).hexdigest()
    assert answer["metadata"]["tags"] == ["a", "b"]
    assert answer["metadata"]["duration"] == 60.0
    assert "utterances" not in answer["results"]
    assert answer["results"]["channels"][0]["alternatives"][0]["words"]
    again = cli.json("run", recording)
    other = cli.json("run", recording, "--option", "paragraphs=false")
    assert again["metadata"]["request_id"] != other["metadata"]["request_id"]
    assert again["metadata"]["request_id"] == cli.json("run", recording)["metadata"]["request_id"]


def test_output_file(cli: Cli, recording: Path, tmp_path: Path) -> None:
    """-o writes the answer into a file, says so, and leaves stdout alone."""
    out = tmp_path / "talk.json"
    result = cli("run", recording, "-o", out)
    assert result.exit_code == 0, result.stderr
    assert json.loads(out.read_bytes())["results"]["channels"]
    assert result.stdout == ""
    assert str(out) in result.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_notes_are_told_beside_a_file_too(cli: Cli, recording: Path, tmp_path: Path) -> None:
    """What the answer warns of stands on stderr, wherever the answer itself goes."""
    out = tmp_path / "talk.json"
    options = ("--option", "model=nova-3")
    for more in ((), ("-o", out), ("--json",)):
        result = cli("run", recording, *options, *more)
        assert result.exit_code == 0, result.stderr
        assert "Note: " in result.stderr
    [warning] = json.loads(out.read_bytes())["metadata"]["warnings"]
    assert warning["message"] in result.stderr.replace("\n", " ")


def test_a_callback_is_refused(cli: Cli, recording: Path) -> None:
    """Nothing is sent from here, so asking for it is an error before anything is done."""
    result = cli("run", recording, "--option", "callback=https://hooks.example/")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "callback" in one_line(result)
    assert cli.engines == []


def test_the_file_is_never_touched(cli: Cli, recording: Path, tmp_path: Path) -> None:
    """FILE keeps its bytes, its times and its neighbours; the work directory is emptied."""
    recording.chmod(0o444)
    before = (recording.read_bytes(), recording.stat().st_mtime_ns, recording.stat().st_nlink)
    neighbours = set(recording.parent.iterdir())
    assert cli("run", recording).exit_code == 0
    assert (recording.read_bytes(), recording.stat().st_mtime_ns, recording.stat().st_nlink) == before
    assert set(recording.parent.iterdir()) - neighbours <= {tmp_path / "work"}
    assert list((tmp_path / "work").iterdir()) == []
    assert cli.engines[0].closed


def test_a_relative_path_works(cli: Cli, recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may be named from where one stands."""
    monkeypatch.chdir(recording.parent)
    assert cli("run", recording.name).exit_code == 0


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UnreadableMedia("that is no recording").to_detail(), 1),
        (ErrorDetail(error_class="ModelUnavailable", code="X", message="no weights", hint="Fetch them."), 69),
        (ErrorDetail(error_class="OptionsError", code="X", message="English only"), 2),
        (ErrorDetail(error_class="SomethingNew", code="X", message="a newer engine's error"), 1),
        (None, 1),
    ],
    ids=["media", "model", "options", "unknown", "died"],
)
def test_failures_of_the_engine(
    cli: Cli, recording: Path, tmp_path: Path, error: ErrorDetail | None, code: int
) -> None:
    """Whatever the engine answers is one line with its hint and a documented exit code; no output file appears."""
    cli.failures = [error]
    out = tmp_path / "out.json"
    result = cli("run", recording, "-o", out)
    assert result.exit_code == code
    assert (error.message if error else "the engine ended") in one_line(result)
    assert not out.exists()
    assert cli.engines[0].closed


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (["--option", "langage=en"], 2, "language"),
        (["--option", "diarize"], 2, "NAME=VALUE"),
        (["--model", "large-v3"], 69, "large-v3"),
        (["--model", "no-such-model"], 2, "no-such-model"),
        (["-o", "/nowhere/at/all/x.json"], 73, "/nowhere/at/all"),
    ],
)
def test_mistakes_are_told_before_the_engine_starts(
    cli: Cli, recording: Path, args: list[str], code: int, told: str
) -> None:
    """An option, a model or an output that cannot be costs no transcription."""
    result = cli("run", recording, *args)
    assert result.exit_code == code
    assert told in one_line(result)
    assert cli.engines == []


def test_an_empty_file_is_told(cli: Cli, tmp_path: Path) -> None:
    """A file without bytes is an error that says so."""
    empty = tmp_path / "empty.wav"
    empty.touch()
    result = cli("run", empty)
    assert result.exit_code == 1
    assert "is empty" in one_line(result)


# A run whose engine says which folder it was given, and then never finishes.
HANGING = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell started the tests with "&"
from handler.cli import main
from handler.cli.runtime import Runtime
from handler.fakes import ScriptedEngine

class Hanging(ScriptedEngine):
    def run(self, request, *, time_limit, poll):
        print(request.work, flush=True)
        while True:
            time.sleep(0.02)
            yield None

    def close(self):
        print("closed", flush=True)

main(["run", sys.argv[1]], obj=Runtime(engine=lambda clock, home, settings: Hanging()))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_leaves_nothing(cli: Cli, recording: Path, tmp_path: Path, number: signal.Signals, code: int) -> None:
    """SIGTERM, as Ctrl-C, ends the engine and removes the folder with the recording in it; the exit code says which."""
    environ = {**os.environ, **{name: value for name, value in cli.env.items() if value is not None}}
    process = subprocess.Popen(
        [sys.executable, "-c", HANGING, str(recording)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
    )
    try:
        assert process.stdout is not None
        work = Path(process.stdout.readline().strip())
        assert work.parent == tmp_path / "work"
        assert work.stat().st_mode & 0o777 == 0o700
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == code, err
    assert out == "closed\n"
    assert "Traceback" not in err
    assert list((tmp_path / "work").iterdir()) == []


def test_a_work_directory_that_cannot_be(cli: Cli, recording: Path) -> None:
    """A work directory that cannot be made is named, with the setting that moves it."""
    cli.env["DROPSCRIBE_WORK_DIR"] = f"{recording}/below"
    result = cli("run", recording)
    assert result.exit_code == 73
    assert "DROPSCRIBE_WORK_DIR" in one_line(result)


def test_stages_side_by_side_have_bars_of_their_own() -> None:
    """Two stages that report by turns do not share one bar, which would jump; what is done stands at 100."""
    with progress_bars() as bars:
        view = StageBars(bars, "tiny")
        assert [task.description for task in bars.tasks] == ["Starting tiny"]
        view.show(Media(duration=60.0, channels=1))
        for event in (
            Progress(stage="transcribing", percent=10.0, done=6.0, total=60.0),
            Progress(stage="diarizing", percent=70.0),
            Media(duration=61.0, channels=1),
            Progress(stage="transcribing", percent=20.0, done=12.0, total=60.0),
            StageDone(stage="diarizing", artifact="speakers.json", seconds=1.0),
        ):
            view.show(event)
        shown = [(task.description, task.completed, task.fields["note"]) for task in bars.tasks]
    assert shown == [("Transcribing", 20.0, "12 s of 60 s"), ("Diarizing", 100.0, "")]
