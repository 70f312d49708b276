"""The disk is full, for real: a tmpfs of a few megabytes where one can be mounted, and everywhere `/dev/full`, behind
the names that the worker and the engine are about to write. The kernel itself answers ENOSPC.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from handler.child import ChildEngine, Engine
from handler.settings import Settings
from handler.store.memory import Call, Phase
from handler.types import JobRecord
from pipeline.types import Event, JobRequest, Progress
from tests.end_to_end import recordings
from tests.end_to_end.bucket_rig import FolderBucket, Rig, SkippingClock, words_of

MakeRig = Callable[..., Rig]

FULL = Path("/dev/full")


class Disk:
    """A tmpfs. Sizes in kilobytes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def mount(self, size: int) -> None:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(self.path)], check=True, capture_output=True
        )

    def remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.path)], check=True, capture_output=True)

    def unmount(self) -> None:
        subprocess.run(["umount", str(self.path)], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A small disk of one megabyte, where this user may mount one."""
    found = Disk(tmp_path / "disk")
    found.path.mkdir()
    try:
        found.mount(1024)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no tmpfs can be mounted here")
    yield found
    found.unmount()


class Noting:
    """The engine, with somebody who is told of each event before the worker is."""

    def __init__(self, engine: Engine, note: Callable[[Event | None], None]) -> None:
        self._engine = engine
        self._note = note

    def run(
        self, request: JobRequest, *, time_limit: Callable[[float | None], float], poll: float
    ) -> Iterator[Event | None]:
        for event in self._engine.run(request, time_limit=time_limit, poll=poll):
            self._note(event)
            yield event

    def close(self) -> None:
        self._engine.close()


# ── the work directory's disk ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("seconds", "codec", "says"),
    [(40.0, "pcm_s16le", "no room for"), (30.0, "libopus", "decoded sound")],
    ids=["no room for the recording", "no room for the decoded sound"],
)
def test_a_full_disk(
    disk: Disk, make_folder_rig: MakeRig, tmp_path: Path, seconds: float, codec: str, says: str
) -> None:
    """On a full disk a recording ends in a retryable error after three attempts; with room again, the same recording
    dropped anew completes, and leaves nothing behind.
    """
    rig = make_folder_rig(work_dir=disk.path / "work")
    path = recordings.repeated(tmp_path, seconds, codec)
    (disk.path / "filler").write_bytes(bytes(400_000))
    rig.drop("long.ogg", path)
    rig.drain()
    error = rig.error("long.ogg")
    assert (error["class"], error["retryable"], error["attempts"]) == ("OutOfSpace", True, 3)
    assert says in error["err_msg"]
    disk.remount("size=16384k")
    rig.drop("long.ogg", path)
    rig.drain()
    assert rig.result("long.ogg")["metadata"]["duration"] == pytest.approx(seconds, abs=0.2)
    assert list((disk.path / "work").rglob("*.ogg")) == []


class Numbered(SkippingClock):
    """Its ids can be foretold, and with them the names of temporary files."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0

    def new_id(self) -> str:
        self._next += 1
        return f"{self._next:032x}"


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_no_room_to_download(make_folder_rig: MakeRig, speech: Path) -> None:
    """A download that the disk refuses is tried again; with room at the next attempt, the recording completes."""
    rig = make_folder_rig(clock=Numbered())
    scratch = rig.settings.work_dir / rig.worker.name
    scratch.mkdir(parents=True)
    for number in range(1000):
        (scratch / f"{number:032x}.flac").symlink_to(FULL)
    rig.drop("a.flac", speech)
    rig.sweep(1)
    assert rig.settled() == 0
    assert rig.keys("errors/") == []
    left = [link for link in scratch.iterdir() if link.is_symlink()]
    assert len(left) == 999, "what could not be written was not removed"
    for link in left:
        link.unlink()
    rig.drain()
    assert words_of(rig.result("a.flac"))


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_no_room_for_an_artifact(make_memory_rig: MakeRig, speech: Path) -> None:
    """An artifact that the disk refuses the engine costs an attempt, which says so; the next one completes."""
    planted: list[Path] = []

    def plant(call: Call, phase: Phase) -> None:
        if not planted and (call.verb, phase) == ("PUT", "after") and "/jobs/" in call.key:
            record = JobRecord.model_validate_json(rig.read(call.key) or b"")
            work = rig.settings.work_dir / rig.worker.name / f"{record.jid[:16]}-{record.token}"
            work.mkdir(parents=True)
            planted.append(work / "transcribing.json.tmp")
            planted[0].symlink_to(FULL)

    rig = make_memory_rig(plant)
    rig.drop("a.flac", speech)
    rig.sweep(1)
    assert planted
    manifest = rig.manifest("a.flac")
    assert (manifest["status"], "disk is full" in manifest["message"]) == ("queued", True)
    rig.drain()
    assert words_of(rig.result("a.flac"))
    [job] = rig.keys(".dropscribe/v1/jobs/")
    record = JobRecord.model_validate_json(rig.read(f".dropscribe/v1/jobs/{job}") or b"")
    assert [failure.error.error_class for failure in record.failures] == ["OutOfSpace"]


# ── the bucket's disk ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_bucket_on_a_disk_that_turns_read_only(
    disk: Disk, engine: ChildEngine, make_settings: Callable[..., Settings], speech: Path
) -> None:
    """A folder whose disk turns read-only while the engine is at work loses nothing and settles nothing: once it can be
    written again, the recording completes without an attempt charged.
    """
    turned: list[Event] = []

    def turn(event: Event | None) -> None:
        if isinstance(event, Progress) and not turned:
            turned.append(event)
            disk.remount("ro")

    rig = Rig(FolderBucket(disk.path / "bucket"), Noting(engine, turn), make_settings(), SkippingClock())
    rig.drop("a.flac", speech)
    rig.sweep(3)
    assert turned
    assert rig.settled() == 0
    assert rig.keys("errors/") == []
    disk.remount("rw")
    rig.drain()
    assert words_of(rig.result("a.flac"))
    [job] = rig.keys(".dropscribe/v1/jobs/")
    assert JobRecord.model_validate_json(rig.read(f".dropscribe/v1/jobs/{job}") or b"").attempts == 0


def test_a_bucket_on_a_full_disk(
    disk: Disk, engine: ChildEngine, make_settings: Callable[..., Settings], speech: Path
) -> None:
    """So does one whose disk is full while the engine is at work."""
    filler = disk.path / "filler"

    def fill(event: Event | None) -> None:
        if isinstance(event, Progress) and not filler.exists():
            with filler.open("wb", buffering=0) as file:
                try:
                    while file.write(bytes(4096)):
                        pass
                except OSError:
                    return

    rig = Rig(FolderBucket(disk.path / "bucket"), Noting(engine, fill), make_settings(), SkippingClock())
    rig.drop("a.flac", speech)
    rig.sweep(2)
    assert filler.exists()
    assert rig.settled() == 0
    assert rig.keys("errors/") == []
    filler.write_bytes(b"")
    rig.drain()
    assert words_of(rig.result("a.flac"))
