"""``dropscribe export``, and captions of ``dropscribe run``: any result in any form, or one line that says why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_rig import Cli, one_line

from handler.store.memory import MemoryStore
from pipeline.formats.captions import render
from pipeline.options import OUTPUTS

REAL = Path(__file__).parents[2] / "data" / "deepgram" / "dg_speakers.json"


@pytest.fixture
def real() -> dict[str, Any]:
    """A real response of Deepgram's, with speakers."""
    found: dict[str, Any] = json.loads(REAL.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("kind", OUTPUTS)
def test_to_stdout(cli: Cli, real: dict[str, Any], kind: str) -> None:
    """Any form of a result from elsewhere goes to stdout, and nothing else does."""
    result = cli("export", REAL, "--to", kind)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == render(real, kind, file="dg_speakers")
    assert result.stderr == ""
    assert cli.engines == []


def test_to_a_file(cli: Cli, real: dict[str, Any], tmp_path: Path) -> None:
    """-o writes a file, whose ending says what is made; --to says it where the ending is nothing that is known."""
    out = tmp_path / "talk.vtt"
    result = cli("export", REAL, "-o", out)
    assert (result.exit_code, result.stdout) == (0, "")
    assert out.read_text(encoding="utf-8") == render(real, "vtt")
    other = tmp_path / "talk.sub"
    assert cli("export", REAL, "-o", other, "--to", "srt").exit_code == 0
    assert other.read_text(encoding="utf-8") == render(real, "srt")
    assert {path.name for path in tmp_path.iterdir()} == {"talk.vtt", "talk.sub"}


@pytest.mark.parametrize("named", ["talk.json", "link.json", "./talk.json"])
def test_the_result_is_not_overwritten(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    """-o that leads to the result itself is refused, and the result stays."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "talk.json").write_bytes(REAL.read_bytes())
    (tmp_path / "link.json").symlink_to("talk.json")
    result = cli("export", "talk.json", "--to", "srt", "-o", named)
    assert result.exit_code == 2
    assert "is the result itself" in one_line(result)
    assert (tmp_path / "talk.json").read_bytes() == REAL.read_bytes()


@pytest.mark.parametrize("ending", ["vtt", "VTT", "txt", "rttm", "json"])
def test_an_ending_of_another_kind(cli: Cli, tmp_path: Path, ending: str) -> None:
    """--to srt into a file that everybody takes for something else is refused, and nothing is written."""
    result = cli("export", REAL, "--to", "srt", "-o", tmp_path / f"talk.{ending}")
    assert result.exit_code == 2
    assert f"taken for {ending.lower()}" in one_line(result)
    assert list(tmp_path.iterdir()) == []


def test_with_names(cli: Cli, tmp_path: Path) -> None:
    """--speakers names them; what is wrong with some names is a note, a file without any is an error."""
    names = tmp_path / "names.json"
    names.write_text('{"0": "Jessica", "one": "Drew"}')
    result = cli("export", REAL, "--to", "txt", "--speakers", names)
    assert result.exit_code == 0
    assert "] Jessica: " in result.stdout
    assert "'one'" in result.stderr
    names.write_text("Jessica")
    result = cli("export", REAL, "--to", "txt", "--speakers", names)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "not JSON" in one_line(result)


def test_json(cli: Cli, real: dict[str, Any], tmp_path: Path) -> None:
    """--json says what was made and where it lies."""
    assert cli.json("export", REAL, "--to", "srt") == {"kind": "srt", "output": None, "text": render(real, "srt")}
    out = tmp_path / "a.srt"
    assert cli.json("export", REAL, "-o", out)["output"] == str(out)


def test_out_of_a_bucket(cli: Cli, real: dict[str, Any]) -> None:
    """s3://NAME/KEY is an object; RTTM carries the recording's name."""
    cli.store = MemoryStore(cli.clock)
    cli.store.drop("team/results/a b.mp3.json", REAL.read_bytes())
    result = cli("export", "s3://calls/team/results/a b.mp3.json", "--to", "rttm")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == render(real, "rttm", file="a b.mp3")
    missing = cli("export", "s3://calls/results/none.json", "--to", "srt")
    assert missing.exit_code == 1
    assert "none.json" in one_line(missing)


def test_a_file_url(cli: Cli) -> None:
    """file:///PATH is a file."""
    assert cli("export", f"file://{REAL}", "--to", "srt").exit_code == 0


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"not json", "it is not JSON"),
        (b"[1, 2]", "not a JSON object"),
        (b'{"text": "hello"}', "not a Deepgram result"),
        (b'{"err_code": "Bad Request", "err_msg": "no", "request_id": "x"}', "not a Deepgram result"),
        (b'{"results": {"channels": [{"alternatives": [{"transcript": "", "words": []}]}]}}', "has no words"),
        (b"\xff\xfe\x00", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
    ],
)
def test_what_cannot_be_exported(cli: Cli, tmp_path: Path, body: bytes, says: str) -> None:
    """What is no result, or has nothing to show, ends in one line that names it, and no file is written."""
    path, out = tmp_path / "other.json", tmp_path / "other.srt"
    path.write_bytes(body)
    result = cli("export", path, "-o", out)
    assert result.exit_code == 1
    assert says in one_line(result)
    assert str(path) in one_line(result)
    assert "?" in one_line(result) or "Give a whole result" in one_line(result)
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nowhere.json", "--to", "srt"], 2, "there is no file nowhere.json"),
        ([str(REAL)], 2, "what is to be made?"),
        ([str(REAL), "-o", "talk.docx"], 2, "what is to be made?"),
        ([str(REAL), "-o", "/no/such/folder/a.srt"], 73, "no writable folder"),
        (["s3://calls", "--to", "srt"], 2, "names no object"),
        (["https://example.org/a.json", "--to", "srt"], 2, "no place that is known here"),
        ([str(REAL), "--to", "docx"], 2, "docx"),
    ],
)
def test_what_is_not_understood(cli: Cli, arguments: list[str], code: int, says: str) -> None:
    """A place or a form that there is not is one line with what to give instead."""
    result = cli("export", *arguments)
    assert result.exit_code == code
    assert says in one_line(result)


# ── dropscribe run ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_run_writes_them_beside_the_json(cli: Cli, recording: Path, tmp_path: Path) -> None:
    """`run --option outputs=…` writes the forms beside -o, under its name."""
    out = tmp_path / "out" / "talk.json"
    out.parent.mkdir()
    result = cli("run", recording, "-o", out, "--option", "outputs=srt,rttm")
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in out.parent.iterdir()) == ["talk.json", "talk.rttm", "talk.srt"]
    answer = json.loads(out.read_bytes())
    assert (out.parent / "talk.srt").read_text(encoding="utf-8") == render(answer, "srt")
    assert (out.parent / "talk.rttm").read_text(encoding="utf-8").split()[1] == "talk.wav"
    assert str(out.parent / "talk.srt") in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"), [([], "needs a place"), (["-o", "talk.srt"], "both the JSON and the srt")]
)
def test_run_says_where_they_cannot_be(
    cli: Cli, recording: Path, arguments: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a place for them nothing is begun."""
    monkeypatch.chdir(recording.parent)
    result = cli("run", recording, *arguments, "--option", "outputs=srt")
    assert result.exit_code == 2
    assert says in one_line(result)
    assert cli.engines == []


def test_submit_says_where_they_are(cli: Cli, bucket: Path, recording: Path) -> None:
    """`submit --wait` lists every form of a result, and `status` names them."""
    assert cli("submit", recording, "--to", bucket, "--option", "outputs=srt").exit_code == 0
    assert cli("work", bucket, "--drain").exit_code == 0
    shown = cli("status", bucket, "talk.wav")
    assert str(bucket / "results/talk.wav.srt") in shown.stdout
    done = cli.json("status", bucket, "talk.wav")
    assert "results/talk.wav.srt" in json.dumps(done)
