"""A worker's folder on its own disk: gone afterwards, whoever was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from worker_rig import Rig, check_right

from handler.worker.scratch import Scratch

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
