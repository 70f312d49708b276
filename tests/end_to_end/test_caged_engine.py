"""The engine in its cage, as workers start it: it does its work, and the kernel says that it is shut in."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from handler.cage import cage_of
from handler.child import ChildEngine
from handler.cli.runtime import child_engine
from handler.clock import SystemClock
from handler.settings import Settings
from tests.end_to_end import recordings
from tests.end_to_end.bucket_rig import FolderBucket, Rig, SkippingClock, transcript_of, warnings_of, words_of
from tests.end_to_end.test_conversation_bucket import OPTIONS, RECORDING, shelf

OLD_KERNEL = Path(__file__).with_name("old_kernel.py")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the cage is made of Linux's parts")


def rig_with(folder: Path, engine: ChildEngine, settings: Settings) -> Rig:
    bucket = FolderBucket(folder / "bucket")
    bucket.path.mkdir()
    return Rig(bucket, engine, settings, SkippingClock())


def test_a_worker_transcribes_with_it(tmp_path: Path, make_settings: Callable[..., Settings]) -> None:
    """As `work` makes its engine: a recording is transcribed by a process that has no new rights, a filter of system
    calls, no core files, and nothing of the handler's environment.
    """
    settings = make_settings()
    settings.work_dir.mkdir()
    engine = child_engine(SystemClock(), settings.work_dir, settings)
    assert isinstance(engine, ChildEngine)
    try:
        rig = rig_with(tmp_path, engine, settings)
        rig.drop("a.flac", recordings.flac(tmp_path))
        rig.drain()
        assert transcript_of(rig.result("a.flac"))
        assert engine.pid is not None
        process = psutil.Process(engine.pid)
        status = Path(f"/proc/{engine.pid}/status").read_text()
        assert "NoNewPrivs:\t1" in status
        assert "Seccomp:\t2" in status
        assert process.rlimit(psutil.RLIMIT_CORE) == (0, 0)
        assert process.rlimit(psutil.RLIMIT_NOFILE)[0] <= 4096
        assert not [name for name in process.environ() if name.startswith(("AWS_", "DROPSCRIBE_"))]
    finally:
        engine.close()


def test_an_old_kernel_is_told_and_no_reason_to_stop(
    tmp_path: Path, make_settings: Callable[..., Settings], caplog: pytest.LogCaptureFixture
) -> None:
    """Where the kernel has none of it, or a container's rules forbid it, the log says in one line for each what is
    missing, and recordings are transcribed all the same.
    """
    caplog.set_level(logging.INFO, logger="handler")
    settings = make_settings()
    settings.work_dir.mkdir()
    engine = ChildEngine(
        SystemClock(),
        command=[sys.executable, str(OLD_KERNEL)],
        home=settings.work_dir,
        cage=lambda: cage_of(settings, settings.work_dir),
    )
    try:
        rig = rig_with(tmp_path, engine, settings)
        rig.drop("a.flac", recordings.flac(tmp_path))
        rig.drain()
        assert transcript_of(rig.result("a.flac"))
    finally:
        engine.close()
    told = [record.getMessage() for record in caplog.records if "is not possible here" in record.getMessage()]
    assert len(told) == 2
    assert "Landlock" in told[0]
    assert "seccomp" in told[1]


@pytest.mark.heavy
def test_every_stage_runs_in_it(tmp_path: Path) -> None:
    """Music, words, times and speakers by torch, demucs, NeMo and numba, with models behind links that lead anywhere:
    none of them is degraded, and nothing stays among the temporary files.
    """
    settings = Settings(
        models=str(shelf(tmp_path / "models")), home=tmp_path / "home", work_dir=tmp_path / "work", settle_seconds=0.0,
        progress_seconds=0.05, poll_seconds=0.05,
    )  # fmt: skip
    settings.work_dir.mkdir()
    engine = child_engine(SystemClock(), settings.work_dir, settings)
    assert isinstance(engine, ChildEngine)
    try:
        rig = rig_with(tmp_path, engine, settings)
        rig.drop("talk.opus", RECORDING, sidecar=OPTIONS)
        rig.drain()
        result = rig.result("talk.opus")
    finally:
        engine.close()
    assert warnings_of(result) == set()
    assert {word["speaker"] for word in words_of(result)} == {0, 1}
    assert [path.name for path in settings.work_dir.iterdir() if path.name.startswith("tmp")] == []
