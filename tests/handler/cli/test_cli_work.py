"""``dropscribe work``: a worker's beginning, its end, and how it is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_rig import Cli, one_line

from handler.clock import VirtualClock
from handler.errors import AccessDenied, StoreError, Unavailable
from handler.store.memory import Call, MemoryStore
from pipeline.errors import ErrorDetail, NoAudio

Processes = list[subprocess.Popen[str]]

# A worker whose engine takes a job, says so on stdout, and then never finishes.
HANGING = """
import sys, time
from handler.cli import main
from handler.cli.runtime import Runtime
from handler.fakes import ScriptedEngine

class Hanging(ScriptedEngine):
    def run(self, request, *, time_limit, poll):
        print("at work", flush=True)
        while True:
            time.sleep(0.02)
            yield None

    def close(self):
        if "slow" in sys.argv:
            print("closing", flush=True)
            time.sleep(600)

main(["work", sys.argv[1]], obj=Runtime(engine=lambda clock, home, settings: Hanging()))
"""


@pytest.fixture
def hanging(env: dict[str, str | None], bucket: Path) -> Iterator[Processes]:
    """Makes workers in processes of their own, which are gone at the end."""
    made: Processes = []
    yield made
    for process in made:
        process.kill()
        process.communicate()


def start(made: Processes, env: dict[str, str | None], bucket: Path, *args: str) -> subprocess.Popen[str]:
    """A worker that is in the middle of a job."""
    environ = {**os.environ, **{name: value for name, value in env.items() if value is not None}}
    process = subprocess.Popen(
        [sys.executable, "-c", HANGING, str(bucket), *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
    )
    made.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n", process.stderr.read() if process.stderr else ""
    return process


def drop(bucket: Path, recording: Path, *names: str) -> None:
    (bucket / "input").mkdir(exist_ok=True)
    for name in names or (recording.name,):
        (bucket / "input" / name).write_bytes(recording.read_bytes() + name.encode())


def job_records(bucket: Path) -> list[dict[str, object]]:
    return [json.loads(path.read_bytes()) for path in (bucket / ".dropscribe/v1/jobs").iterdir()]


def test_a_drain_ends_when_all_is_done(cli: Cli, bucket: Path, recording: Path) -> None:
    """--drain transcribes what is there and ends with 0; --json tells how many."""
    drop(bucket, recording, "a.wav", "b.wav")
    told = cli.json("work", bucket, "--drain", "--name", "gpu-1")
    assert (told["completed"], told["failed"], told["stopped"]) == (2, 0, False)
    assert told["worker"].startswith("gpu-1-")
    assert {path.name for path in (bucket / "results").iterdir()} == {"a.wav.json", "b.wav.json"}


def test_a_drain_of_failures_ends_with_zero(cli: Cli, bucket: Path, recording: Path) -> None:
    """A recording that cannot be transcribed is settled, so the drain did its work: 0, and the last line counts it."""
    drop(bucket, recording)
    cli.failures = [NoAudio("there is no sound in it").to_detail()]
    result = cli("work", bucket, "--drain")
    assert result.exit_code == 0
    assert "1 failed" in result.stderr
    assert (bucket / "errors" / "talk.wav.json").exists()


def test_a_new_folder_gets_its_input(cli: Cli, tmp_path: Path) -> None:
    """A bucket that is not there yet is made, with the folder to drop recordings into."""
    assert cli("work", tmp_path / "new", "--drain").exit_code == 0
    assert (tmp_path / "new" / "input").is_dir()


def test_two_workers_never_share_a_name(cli: Cli, bucket: Path) -> None:
    """A name given twice still makes two workers: claims go by name."""
    names = {cli.json("work", bucket, "--drain", "--name", "same")["worker"] for _ in range(2)}
    assert len(names) == 2


@pytest.mark.parametrize("name", ["../x", "", ".hidden", "a b", "x" * 65])
def test_a_name_that_is_no_name(cli: Cli, bucket: Path, name: str) -> None:
    """A worker's name is part of paths and keys, so it is plain."""
    result = cli("work", bucket, "--drain", "--name", name)
    assert result.exit_code == 2
    assert "--name" in one_line(result)


@pytest.mark.parametrize("work_dir", ["/proc/x", "/dev/null"])
def test_a_work_directory_that_cannot_be(cli: Cli, bucket: Path, recording: Path, work_dir: str) -> None:
    """A worker that has nowhere to work says which setting to change, and touches no job."""
    drop(bucket, recording)
    cli.env["DROPSCRIBE_WORK_DIR"] = work_dir
    result = cli("work", bucket, "--drain")
    assert result.exit_code == 73
    assert "Traceback" not in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"dropscribe: the work directory {work_dir} cannot be used: ")
    assert "DROPSCRIBE_WORK_DIR" in last
    assert not (bucket / ".dropscribe/v1/jobs").exists()


@pytest.mark.parametrize(("model", "code"), [("large-v3", 69), ("no-such-model", 2)])
def test_a_missing_model_stops_it_before_it_claims(
    cli: Cli, bucket: Path, recording: Path, model: str, code: int
) -> None:
    """A worker whose own model is not there touches nothing."""
    drop(bucket, recording)
    result = cli("work", bucket, "--drain", "--model", model)
    assert result.exit_code == code
    assert model in one_line(result)
    assert not (bucket / ".dropscribe/v1").exists()


def test_a_model_that_does_not_load_ends_it_with_69(cli: Cli, bucket: Path, recording: Path) -> None:
    """Weights that turn out unusable end the worker, retryable, instead of burning every job's attempts."""
    drop(bucket, recording)
    cli.failures = [ErrorDetail(error_class="ModelUnavailable", code="X", message="weights are torn", retryable=True)]
    result = cli("work", bucket, "--drain")
    assert result.exit_code == 69
    assert "weights are torn" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_the_fallback_is_said_loudly(cli: Cli, bucket: Path) -> None:
    """A worker that takes sphinx because there is nothing else warns of it."""
    cli.env["DROPSCRIBE_MODEL"] = "auto"
    said = cli("work", bucket, "--drain").stderr
    assert "pocketsphinx is used" in said
    assert "this transcript" not in said  # there is none yet


class Careless(MemoryStore):
    """Writes whatever the condition says, as some servers do."""

    def put(self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        return super().put(key, body)


def test_an_unsafe_store_is_78(cli: Cli) -> None:
    """A worker refuses a store that ignores conditions, and says which, before it claims anything."""
    cli.store = store = Careless(cli.clock)
    store.drop("input/a.wav", b"somebody talks")
    result = cli("work", "s3://careless", "--drain")
    assert result.exit_code == 78
    assert "create-if-absent" in one_line(result)
    assert store.keys() == ("input/a.wav",)


@pytest.mark.parametrize(
    ("error", "code"), [(AccessDenied("s3:PutObject is denied"), 77), (Unavailable("no answer"), 69)]
)
def test_a_store_that_refuses_or_is_silent(cli: Cli, error: StoreError, code: int) -> None:
    """Without the right to write, or without an answer, the worker ends with a line and the code for it."""

    def fail(call: Call, phase: str) -> None:
        if call.verb == "PUT":
            raise error

    cli.clock = VirtualClock()
    cli.store = MemoryStore(cli.clock, hook=fail)
    result = cli("work", "s3://closed", "--drain")
    assert result.exit_code == code
    assert error.message in one_line(result)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_gives_the_job_back(
    hanging: Processes,
    env: dict[str, str | None],
    bucket: Path,
    recording: Path,
    number: signal.Signals,
) -> None:
    """SIGTERM and Ctrl-C: the job is released without an attempt being charged, and the exit code is 0."""
    drop(bucket, recording)
    process = start(hanging, env, bucket)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stderr
    assert "Traceback" not in stderr
    [record] = job_records(bucket)
    assert (record["state"], record["attempts"]) == ("waiting", 0)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_ends_it_at_once(
    hanging: Processes,
    env: dict[str, str | None],
    bucket: Path,
    recording: Path,
    number: signal.Signals,
    code: int,
) -> None:
    """Who asks twice does not want to wait: the exit code is that of the signal."""
    drop(bucket, recording)
    process = start(hanging, env, bucket, "slow")
    process.send_signal(number)
    assert process.stdout is not None
    assert process.stdout.readline() == "closing\n"
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == code


def test_a_kill_loses_nothing(
    cli: Cli, hanging: Processes, env: dict[str, str | None], bucket: Path, recording: Path
) -> None:
    """A worker that is killed outright leaves a job that another one takes over when its lease has run out."""
    drop(bucket, recording)
    env |= {"DROPSCRIBE_LEASE_SECONDS": "1", "DROPSCRIBE_BEAT_SECONDS": "0.3"}
    process = start(hanging, env, bucket)
    process.kill()
    process.communicate()
    started = time.monotonic()
    assert cli.json("work", bucket, "--drain")["completed"] == 1
    [record] = job_records(bucket)
    assert (record["state"], record["takeovers"]) == ("done", 1), time.monotonic() - started
