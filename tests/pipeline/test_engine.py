"""The engine process itself: requests on stdin, events on a private descriptor, and when it ends."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from engine_rig import Running, line_of, quiet, request

from pipeline.catalog import resolve
from pipeline.engine import EXIT_DEVICE_LOST, answer
from pipeline.errors import EngineFailure
from pipeline.models import Models
from pipeline.types import Done, Event, Failed, Media, Progress, StageDone
from tests.pipeline.media import beginning, write_audio

# An engine beside which libraries are at work: `what` follows, in a thread of its own, before the engine serves.
NOISY = """
import ctypes, os, sys, threading, time
from pipeline.engine import serve

def beside():
{what}

threading.Thread(target=beside, daemon=True).start()
sys.exit(serve(sys.stdin.buffer, int(sys.argv[2])))
"""


@pytest.fixture
def start() -> Iterator[Any]:
    made: list[Running] = []

    def run(*command: str) -> Running:
        made.append(Running([sys.executable, *(command or ("-m", "pipeline", "engine"))]))
        return made[-1]

    yield run
    for engine in made:
        engine.process.kill()
        engine.end()


def test_one_process_for_many_jobs(start: Any, tmp_path: Path) -> None:
    """Bad lines and failed jobs are answered, and the same process goes on to do the next job."""
    engine = start()
    assert engine.ready["type"] == "ready"
    assert engine.ready["pid"] == engine.process.pid
    for bad in (b"not JSON", b"{}", b"[]", b'{"type": "job", "work": 1}', b"\xff\xfe", b""):
        [failed] = engine.ask(bad)
        assert failed["type"] == "failed"
        assert "not a request of this engine's version" in failed["error"]["message"]
    missing, good = tmp_path / "missing", tmp_path / "good"
    missing.mkdir()
    good.mkdir()
    assert engine.ask(line_of(request(missing)))[-1]["type"] == "failed"
    events = engine.ask(line_of(request(good, quiet(tmp_path))))
    assert [event["stage"] for event in events if event["type"] == "stage_done"] == [
        "transcribing",
        "generating_output",
    ]
    assert events[-1]["type"] == "done"
    assert engine.process.poll() is None


def test_what_libraries_print_goes_to_stderr(start: Any, tmp_path: Path) -> None:
    """Noise on stdout, from Python or from native code, meets no event and no one who reads stdout."""
    cue = tmp_path / "cue"
    what = (
        f"    while not os.path.exists({str(cue)!r}):\n"
        "        time.sleep(0.005)\n"
        "    while True:\n"
        '        print(\'{"type": "done"}\', flush=True)\n'
        "        os.write(1, b'native noise\\n')\n"
        "        time.sleep(0.01)"
    )
    engine = start("-c", NOISY.format(what=what))
    cue.touch()
    events = engine.ask(line_of(request(tmp_path, quiet(tmp_path))))
    assert {event["type"] for event in events} <= {"media", "progress", "stage_done", "done"}
    stdout, _ = engine.end()
    assert stdout == b""
    assert engine.process.returncode == 0


SPIN = 300  # rounds, some microseconds


def test_waiting_threads_leave_the_cores(
    start: Any, tmp_path: Path, fixed_whisper: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stages that run side by side compute with an OpenMP each, whose idle threads would keep the cores from the other
    one by spinning; who wants it otherwise says so in the environment. Told by OpenMP itself, as it is loaded.
    """
    monkeypatch.setenv("OMP_DISPLAY_ENV", "verbose")
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    model = resolve(str(fixed_whisper), None, fixed_whisper, trusted=True).model_dump(mode="json")
    for policy, spins in (("PASSIVE", False), ("ACTIVE", True)):
        (work := tmp_path / policy).mkdir()
        engine = start()
        job = request(work, write_audio(tmp_path / f"{policy}.wav", beginning(1.0))).model_copy(update={"model": model})
        assert engine.ask(line_of(job))[-1]["type"] == "done"
        _, told = engine.end()
        counts = [int(count) for count in re.findall(rb"GOMP_SPINCOUNT = '(\d+)'", told)]
        assert counts
        assert all((count > SPIN) is spins for count in counts)
        monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="where there is one core, nobody has more threads")
def test_numpy_has_no_threads_of_its_own(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would spin for a while after each small product, and keep a core from the model; who wants them says so."""
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    threads = []
    for wanted in (None, "2"):
        if wanted is not None:
            monkeypatch.setenv("OPENBLAS_NUM_THREADS", wanted)
        engine = start()
        threads.append(len(list(Path(f"/proc/{engine.process.pid}/task").iterdir())))
        engine.end()
    assert threads[1] == threads[0] + 1


def test_it_ends_with_its_stdin(start: Any) -> None:
    """No more requests can come: the engine ends, in order."""
    engine = start()
    engine.end()
    assert engine.process.returncode == 0


# Starts an engine beside which native code keeps the interpreter's lock for ten minutes, and says so.
PARENT = """
import os, subprocess, sys
read_fd, write_fd = os.pipe()
engine = subprocess.Popen([sys.executable, "-c", sys.argv[1], "--events-fd", str(write_fd)], stdin=subprocess.PIPE,
                          stderr=subprocess.PIPE, pass_fds=[write_fd], start_new_session=True)
os.read(read_fd, 1)
engine.stderr.read(1)
print(engine.pid, flush=True)
engine.wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the engine ends when the native code returns")
def test_it_ends_with_its_parent_in_native_code() -> None:
    """When the handler is killed, the engine goes with it even while native code keeps the interpreter's lock."""
    what = "    time.sleep(0.5)\n    os.write(2, b'!')\n    ctypes.PyDLL(None).sleep(600)"
    command = [sys.executable, "-c", PARENT, NOISY.format(what=what)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    engine = psutil.Process(int(parent.stdout.readline()))
    try:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        until = time.monotonic() + 30
        while engine.is_running() and engine.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < until, "the engine outlives its handler"
            time.sleep(0.02)
    finally:
        parent.stdout.close()
        if engine.is_running():
            engine.kill()


# ── what becomes of a request ────────────────────────────────────────────────────────────────────────────────────────


class Breaking(Models):
    """Models whose loading fails in a given way."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error

    def get(self, model: Any) -> Any:
        raise self._error


@pytest.mark.parametrize(
    ("error", "error_class", "retryable"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "OutOfSpace", True),
        (OSError(errno.EDQUOT, "Quota exceeded"), "OutOfSpace", True),
        (OSError(errno.EIO, "I/O error"), "EngineFailure", True),
        (MemoryError("16 GiB"), "OutOfMemory", True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "OutOfMemory", True),
        (RuntimeError("CUDA failed with error out of memory"), "OutOfMemory", True),
        (RuntimeError("CUDA error: device-side assert"), "DeviceLost", True),
        (RuntimeError("a mistake of ours"), "EngineFailure", True),
        (EngineFailure("as it is"), "EngineFailure", True),
    ],
)
def test_an_error_becomes_an_event(tmp_path: Path, error: Exception, error_class: str, retryable: bool) -> None:
    """Whatever goes wrong in a job is an answer with a class, and the words of the cause where it has some."""
    seen: list[Event] = []
    found = answer(line_of(request(tmp_path, quiet(tmp_path))), Breaking(error), seen.append)
    assert isinstance(found, Failed)
    assert (found.error.error_class, found.error.retryable) == (error_class, retryable)
    if error_class == "EngineFailure":
        assert str(error) in found.error.message


# An engine whose GPU fails in the middle of each job.
LOSING = """
import sys
from pipeline.engine import serve
from pipeline.models import Models

class Losing(Models):
    def get(self, model):
        raise RuntimeError("CUDA failed with error unspecified launch failure")

sys.exit(serve(sys.stdin.buffer, int(sys.argv[2]), Losing()))
"""


def test_a_lost_gpu_ends_the_engine(start: Any, tmp_path: Path) -> None:
    """The job is told that its GPU is lost, and then the process ends by itself: no other could use the GPU in it."""
    engine = start("-c", LOSING)
    told = engine.ask(line_of(request(tmp_path, quiet(tmp_path))))[-1]
    assert told["error"]["error_class"] == "DeviceLost"
    assert told["error"]["retryable"]
    assert engine.process.wait(30) == EXIT_DEVICE_LOST


def test_options_of_another_version(tmp_path: Path) -> None:
    """Options that this engine does not know are refused as another version's request, not run without them."""
    job = request(tmp_path).model_copy(update={"options": {"no_such_option": 1}})
    found = answer(line_of(job), Models(), lambda event: None)
    assert isinstance(found, Failed)
    assert "not a request of this engine's version" in found.error.message


def test_a_done_job(tmp_path: Path) -> None:
    """The events of a job come in the order of its flow; `Done` is the answer."""
    seen: list[Event] = []
    done = answer(line_of(request(tmp_path, quiet(tmp_path))), Models(), seen.append)
    assert isinstance(done, Done)
    if sys.platform == "linux":
        assert done.resident == pytest.approx(psutil.Process().memory_info().rss, rel=0.1)
    kinds = [type(event) for event in seen]
    assert kinds[0] is Media
    assert set(kinds) == {Media, Progress, StageDone}
