"""``dropscribe submit --batch`` and what ``status`` shows of batches."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from cli_rig import Cli, Describing, one_line

from handler.clock import SystemClock
from handler.fakes import ScriptedEngine
from handler.layout import Layout
from handler.settings import load_settings
from handler.store.base import Store
from handler.store.folder import FolderStore
from handler.types import BatchResult
from handler.worker import Worker
from pipeline.errors import NoAudio


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    made = [tmp_path / name for name in ("a.wav", "b.wav", "c.wav")]
    for file in made:
        file.write_bytes(f"somebody says {file.name}".encode())
    return made


def work(bucket: Path | Store, tmp_path: Path, engine: ScriptedEngine | None = None) -> ScriptedEngine:
    """A drain beside the commands."""
    store = FolderStore(bucket, SystemClock(), settle_seconds=0) if isinstance(bucket, Path) else bucket
    settings = load_settings(work_dir=tmp_path / "work", model="sphinx", scan_seconds=0.02, backoff_seconds=0.05)
    engine = engine or ScriptedEngine()
    Worker(store, settings, SystemClock(), engine, name="beside").run(drain=True)
    return engine


def test_a_submitted_batch_is_named(cli: Cli, bucket: Path, files: list[Path], tmp_path: Path) -> None:
    """Who submits a batch file is told how to follow that batch, not the whole bucket."""
    batch = tmp_path / "monday.batch.jsonl"
    batch.write_text('{"key": "a.wav"}\n')
    alone = cli("submit", batch, "--to", bucket).stderr
    assert "The batch monday.batch.jsonl was dropped" in alone
    assert f"status {bucket} monday.batch.jsonl` shows how far its recordings are" in " ".join(alone.split())
    both = cli("submit", *files, batch, "--to", bucket).stderr
    assert "4 dropped" in both
    assert "of them the batch monday.batch.jsonl" in both


def test_a_batch_of_files(cli: Cli, bucket: Path, files: list[Path], tmp_path: Path) -> None:
    """The recordings lie there with their options, then the batch that names them; the results are where they would be
    without a batch, and the batch's result names them.
    """
    told = cli.json("submit", *files, "--to", bucket, "--prefix", "calls", "--batch", "monday", "--option", "tag=x")
    assert told["batch"]["key"] == "calls/monday.batch.jsonl"
    body = (bucket / "input/calls/monday.batch.jsonl").read_text()
    assert [json.loads(line) for line in body.splitlines()] == [{"key": f"calls/{file.name}"} for file in files]
    progress = [Path(one["progress"]).relative_to(bucket).as_posix() for one in told["inputs"]]
    assert progress == [f"progress/calls/{file.name}.json" for file in files]
    work(bucket, tmp_path)
    row = cli.json("status", bucket, "calls/monday.batch.jsonl")
    assert row["source_id"] == told["batch"]["source_id"]
    assert (row["kind"], row["status"], row["counts"]["completed"]) == ("batch", "completed", 3)
    assert row["manifest"]["kind"] == "batch"
    result = BatchResult.model_validate_json((bucket / row["result"]).read_bytes())
    assert [member.result for member in result.members] == [f"results/calls/{file.name}.json" for file in files]
    told = [json.loads((bucket / (member.result or "")).read_bytes())["metadata"]["tags"] for member in result.members]
    assert told == [["x"]] * 3


def test_options_cost_one_job(files: list[Path], cli: Cli, tmp_path: Path) -> None:
    """Recordings that are submitted as a batch with options are transcribed and published once."""
    store = cli.store = Describing(SystemClock())
    cli.json("submit", *files, "--to", "s3://bucket", "--batch", "x", "--option", "language=de")
    assert work(store, tmp_path).jobs == 3
    assert len(store.keys("results/")) == 4


def test_a_batch_file(cli: Cli, bucket: Path, files: list[Path], tmp_path: Path) -> None:
    """A batch that somebody wrote is submitted like a recording, after those beside it; --wait follows it, and a member
    that failed makes the exit code 1.
    """
    batch = tmp_path / "tuesday.batch.jsonl"
    batch.write_text('{"glob": "calls/*.wav"}\n')
    told = cli.json("submit", batch, *files, "--to", bucket, "--prefix", "calls")
    assert [one["key"] for one in told["inputs"]] == [f"calls/{file.name}" for file in (*files, batch)]
    work(bucket, tmp_path, ScriptedEngine(failures=[NoAudio("there is no sound in it").to_detail()]))
    assert cli.json("status", bucket, "calls/tuesday.batch.jsonl")["counts"]["failed"] == 1
    beside = threading.Timer(0.5, work, (bucket, tmp_path))
    beside.start()
    done = cli("submit", batch, "--to", bucket, "--prefix", "calls", "--wait")
    beside.join()
    assert done.exit_code == 1
    assert "calls/tuesday.batch.jsonl completed: 2 of 3 completed, 1 failed" in done.stderr
    assert done.stdout.strip() == str(bucket / "results/calls/tuesday.batch.jsonl.json")


@pytest.mark.parametrize(
    ("text", "more", "told"),
    [
        ("{}\n", (), "line 1: a line has either a key or a glob"),
        ('{"key": "a.wav", "options": {"lang": "de"}}\n', (), "line 1"),
        ('{"glob": "*"}\n', ("--batch", "x"), "Leave out --batch"),
        ('{"glob": "*"}\n', ("--option", "language=de"), "Give the options in its lines"),
        ("", (), "is empty"),
    ],
)
def test_a_wrong_batch_file(
    cli: Cli, bucket: Path, tmp_path: Path, text: str, more: tuple[str, ...], told: str
) -> None:
    """What is wrong with a batch is told before anything is uploaded, as far as it can be known then."""
    batch = tmp_path / "x.batch.jsonl"
    batch.write_text(text)
    result = cli("submit", batch, "--to", bucket, *more)
    assert result.exit_code in (1, 2)
    assert told in one_line(result)
    assert not (bucket / "input").exists()


def test_a_batch_without_a_name(cli: Cli, bucket: Path, files: list[Path]) -> None:
    """Two batches without a name are two; the ordinary message names the batch to ask for."""
    first = cli.json("submit", *files, "--to", bucket, "--batch")["batch"]["key"]
    second = cli.json("submit", *files, "--to", bucket, "--batch")["batch"]["key"]
    assert first != second
    said = cli("submit", *files, "--batch", "--to", bucket)
    assert said.exit_code == 0
    assert f"`dropscribe status {bucket} submitted-" in said.stderr


def test_wait_ends_with_the_batch(cli: Cli, bucket: Path, files: list[Path], tmp_path: Path) -> None:
    """--wait follows the batch, and its stdout is where the results are; a failed member is told, with exit code 1."""
    cli("submit", *files, "--to", bucket, "--batch", "one")
    work(bucket, tmp_path, ScriptedEngine(failures=[NoAudio("there is no sound in it").to_detail()]))
    # The same bytes under the same names in the same second would be the same inputs: a worker has to come again.
    beside = threading.Timer(0.5, work, (bucket, tmp_path))
    beside.start()
    done = cli("submit", *files[1:], "--to", bucket, "--batch", "two", "--option", "tag=y", "--wait")
    beside.join()
    assert done.exit_code == 0, done.stderr
    assert [Path(line).relative_to(bucket).as_posix() for line in done.stdout.splitlines()] == [
        f"results/{file.name}.json" for file in files[1:]
    ]


def test_wait_tells_of_failures(cli: Cli, bucket: Path, files: list[Path], tmp_path: Path) -> None:
    """With --wait a member that fails is named with its reason, and the exit code is 1."""
    engine = ScriptedEngine(failures=[NoAudio("there is no sound in it").to_detail()])
    beside = threading.Timer(0.5, work, (bucket, tmp_path, engine))
    beside.start()
    done = cli("submit", *files, "--to", bucket, "--batch", "one", "--wait")
    beside.join()
    assert done.exit_code == 1
    assert len(done.stdout.splitlines()) == 2
    assert "a.wav failed: there is no sound in it" in done.stderr


def test_status_lists_batches(cli: Cli, bucket: Path, files: list[Path], tmp_path: Path) -> None:
    """The table shows a batch beside the recordings, without a place in the queue; a wrong one says what is wrong."""
    cli("submit", *files, "--to", bucket, "--batch", "one")
    rows = {row["key"]: row for row in cli.json("status", bucket)["inputs"]}
    assert sorted(rows) == ["a.wav", "b.wav", "c.wav", "one.batch.jsonl"]
    assert (rows["one.batch.jsonl"]["kind"], rows["one.batch.jsonl"]["position"]) == ("batch", None)
    assert sorted(rows[file.name]["position"] for file in files) == [1, 2, 3]
    (bucket / "input/wrong.batch.jsonl").write_text("{}\n")
    work(bucket, tmp_path)
    table = cli("status", bucket).stdout
    assert "3 of 3 completed" in table
    assert "line 1: a line has either a key or a glob" in table
    shown = cli("status", bucket, "one.batch.jsonl").stdout
    assert "completed  3" in " ".join(shown.split("\n")).replace("   ", "  ") or "completed" in shown
    wrong = cli("status", bucket, "wrong.batch.jsonl").stdout
    assert "errors/wrong.batch.jsonl.json" in wrong


def test_a_row_of_a_batch_under_way(cli: Cli, bucket: Path, files: list[Path], tmp_path: Path) -> None:
    """While it is open, `status KEY` shows the counts and the percentage."""
    cli("submit", *files, "--to", bucket, "--batch", "one")
    seen: list[str] = []

    def look(stage: str) -> None:
        seen.append(cli("status", bucket, "one.batch.jsonl").stdout)

    work(bucket, tmp_path, ScriptedEngine(between=look))
    lines = [line.split() for line in seen[0].splitlines()]
    assert ["status", "processing"] in lines
    assert ["total", "3"] in lines
    assert ["queued", "3"] in lines
    assert ["message", "0", "of", "3", "done"] in lines


@pytest.mark.parametrize(
    ("name", "told"),
    [("a/b", "cannot be a batch's name"), (".hidden", "cannot be a batch's name")],
)
def test_names_that_cannot_be(cli: Cli, bucket: Path, files: list[Path], name: str, told: str) -> None:
    """A name that no batch can have is refused before anything is uploaded."""
    result = cli("submit", *files, "--to", bucket, "--batch", name)
    assert result.exit_code == 2
    assert told in one_line(result)
    assert not (bucket / "input").exists()


def test_a_file_taken_for_a_name(cli: Cli, bucket: Path, files: list[Path]) -> None:
    """--batch in front of the files takes the first for its name: that is said, and how to say it better."""
    result = cli("submit", "--to", bucket, "--batch", *files)
    assert result.exit_code == 2
    assert "--batch=monday" in one_line(result)
    assert not (bucket / "input").exists()


def test_one_file_taken_for_a_name(cli: Cli, bucket: Path, files: list[Path]) -> None:
    """The same with a single file, which leaves none to submit."""
    result = cli("submit", "--batch", files[0], "--to", bucket)
    assert result.exit_code == 2
    assert "--batch=monday" in one_line(result)


def test_a_member_is_no_recording(cli: Cli, bucket: Path, files: list[Path]) -> None:
    """Asked for what a batch makes of a recording, the commands name the batch to ask for."""
    cli("submit", *files, "--to", bucket, "--batch", "one")
    for command in ("status", "cancel", "retry"):
        result = cli(command, bucket, "one.batch.jsonl/a.wav")
        assert result.exit_code == 1
        assert "Name the batch, one.batch.jsonl." in one_line(result)


def test_the_key_is_the_workers(cli: Cli, bucket: Path, files: list[Path]) -> None:
    """The version that submit names is the one that a worker settles."""
    told = cli.json("submit", *files, "--to", bucket, "--batch", "x")
    store = FolderStore(bucket, SystemClock(), settle_seconds=0)
    layout = Layout.of(store.url, load_settings())
    assert layout.source(store.head("input/x.batch.jsonl")).sid == told["batch"]["source_id"]
