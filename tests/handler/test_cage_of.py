"""The cage that settings ask for, and what the handler hides of itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from handler.cage import cage_of
from handler.settings import Settings

HIDDEN = """
import sys, resource
from pathlib import Path
if sys.argv[1] == "hide":
    from handler.cage import hide
    hide()
import ctypes
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE)[0], flush=True)
"""


def settings_in(folder: Path, **given: object) -> Settings:
    return Settings(home=folder / "home", work_dir=folder / "work", **given)  # type: ignore[arg-type]


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_the_handler_is_hidden() -> None:
    """After `hide` the process is not dumpable, so no other one of its user can read its memory and environment, and
    no core of it is written.
    """
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", HIDDEN]
    told = {
        mode: subprocess.run([*command, mode], env=environment, capture_output=True, text=True, check=True).stdout
        for mode in ("hide", "show")
    }
    assert told["hide"].split() == ["0", "0"]
    assert told["show"].split()[0] == "1"


def test_shut_by_default(tmp_path: Path) -> None:
    """Without a setting there is no network and no file that it does not need; the folder of models is there, as what
    is brought into it later must be in sight.
    """
    cage = cage_of(settings_in(tmp_path), tmp_path / "work")
    assert (cage.network, cage.files, cage.data_bytes) == ("none", "own", None)
    assert cage.write == (str(tmp_path / "work"),)
    assert cage.read == (str(tmp_path / "home"),)
    assert (tmp_path / "home").is_dir()


def test_settings_open_it(tmp_path: Path) -> None:
    """Each bar has its setting; on a processor no GPU's driver is let through."""
    settings = settings_in(tmp_path, engine_network="host", engine_files="host", engine_data_bytes=2**31, device="cpu")
    cage = cage_of(settings, tmp_path / "work")
    assert (cage.network, cage.files, cage.data_bytes, cage.gpu) == ("host", "host", 2**31, False)


def test_models_are_in_sight_wherever_they_are(tmp_path: Path, fixed_whisper: Path) -> None:
    """A folder of models, a folder that is one model, a model named by its path, and what `dropscribe run` reads."""
    shelf = cage_of(settings_in(tmp_path, models=str(fixed_whisper.parent)), tmp_path / "work")
    assert str(fixed_whisper.parent) in shelf.read
    one = cage_of(settings_in(tmp_path, models=str(fixed_whisper)), tmp_path / "work")
    assert str(fixed_whisper) in one.read
    named = cage_of(settings_in(tmp_path, model=str(fixed_whisper)), tmp_path / "work")
    assert str(fixed_whisper) in named.read
    (tmp_path / "run").mkdir()
    (tmp_path / "talk.wav").write_bytes(b"a recording")
    (tmp_path / "run/source.wav").symlink_to(tmp_path / "talk.wav")
    assert str(tmp_path / "talk.wav") in cage_of(settings_in(tmp_path), tmp_path / "run").read
