"""``dropscribe work`` as a real process: what SIGTERM and SIGINT do, and that no engine outlives its worker."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from handler.cancel import Cancel
from handler.clock import SystemClock
from handler.job import Jobs
from handler.layout import Layout
from handler.settings import Settings
from handler.store.folder import FolderStore

JFK = Path(__file__).parents[3] / "examples" / "jfk.flac"
PATIENCE = 60.0  # seconds until a test that waits for another process gives up

# An engine that says "at work", hears for as long as there is no file "go" beside the bucket, tells of one half of the
# recording each time it is asked, and says "finished" when it has written its transcript.
SCRIPTED = """
import sys, time
from pathlib import Path
from handler.cli import main
from handler.cli.runtime import Runtime
from handler.fakes import ScriptedEngine
from pipeline.types import Progress

bucket, how = Path(sys.argv[1]), sys.argv[2]

class Slow(ScriptedEngine):
    def run(self, request, *, time_limit, poll):
        print("at work", flush=True)
        if how == "stuck":
            time.sleep(600)  # nobody looks around meanwhile
        while not (bucket.parent / "go").exists():
            time.sleep(0.05)
            if how == "nearly":
                yield Progress(stage="transcribing", percent=99.9, done=59.9, total=60.0)
            yield None
        yield from super().run(request, time_limit=time_limit, poll=poll)

main(["work", str(bucket)], obj=Runtime(engine=lambda clock, home, settings: Slow()))
"""


class Bucket:
    """A folder with recordings, and workers on it in processes of their own."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.path = folder / "bucket"
        (self.path / "input").mkdir(parents=True)
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("DROPSCRIBE_")} | {
            "DROPSCRIBE_MODEL": "sphinx",
            "DROPSCRIBE_SETTLE_SECONDS": "0",
            "DROPSCRIBE_SCAN_SECONDS": "0.05",
            "DROPSCRIBE_PROGRESS_SECONDS": "0.05",
            "DROPSCRIBE_WORK_DIR": str(folder / "work"),
            "DROPSCRIBE_HOME": str(folder / "home"),
        }
        self.workers: list[subprocess.Popen[str]] = []

    def drop(self, name: str, body: bytes) -> None:
        (self.path / "input" / name).write_bytes(body)

    def start(self, *command: str, **environ: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self.environ, **environ},
        )
        self.workers.append(process)
        return process

    def scripted(self, how: str, **environ: str) -> subprocess.Popen[str]:
        """A worker whose engine is at work."""
        process = self.start("-c", SCRIPTED, str(self.path), how, **environ)
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        return process

    def sphinx(self, **environ: str) -> tuple[subprocess.Popen[str], psutil.Process]:
        """A worker whose real engine, which is the other one of the two, is in the middle of jfk.flac."""
        process = self.start("-m", "handler.cli", "work", str(self.path), **environ)
        self.until(lambda: (self.manifest("jfk.flac") or {}).get("stage") == "transcribing")
        [engine] = psutil.Process(process.pid).children()
        return process, engine

    def until(self, holds: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < end, "it never came to that"
            time.sleep(0.02)

    def manifest(self, name: str) -> Any:
        path = self.path / "progress" / f"{name}.json"
        return json.loads(path.read_bytes()) if path.exists() else None

    def record(self) -> dict[str, Any]:
        [path] = (self.path / ".dropscribe/v1/jobs").iterdir()
        found: dict[str, Any] = json.loads(path.read_bytes())
        return found


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Bucket]:
    made = Bucket(tmp_path)
    yield made
    for process in made.workers:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> int:
    _, stderr = process.communicate(timeout=PATIENCE)
    assert "Traceback" not in stderr, stderr
    return process.returncode


def check_dead(engine: psutil.Process) -> None:
    _, alive = psutil.wait_procs([engine], timeout=PATIENCE)
    assert not alive


both = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


@both
def test_a_stop_in_the_middle_of_a_recording(real: Bucket, number: signal.Signals) -> None:
    """The real engine is at work: the job is given back, nothing is charged, exit code 0, and the engine is gone."""
    real.drop("jfk.flac", JFK.read_bytes())
    process, engine = real.sphinx(DROPSCRIBE_STOP_SECONDS="0")
    process.send_signal(number)
    assert ended(process) == 0
    check_dead(engine)
    record = real.record()
    assert (record["state"], record["attempts"], record["takeovers"]) == ("waiting", 0, 0)
    assert real.manifest("jfk.flac")["status"] == "queued"
    assert list((real.path.parent / "work").glob("[!.]*")) == []


@both
def test_a_stage_that_is_nearly_over_ends(real: Bucket, number: signal.Signals) -> None:
    """A stage that will be over in time is finished and kept; only then is the job given back. Nothing new begins."""
    real.drop("a.wav", b"somebody talks")
    process = real.scripted("nearly")
    real.until(lambda: (real.manifest("a.wav") or {}).get("eta_seconds") is not None)
    process.send_signal(number)
    real.drop("b.wav", b"somebody else")
    time.sleep(0.5)
    assert process.poll() is None
    (real.path.parent / "go").touch()
    assert ended(process) == 0
    kept = [json.loads(path.read_bytes())["stage"] for path in (real.path / ".dropscribe/v1/stages").iterdir()]
    assert "transcribing" in kept
    assert real.manifest("b.wav") is None
    assert real.record()["state"] in ("waiting", "done")


def test_a_worker_that_hangs_is_ended_anyway(real: Bucket) -> None:
    """The worker's thread looks at nothing any more: its job is given back all the same, and the exit code is 0."""
    real.drop("a.wav", b"somebody talks")
    process = real.scripted("stuck", DROPSCRIBE_STOP_SECONDS="0")
    process.send_signal(signal.SIGTERM)
    assert ended(process) == 0
    record = real.record()
    assert (record["state"], record["attempts"]) == ("waiting", 0)


def test_a_second_signal_takes_the_engine_along(real: Bucket) -> None:
    """A second signal ends the worker at once, with that signal's code, and the real engine with it."""
    real.drop("jfk.flac", JFK.read_bytes())
    process, engine = real.sphinx()
    engine.suspend()  # on a busy machine it might be done before the signals come
    process.send_signal(signal.SIGSTOP)  # so that both signals are there before it can act on the first
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    assert process.wait(PATIENCE) in (130, 143)  # whichever it takes for the second
    with contextlib.suppress(psutil.NoSuchProcess):
        engine.resume()
    check_dead(engine)
    ended(process)
    # Between the two its thread may have seen the first, and given the job back; or else its lease runs out.
    assert real.record()["state"] in ("running", "waiting")


@both
def test_an_idle_worker_ends_at_once(real: Bucket, number: signal.Signals) -> None:
    """Nothing to do: a signal ends it with 0, from the middle of a long pause between scans."""
    process = real.start("-m", "handler.cli", "work", str(real.path), DROPSCRIBE_SCAN_SECONDS="600")
    real.until(lambda: list((real.path.parent / "work").glob("[!.]*")))
    process.send_signal(number)
    assert ended(process) == 0


def test_a_cancelled_job_kills_the_engine(real: Bucket) -> None:
    """`cancel` of what a real engine is transcribing: it is killed at the next beat, and the worker goes on to the next
    recording."""
    real.drop("jfk.flac", JFK.read_bytes())
    process, engine = real.sphinx(DROPSCRIBE_LEASE_SECONDS="3", DROPSCRIBE_BEAT_SECONDS="0.5")
    engine.suspend()  # it would be done too soon
    clock, settings = SystemClock(), Settings(settle_seconds=0)
    store = FolderStore(real.path, clock, settle_seconds=0)
    cancel = Cancel(Jobs(store, Layout.of(store.url, settings), clock, settings, "cancel"))
    assert cancel.key("jfk.flac").outcome == "cancelled"
    check_dead(engine)
    assert real.manifest("jfk.flac")["status"] == "cancelled"
    assert real.record()["state"] == "cancelled"
    real.drop("empty.wav", b"")
    real.until(lambda: (real.path / "errors" / "empty.wav.json").exists())
    assert process.poll() is None
    assert not (real.path / "results").exists()
