"""A warm engine for each module, and rigs (`bucket_rig.Rig`) on a folder, on S3 and in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from handler.child import ChildEngine
from handler.clock import SystemClock
from handler.settings import Settings
from handler.store.memory import Hook, MemoryStore
from tests.end_to_end import recordings
from tests.end_to_end.bucket_rig import FolderBucket, MemoryBucket, Rig, S3Bucket, SkippingClock

MakeRig = Callable[..., Rig]


@pytest.fixture(autouse=True)
def nobodys_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of this machine reaches a test."""
    for name in [name for name in os.environ if name.startswith("DROPSCRIBE_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChildEngine]:
    """The real one, warm: whoever kills it makes the next job start another."""
    child = ChildEngine(SystemClock(), home=tmp_path_factory.mktemp("engine-home"))
    yield child
    child.close()


@pytest.fixture
def make_settings(tmp_path: Path, fixed_whisper: Path) -> Callable[..., Settings]:
    """Settings of an impatient worker whose models are the fixed Whisper alone; keyword arguments go over them."""

    def make(**given: Any) -> Settings:
        usual: dict[str, Any] = {
            "models": str(fixed_whisper.parent),
            "home": tmp_path / "home",
            "work_dir": tmp_path / "work",
            "settle_seconds": 0.0,
            "backoff_seconds": 0.01,
            "progress_seconds": 0.05,
            "poll_seconds": 0.05,
        }
        return Settings(**{**usual, **given})

    return make


@pytest.fixture
def make_folder_rig(tmp_path: Path, engine: ChildEngine, make_settings: Callable[..., Settings]) -> MakeRig:
    """A rig on a new folder, by ``clock`` if one is given; other keyword arguments are settings."""

    def make(clock: SkippingClock | None = None, **settings: Any) -> Rig:
        bucket = FolderBucket(tmp_path / "bucket")
        bucket.path.mkdir(exist_ok=True)
        return Rig(bucket, engine, make_settings(**settings), clock or SkippingClock())

    return make


@pytest.fixture
def folder_rig(make_folder_rig: MakeRig) -> Rig:
    return make_folder_rig()


@pytest.fixture
def make_s3_rig(
    s3_bucket: str, s3_client: Any, engine: ChildEngine, make_settings: Callable[..., Settings]
) -> Iterator[MakeRig]:
    """A rig on a new bucket of an S3 server; keyword arguments are settings."""
    made: list[Rig] = []

    def make(**settings: Any) -> Rig:
        made.append(Rig(S3Bucket(s3_bucket, s3_client), engine, make_settings(**settings), SkippingClock()))
        return made[-1]

    yield make
    for rig in made:
        rig.store.close()  # type: ignore[attr-defined]


@pytest.fixture
def s3_rig(make_s3_rig: MakeRig) -> Rig:
    return make_s3_rig()


@pytest.fixture
def make_memory_rig(engine: ChildEngine, make_settings: Callable[..., Settings]) -> MakeRig:
    """A rig on a bucket in memory, whose requests go through ``hook``; other keyword arguments are settings."""

    def make(hook: Hook | None = None, **settings: Any) -> Rig:
        clock = SkippingClock()
        return Rig(MemoryBucket(MemoryStore(clock, hook=hook)), engine, make_settings(**settings), clock)

    return make


@pytest.fixture(params=["folder", "s3"])
def make_rig(request: pytest.FixtureRequest) -> MakeRig:
    """On a folder, then on S3."""
    found: MakeRig = request.getfixturevalue(f"make_{request.param}_rig")
    return found


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of somebody who speaks, as FLAC: ``Alpha Bravo.`` to the fixed Whisper."""
    return recordings.flac(tmp_path_factory.mktemp("speech"))
