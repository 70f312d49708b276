"""``dropscribe submit``: whole recordings, their options first, and waiting for exactly these."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_rig import Cli, one_line

from handler.cli.runtime import store_at
from handler.clock import SystemClock, VirtualClock
from handler.fakes import ScriptedEngine
from handler.layout import Layout
from handler.settings import load_settings
from handler.store.folder import FolderStore
from handler.store.memory import Call, MemoryStore
from handler.types import Manifest, SettledMarker
from handler.worker import Worker
from pipeline.errors import NoAudio


@pytest.fixture
def working(cli: Cli, bucket: Path) -> Iterator[Callable[[], None]]:
    """Starts a worker on the bucket, beside the command under test; it is stopped at the end."""
    stop, threads = threading.Event(), []

    def start() -> None:
        settings = load_settings(
            work_dir=bucket.parent / "work", model="sphinx", scan_seconds=0.05, backoff_seconds=0.05
        )
        store = FolderStore(bucket, SystemClock(), settle_seconds=0)
        engine = ScriptedEngine(failures=cli.failures)
        worker = Worker(store, settings, SystemClock(), engine, name="beside", stop=stop)
        threads.append(threading.Thread(target=worker.run, kwargs={"drain": False}))
        threads[0].start()

    yield start
    stop.set()
    for thread in threads:
        thread.join()


def test_drops_the_files_under_their_names(cli: Cli, bucket: Path, recording: Path) -> None:
    """Each file lies whole under the input prefix, and the JSON names its version, which a worker would find."""
    told = cli.json("submit", recording, "--to", bucket, "--prefix", "calls/today")
    [one] = told["inputs"]
    assert one["key"] == "calls/today/talk.wav"
    assert (bucket / "input" / one["key"]).read_bytes() == recording.read_bytes()
    assert one["status"] == "queued"
    assert cli.json("status", bucket, one["key"])["source_id"] == one["source_id"]


def test_wait_prints_where_the_results_are(
    cli: Cli, bucket: Path, recording: Path, working: Callable[[], None]
) -> None:
    """--wait ends when the results are there, and its stdout is their paths."""
    working()
    result = cli("submit", recording, "--to", bucket, "--wait")
    assert result.exit_code == 0, result.stderr
    [path] = result.stdout.splitlines()
    assert json.loads(Path(path).read_bytes())["results"]["channels"]


def test_wait_fails_if_a_recording_does(cli: Cli, bucket: Path, recording: Path, working: Callable[[], None]) -> None:
    """With --wait the exit code is 1 when a recording failed; its reason and the error's path are told."""
    cli.failures = [NoAudio("there is no sound in it").to_detail()]
    working()
    result = cli("submit", recording, "--to", bucket, "--wait", "--json", "--timeout", "60")
    assert result.exit_code == 1
    [one] = json.loads(result.stdout)["inputs"]
    assert one["status"] == "failed"
    assert "there is no sound in it" in one["message"]
    assert Path(one["error"]).exists()
    assert one["result"] is None


def test_out_of_time_in_json(cli: Cli, recording: Path, tmp_path: Path) -> None:
    """Who runs out of time gets the JSON all the same, with what is known of each recording, and exit code 75."""
    other, third = tmp_path / "other.wav", tmp_path / "third.wav"
    other.write_bytes(b"somebody else talks")
    third.write_bytes(b"nobody")
    cli.clock = clock = VirtualClock()
    store = MemoryStore(clock)
    layout = Layout.of(store.url, load_settings())

    def work(call: Call, phase: str) -> None:
        if call.key == "progress/third.wav.json" and phase == "before":
            for name, status in (("talk.wav", "completed"), ("other.wav", "processing")):
                sid = layout.source(store.head(f"input/{name}")).sid
                store.drop(f"progress/{name}.json", progress(name, sid, status))

    cli.store = store.client(work)
    result = cli("submit", recording, other, third, "--to", "s3://bucket", "--wait", "--timeout", "5", "--json")
    assert result.exit_code == 75
    assert "2 of 3" in result.stderr.splitlines()[-1]
    inputs = {one["key"]: one for one in json.loads(result.stdout)["inputs"]}
    assert {key: (one["status"], one["job_id"], one["message"]) for key, one in inputs.items()} == {
        "talk.wav": ("completed", "j", "half of it"), "other.wav": ("processing", "j", "half of it"),
        "third.wav": ("queued", None, ""),
    }  # fmt: skip
    assert [one["result"] is not None for one in inputs.values()] == [True, False, False]


def progress(key: str, sid: str, status: str) -> bytes:
    done = status == "completed"
    manifest = Manifest.model_validate(
        {
            "job_id": "j", "source_id": sid, "key": key, "status": status, "stage": status, "percent": 50.0,
            "message": "half of it", "token": 1, "queued_at": "2023-11-14T22:13:20.000Z",
            "updated_at": "2023-11-14T22:13:20.000Z", "worker": "w", "result": f"results/{key}.json" if done else None,
        }
    )  # fmt: skip
    return manifest.model_dump_json().encode()


def test_wait_is_not_fooled_by_an_older_version(cli: Cli, bucket: Path, recording: Path) -> None:
    """A finished manifest of an earlier recording under the same name is not the new one's end."""
    cli.json("submit", recording, "--to", bucket)
    cli.json("work", bucket, "--drain")
    recording.write_bytes(b"somebody else talks")
    result = cli("submit", recording, "--to", bucket, "--wait", "--timeout", "0.6")
    assert result.exit_code == 75
    assert "1 of 1" in result.stderr


def test_a_replaced_version_ends_the_wait(cli: Cli, bucket: Path, recording: Path) -> None:
    """Somebody else drops another recording under the name while we wait: ours is cancelled, and that is told."""
    clock = VirtualClock()
    store = MemoryStore(clock, url="memory://shared")
    looks = 0

    def meddle(call: Call, phase: str) -> None:
        nonlocal looks
        if call.key == "progress/talk.wav.json" and phase == "before":
            looks += 1
            if looks == 1:
                sid = Layout.of(store.url, load_settings()).source(store.head("input/talk.wav")).sid
                store.drop(f".dropscribe/v1/settled/{sid}", marker(sid))

    cli.clock, cli.store = clock, store.client(meddle)
    result = cli("submit", recording, "--to", "s3://shared", "--wait", "--timeout", "60")
    assert result.exit_code == 1
    assert "talk.wav cancelled: the recording was replaced" in result.stderr
    assert looks <= 3


def marker(sid: str) -> bytes:

    return (
        SettledMarker(
            key="talk.wav",
            sid=sid,
            outcome="cancelled",
            job_id="j",
            reason="the recording was replaced",
            settled_at="now",
        )
        .model_dump_json()
        .encode()
    )


def test_two_files_of_one_name_are_refused(cli: Cli, bucket: Path, recording: Path, tmp_path: Path) -> None:
    """Same-named files in one call would overwrite each other: an error, and nothing is uploaded."""
    other = tmp_path / "other" / "talk.wav"
    other.parent.mkdir()
    other.write_bytes(b"other")
    result = cli("submit", recording, other, "--to", bucket)
    assert result.exit_code == 2
    assert "same name" in one_line(result)
    assert list(bucket.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "body", "code", "told"),
    [
        ("folder", None, 2, "is a folder"),
        (".hidden.wav", b"x", 2, "no recording"),
        ("options.json", b"{}", 2, "no recording"),
        ("calls.batch.jsonl", b"{}", 1, "line 1"),
        ("empty.wav", b"", 1, "is empty"),
    ],
)
def test_what_is_no_recording_is_refused(
    cli: Cli, bucket: Path, recording: Path, tmp_path: Path, name: str, body: bytes | None, code: int, told: str
) -> None:
    """Folders, empty files and what a worker would ignore are told, and the others are not uploaded either."""
    path = tmp_path / name
    if body is None:
        path.mkdir()
    else:
        path.write_bytes(body)
    result = cli("submit", recording, path, "--to", bucket)
    assert result.exit_code == code
    assert told in one_line(result)
    assert list(bucket.iterdir()) == []


def test_nobody_works(cli: Cli, recording: Path) -> None:
    """Who waits and sees nothing happen is told what may be missing."""
    cli.clock = VirtualClock()
    cli.store = MemoryStore(cli.clock)
    result = cli("submit", recording, "--to", "s3://bucket", "--wait", "--timeout", "60")
    assert result.exit_code == 75
    assert result.stderr.count("dropscribe work memory://test") == 1


def test_on_s3(cli: Cli, s3_bucket: str, recording: Path) -> None:
    """On a real S3 protocol: the options ride on the recording, the worker obeys them, and the result's URL is told."""
    cli.env = {name: value for name, value in cli.env.items() if not name.startswith("AWS_")}
    bucket = f"s3://{s3_bucket}/calls"
    [one] = cli.json("submit", recording, "--to", bucket, "--option", "tag=näher & näher")["inputs"]
    assert one["progress"] == f"{bucket}/progress/talk.wav.json"
    [row] = cli.json("status", bucket)["inputs"]
    assert row["source_id"] == one["source_id"]
    assert cli.json("work", bucket, "--drain")["completed"] == 1
    store = store_at(bucket, cli.clock, load_settings())
    assert store.head("input/talk.wav").metadata == {"dropscribe": "tag=n%C3%A4her+%26+n%C3%A4her"}
    assert json.loads(store.get("results/talk.wav.json").body)["metadata"]["tags"] == ["näher & näher"]
    assert "input/talk.wav.options.json" not in [info.key for info in store.list("input/")]
    assert [check["status"] for check in cli.json("doctor", bucket)["checks"]].count("fail") == 0
    store.close()


def test_bars_on_a_terminal(cli: Cli, bucket: Path, recording: Path, working: Callable[[], None]) -> None:
    """With a terminal for stderr there is a bar for the upload and one for the job, and the path is still on stdout."""
    working()
    ours, theirs = pty.openpty()
    screen: list[bytes] = []

    def watch() -> None:  # beside the command: a terminal that nobody reads is soon full
        with contextlib.suppress(OSError):  # the other end is closed
            while chunk := os.read(ours, 65536):
                screen.append(chunk)

    watcher = threading.Thread(target=watch)
    watcher.start()
    environ = os.environ | {name: value for name, value in cli.env.items() if value is not None} | {"TERM": "xterm"}
    command = [sys.executable, "-m", "handler.cli", "submit", str(recording), "--to", str(bucket), "--wait"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, text=True, env=environ, timeout=60)
    os.close(theirs)
    watcher.join()
    os.close(ours)
    shown = b"".join(screen).decode()
    assert done.returncode == 0, shown
    assert done.stdout.splitlines() == [str(bucket / "results/talk.wav.json")]
    for part in ("Uploading talk.wav", "100%", "completed"):
        assert part in shown
