"""A worker's folder on its own disk: gone afterwards, whoever was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from worker_rig import Rig, at, check_right

from handler.errors import CannotWrite
from handler.worker.scratch import Scratch
from pipeline.plan import TRANSCRIBING

KILLED = """
import os, signal, sys
from pathlib import Path
from handler.worker.scratch import Scratch

scratch = Scratch(Path(sys.argv[1]), "killed")
scratch.open()
(scratch.path / "recording.wav").write_bytes(b"somebody talks")
os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_nothing_is_left(rig: Rig) -> None:
    """A worker that ends in order leaves nothing in the work directory, and nobody else's things are touched."""
    rig.settings.work_dir.mkdir()
    (rig.settings.work_dir / "notes").mkdir()
    (rig.settings.work_dir / "notes" / "notes.txt").write_text("not a worker's")
    rig.drop("a.wav", b"somebody talks")
    rig.worker().run(drain=True)
    check_right(rig, "a.wav", b"somebody talks")
    assert [path.name for path in rig.settings.work_dir.rglob("*")] == ["notes", "notes.txt"]


def test_a_killed_workers_folder_goes(tmp_path: Path) -> None:
    """What a killed worker left goes with the next one that starts on the machine; a living one's stays."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)])
    assert done.returncode == -signal.SIGKILL
    living = Scratch(tmp_path, "living")
    assert names(tmp_path) == {"killed"}
    living.open()
    assert names(tmp_path) == {"living"}
    other = Scratch(tmp_path, "other")
    other.open()
    assert names(tmp_path) == {"living", "other"}
    living.close()
    other.close()
    other.close()
    assert names(tmp_path) == set()


@pytest.fixture
def generous() -> Iterator[None]:
    """New files and folders may be read by everybody, if nobody asks for less."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("generous")
def test_nobody_else_reads_it(rig: Rig) -> None:
    """A recording in progress lies in folders that only the worker's own user may enter."""
    modes = {}

    def look() -> None:
        for path in rig.settings.work_dir.rglob("source*"):
            for folder in path.parents:
                modes[folder] = folder.stat().st_mode & 0o777

    rig.drop("a.wav", b"somebody talks")
    leftover = rig.settings.work_dir / ".worker-1"  # of one that was killed while it began
    leftover.mkdir(parents=True)
    worker = rig.worker(at(TRANSCRIBING, look))
    assert worker.name == "worker-1"
    worker.run(drain=True)
    check_right(rig, "a.wav", b"somebody talks")
    assert modes[rig.settings.work_dir / "worker-1"] == 0o700


@pytest.mark.usefixtures("generous")
def test_the_work_directory_is_ones_own(tmp_path: Path) -> None:
    """A work directory that has to be made is closed to others; one that is there keeps the rights it was given."""
    Scratch(tmp_path / "new", "a").open()
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    (tmp_path / "given").mkdir(mode=0o755)
    Scratch(tmp_path / "given", "a").open()
    assert (tmp_path / "given").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("work_dir", ["/proc/x", "{}/file", "{}/file/below"])
def test_a_work_directory_that_cannot_be(tmp_path: Path, work_dir: str) -> None:
    """Where no folder can be made, the error names the place and the setting that moves it."""
    (tmp_path / "file").touch()
    path = Path(work_dir.format(tmp_path))
    with pytest.raises(CannotWrite, match=f"the work directory {path} cannot be used: ") as raised:
        Scratch(path, "a").open()
    assert "DROPSCRIBE_WORK_DIR" in raised.value.hint


def test_a_folder_of_the_same_name(tmp_path: Path) -> None:
    """A killed worker's folder is no obstacle to one of the same name; a living worker's is."""
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)])
    scratch = Scratch(tmp_path, "killed")
    scratch.open()
    assert not (scratch.path / "recording.wav").exists()
    with pytest.raises(OSError, match="not empty"):
        Scratch(tmp_path, "killed").open()
    assert os.path.isdir(scratch.path)
    scratch.close()
