"""Aligners whose files are not what they should be: each costs the better times, tells why, and runs no code."""

from __future__ import annotations

import io
import pickle
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.aligners import RECORD, aligner_in
from pipeline.devices import DeviceSettings
from pipeline.errors import ModelUnavailable
from pipeline.models.aligner import Aligners
from pipeline.stages.align import aligned
from pipeline.types import SAMPLE_RATE
from tests.pipeline.alignment.align_rig import MODELS, Tracks, member, quiet, transcript, word

pytestmark = [pytest.mark.heavy, pytest.mark.filterwarnings("ignore")]  # NeMo's own imports warn

TINY = MODELS / "tiny-aligner"
CPU = DeviceSettings(device="cpu")


def changed(folder: Path, **changes: Callable[[bytes], bytes]) -> Path:
    """A copy of the tiny aligner with its archive's ``config`` or ``weights`` changed."""
    folder.mkdir()
    shutil.copy(TINY / RECORD, folder)
    names = {"config": "model_config.yaml", "weights": "model_weights.ckpt"}
    with tarfile.open(TINY / "tiny-aligner.nemo") as old, tarfile.open(folder / "tiny-aligner.nemo", "w") as new:
        for key, name in names.items():
            body = changes.get(key, bytes)(member(old, name))
            info = tarfile.TarInfo(name)
            info.size = len(body)
            new.addfile(info, io.BytesIO(body))
    return folder


class Malicious:
    """Unpickled, it makes a folder."""

    def __init__(self, place: Path) -> None:
        self._place = str(place)

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        import os

        return os.mkdir, (self._place,)


def refusal(folder: Path) -> str:
    """What the stage says of an aligner that it cannot use; the words stay what they were."""
    before = transcript([word("seven", 1, 2)])
    here = Aligners([aligner_in(folder)], CPU)
    done = aligned(before, Tracks([np.ones(5 * SAMPLE_RATE, np.float32)]), here.get, quiet)
    assert done.transcript == before
    assert done.lacking is not None
    return done.lacking


def test_a_copy_is_no_other_model(tmp_path: Path) -> None:
    """What the next tests change is all that is wrong with their files."""
    aligner = Aligners([aligner_in(changed(tmp_path / "same"))], CPU).get("en")
    assert aligner.emissions([np.zeros(SAMPLE_RATE, np.float32)])[0].shape[1] == aligner.columns.blank + 1


@pytest.mark.parametrize("kept", [0.0, 0.0001, 0.5, 0.97])
def test_a_file_that_was_cut_off(tmp_path: Path, kept: float) -> None:
    """It costs the better times, and the reason names the model."""
    folder = tmp_path / "short"
    shutil.copytree(TINY, folder)
    whole = (folder / "tiny-aligner.nemo").read_bytes()
    (folder / "tiny-aligner.nemo").write_bytes(whole[: int(kept * len(whole))])
    assert "the model short cannot be" in refusal(folder)


def test_a_checkpoint_that_runs_code(tmp_path: Path) -> None:
    """It is not run, whatever it says."""
    place = tmp_path / "made by the pickle"
    folder = changed(tmp_path / "evil", weights=lambda body: pickle.dumps(Malicious(place)))
    assert "the model evil cannot be loaded" in refusal(folder)
    assert not place.exists()


def test_a_configuration_that_names_a_foreign_class(tmp_path: Path) -> None:
    """Classes that are no part of an aligner are not made, wherever the configuration names them."""
    folder = changed(
        tmp_path / "strange",
        config=lambda body: body + b"\naugmentation:\n  _target_: subprocess.Popen\n  args: [ls]\n",
    )
    assert "subprocess.Popen" in refusal(folder)


def test_weights_of_another_shape(tmp_path: Path) -> None:
    """A model that is not the one of its configuration is refused, and never half loaded."""
    folder = changed(tmp_path / "other", config=lambda body: body.replace(b"filters: 160", b"filters: 161"))
    assert "the model other cannot be loaded" in refusal(folder)


def test_a_tokenizer_that_would_be_fetched(tmp_path: Path) -> None:
    """WordPiece is looked up on the network by NeMo, so it is refused."""
    folder = changed(tmp_path / "pieces", config=lambda body: body + b"\ntokenizer:\n  type: wpe\n  dir: /none\n")
    assert "of the type wpe" in refusal(folder)


def test_another_sample_rate(tmp_path: Path) -> None:
    """A model for telephone sound would hear everything an octave off."""
    folder = changed(tmp_path / "slow", config=lambda body: body.replace(b"sample_rate: 16000", b"sample_rate: 8000"))
    assert "8000" in refusal(folder)


def test_refused_by_name() -> None:
    """The aligner's own error, where no stage is around it."""
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        aligner_in(MODELS)
