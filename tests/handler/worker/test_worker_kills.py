"""Real processes, the real recogniser and `kill -9`: of the engine, which costs one attempt, and of the worker, which
costs a lease.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
import wave
from pathlib import Path
from typing import Any

import av
import psutil
import pytest
from worker_rig import Rig

from handler.child import ChildEngine
from handler.clock import SystemClock
from handler.settings import Settings
from handler.store.folder import FolderStore
from pipeline.plan import GENERATING_OUTPUT, TRANSCRIBING

JFK = Path(__file__).parents[3] / "examples" / "jfk.flac"
DYING = Path(__file__).with_name("dying_engine.py")
PATIENCE = 60.0  # seconds until a test that waits for another process gives up

POINTS = {  # where the engine dies → the stages that were kept by then
    "media": (),
    f"progress:{TRANSCRIBING}": (),
    f"stage_done:{TRANSCRIBING}": (TRANSCRIBING,),
    f"progress:{GENERATING_OUTPUT}": (TRANSCRIBING,),
    f"stage_done:{GENERATING_OUTPUT}": (TRANSCRIBING, GENERATING_OUTPUT),
}


def clips(count: int) -> list[bytes]:
    """WAV files of one second each: what is said at the beginning, from a little later on each time."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=16_000)
    with av.open(str(JFK)) as container:
        pcm = b"".join(
            piece.to_ndarray().tobytes() for frame in container.decode(audio=0) for piece in resampler.resample(frame)
        )
    return [_wav(pcm[3200 * place : 3200 * place + 32_000]) for place in range(count)]


def _wav(pcm: bytes) -> bytes:
    whole = io.BytesIO()
    with wave.open(whole, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(pcm)
    return whole.getvalue()


@pytest.fixture
def folder_rig(tmp_path: Path, worker_settings: Settings) -> Rig:
    settings = worker_settings.model_copy(update={"backoff_seconds": 0.01, "scan_seconds": 0.05})
    return Rig(FolderStore(tmp_path / "bucket", SystemClock(), settle_seconds=0), SystemClock(), settings)


def test_the_engine_killed_at_each_stage(folder_rig: Rig, tmp_path: Path, worker_settings: Settings) -> None:
    """kill -9 of the engine, at each point of a job's course, costs one attempt and no finished stage; it is started
    again, and the results are those of an engine that nobody kills.
    """
    rig, points = folder_rig, tmp_path / "points"
    points.write_text("".join(f"{point}\n" for point in POINTS))
    recordings = {f"{number}.wav": body for number, body in enumerate(clips(len(POINTS)))}
    for key, body in recordings.items():
        rig.drop(key, body)
        os.utime(tmp_path / "bucket" / "input" / key, (1_700_000_000, 1_700_000_000))  # in the order of their keys
    worker = rig.worker(ChildEngine(SystemClock(), command=[sys.executable, str(DYING), str(points)]))
    tally = worker.run(drain=True)
    assert points.read_text() == ""
    assert (tally.completed, tally.failed) == (len(POINTS), 0)
    for key, kept in zip(recordings, POINTS.values(), strict=True):
        manifest = rig.manifest(key)
        assert (manifest["status"], manifest["attempt"]) == ("completed", 2)
        assert set(manifest["cached_stages"]) >= set(kept[-1:])
        assert not set(manifest["timings"]) & set(kept)
        assert rig.settled(key) == "completed"
        assert rig.error(key) is None
    for record in rig.records():
        assert (record.state, record.attempts, record.takeovers) == ("done", 1, 0)
        [failure] = record.failures
        assert failure.error.error_class == "EngineDied"
        assert "SIGKILL" in failure.error.message

    calm = Rig(FolderStore(tmp_path / "calm", SystemClock(), settle_seconds=0), SystemClock(), worker_settings)
    for key, body in recordings.items():
        calm.drop(key, body)
    calm.worker(ChildEngine(SystemClock())).run(drain=True)
    for key in recordings:
        assert rig.words(key) == calm.words(key)
    assert "and" in json.dumps([calm.result(key) for key in recordings])


def test_an_overrun_is_an_attempt(folder_rig: Rig) -> None:
    """A job over its time limit has its engine killed; the error says that, and what can be done."""
    hang = "import sys, time; sys.stdin.readline(); time.sleep(600)"
    engine = ChildEngine(SystemClock(), command=[sys.executable, "-c", hang])
    limits = {"time_limit_seconds": 0.2, "time_limit_factor": 0.0, "max_attempts": 2, "poll_seconds": 0.05}
    folder_rig.drop("a.wav", b"anything")
    folder_rig.worker(engine, **limits).run(drain=True)
    record = folder_rig.record()
    assert (record.state, record.attempts) == ("dead", 2)
    error = folder_rig.error("a.wav")
    assert "time limit" in error["err_msg"]
    assert "DROPSCRIBE_TIME_LIMIT_FACTOR" in json.dumps(error)
    assert engine.pid is None


# ── the worker ───────────────────────────────────────────────────────────────────────────────────────────────────────


def work(bucket: Path, tmp_path: Path) -> subprocess.Popen[bytes]:
    """``dropscribe work BUCKET --drain`` with a short lease."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DROPSCRIBE_")}
    environ |= {
        "DROPSCRIBE_MODEL": "sphinx",
        "DROPSCRIBE_LEASE_SECONDS": "2",
        "DROPSCRIBE_BEAT_SECONDS": "0.5",
        "DROPSCRIBE_PROGRESS_SECONDS": "0.1",
        "DROPSCRIBE_SETTLE_SECONDS": "0",
        "DROPSCRIBE_WORK_DIR": str(tmp_path / "work"),
        "DROPSCRIBE_HOME": str(tmp_path / "home"),
    }
    command = [sys.executable, "-m", "handler.cli", "work", str(bucket), "--drain"]
    return subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)


def kill_when(rig: Rig, worker: subprocess.Popen[bytes], stage: str, last_token: int) -> int:
    """SIGKILL for the worker when the manifest of its claim, later than ``last_token``, shows that stage and its engine
    runs. The engine must end by itself. Gives the claim's token.
    """
    until = time.monotonic() + PATIENCE
    engines: list[psutil.Process] = []
    seen: Any = None
    while not engines or seen is None or seen["stage"] != stage or seen["token"] <= last_token:
        assert time.monotonic() < until, f"no manifest with the stage {stage}: {seen}"
        assert worker.poll() is None
        time.sleep(0.02)
        seen = rig.manifest("jfk.flac")
        engines = psutil.Process(worker.pid).children()
    worker.kill()
    worker.wait()
    _, alive = psutil.wait_procs(engines, timeout=PATIENCE)
    assert not alive
    return int(seen["token"])


def test_the_worker_killed_in_the_middle(folder_rig: Rig, tmp_path: Path) -> None:
    """kill -9 of the worker while its engine starts, and of the next while its engine listens: no engine outlives its
    worker, and the third takes over and gives the result, without an attempt being charged; nothing of the first two
    stays on the disk.
    """
    folder_rig.drop("jfk.flac", JFK.read_bytes())
    workers, token = [], 0
    try:
        for stage in ("downloading", TRANSCRIBING):
            workers.append(work(tmp_path / "bucket", tmp_path))
            token = kill_when(folder_rig, workers[-1], stage, token)
        assert len(list((tmp_path / "work").glob("[!.]*"))) >= 1
        workers.append(work(tmp_path / "bucket", tmp_path))
        assert workers[-1].wait(PATIENCE) == 0
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    record = folder_rig.record()
    assert (record.state, record.attempts) == ("done", 0)
    assert record.takeovers >= 2
    assert folder_rig.settled("jfk.flac") == "completed"
    [channel] = folder_rig.result("jfk.flac")["results"]["channels"]
    assert "all my fellow" in channel["alternatives"][0]["transcript"].lower()
    assert folder_rig.keys("errors/") == []
    assert list((tmp_path / "work").glob("[!.]*")) == []
