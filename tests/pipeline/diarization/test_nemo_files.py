"""A ``.nemo`` that is damaged, something else or malicious: refused, with words, and never run."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pipeline.devices import DeviceSettings
from pipeline.errors import ModelUnavailable
from pipeline.models import nemo
from pipeline.models.ladder import Rung
from pipeline.models.nemo import CONFIG, SORTFORMER, SPEAKERS, WEIGHTS, Kind, NemoModel, module
from pipeline.models.sortformer import Sortformer
from tests.pipeline.diarization.conftest import babble, named
from tests.pipeline.diarization.listeners import reading, unheard

pytestmark = pytest.mark.heavy

CPU = Rung("cpu", "float32", 1)
Edit = Callable[[dict[str, bytes]], None]


def edited(source: NemoModel, folder: Path, edit: Edit, mode: str = "w") -> NemoModel:
    """The same file with members changed."""
    with tarfile.open(source.path) as tar:
        members = {
            member.name.removeprefix("./"): tar.extractfile(member).read()  # type: ignore[union-attr]
            for member in tar
            if member.isfile()
        }
    edit(members)
    path = folder / "edited.nemo"
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, body in members.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return named(path)


def configured(change: Callable[[dict[str, Any]], None]) -> Edit:
    def edit(members: dict[str, bytes]) -> None:
        config = yaml.safe_load(members[CONFIG])
        change(config)
        members[CONFIG] = yaml.safe_dump(config).encode()

    return edit


def refused(model: NemoModel, kind: Kind = SORTFORMER) -> str:
    with pytest.raises(ModelUnavailable) as caught:
        nemo.load(model, kind, CPU)
    assert model.info.name in caught.value.message
    assert caught.value.retryable
    return caught.value.message


class Bomb:
    """Runs when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.mark),))


def test_a_sortformer_that_cannot_stream_is_refused(random_sortformer: NemoModel, tmp_path: Path) -> None:
    """Whose speakers want a larger cache than recordings are heard with: one error with the model's name, not NeMo's
    own.
    """

    def change(config: dict[str, Any]) -> None:
        config["sortformer_modules"].update(spkcache_sil_frames_per_spk=100, spkcache_len=1000)

    with pytest.raises(ModelUnavailable, match=r"the model edited cannot be driven chunk by chunk: .*spkcache_len"):
        Sortformer(edited(random_sortformer, tmp_path, configured(change)), DeviceSettings(device="cpu")).begin()


@pytest.mark.parametrize("forced", [False, True])
def test_a_checkpoint_runs_no_code(
    random_sortformer: NemoModel, tmp_path: Path, forced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pickle that would do something does not, even where the environment asks torch to trust everything."""
    if forced:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch, mark = module("torch"), tmp_path / "exploded"

    def edit(members: dict[str, bytes]) -> None:
        body = io.BytesIO()
        torch.save({"weight": Bomb(mark)}, body)
        members[WEIGHTS] = body.getvalue()

    assert "holds more than weights" in refused(edited(random_sortformer, tmp_path, edit))
    assert not mark.exists()


def test_a_bare_pickle_runs_no_code(random_sortformer: NemoModel, tmp_path: Path) -> None:
    """Nor does one in torch's old format."""
    mark = tmp_path / "exploded"
    model = edited(random_sortformer, tmp_path, lambda members: members.update({WEIGHTS: pickle.dumps(Bomb(mark))}))
    refused(model)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("_target_", "os.system"),
        ("_target_", "torch.utils.data.DataLoader"),
        ("_target_", "nemo.utils.model_utils.import_class_by_path"),
        ("target", "nemo.collections.asr.models.EncDecCTCModel"),
        ("cls", "subprocess.run"),
    ],
)
@pytest.mark.parametrize("place", ["preprocessor", "deep", "listed"])
def test_a_configuration_names_known_classes_alone(
    random_sortformer: NemoModel, tmp_path: Path, key: str, target: str, place: str
) -> None:
    """Whatever NeMo or Hydra would call is on a list, wherever in the configuration it stands."""

    def change(config: dict[str, Any]) -> None:
        if place == "preprocessor":
            config["preprocessor"].pop("_target_")
            config["preprocessor"][key] = target
        elif place == "deep":
            config["encoder"]["more"] = {"still": {key: target}}
        else:
            config["loss"]["parts"] = [1, {key: target}]

    assert f"names {target}, which is no part" in refused(edited(random_sortformer, tmp_path, configured(change)))


def test_what_belongs_to_training_is_left_out(random_sortformer: NemoModel, tmp_path: Path) -> None:
    """Published files say how they were trained, with paths of their maker's: no data is looked for."""

    def change(config: dict[str, Any]) -> None:
        config["train_ds"] = {"manifest_filepath": "/no/such/manifest", "sample_rate": 16000}
        config["optim"] = {"name": "adamw", "sched": {"name": "InverseSquareRootAnnealing"}}
        config["spec_augment"] = {"_target_": "nemo.collections.asr.modules.SpectrogramAugmentation"}

    nemo.load(edited(random_sortformer, tmp_path, configured(change)), SORTFORMER, CPU)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda members: members.pop(CONFIG), f"there is no {CONFIG}"),
        (lambda members: members.pop(WEIGHTS), f"there is no {WEIGHTS}"),
        (lambda members: members.update({CONFIG: b"just words"}), "is no configuration"),
        (lambda members: members.update({CONFIG: b"a: [1, 2"}), "cannot be loaded"),
        (lambda members: members.update({CONFIG: b"a: 1"}), "cannot be loaded"),
        (lambda members: members.update({WEIGHTS: b"PK\x03\x04 and no more"}), "cannot be loaded"),
        (lambda members: members.update({WEIGHTS: members[WEIGHTS][:5000]}), "cannot be loaded"),
        (configured(lambda config: config["encoder"].update(n_layers=1)), "its weights are not those"),
        (configured(lambda config: config["encoder"].update(d_model=32)), "cannot be loaded"),
    ],
)
def test_damaged_parts_are_named(random_sortformer: NemoModel, tmp_path: Path, edit: Edit, says: str) -> None:
    """Missing, empty, cut or mixed-up parts are a `ModelUnavailable` that says what is wrong, and can be retried."""
    assert says in refused(edited(random_sortformer, tmp_path, edit))


@pytest.mark.parametrize("body", [b"", b"no tar at all" * 1000, None])
def test_what_is_no_archive_is_refused(random_sortformer: NemoModel, tmp_path: Path, body: bytes | None) -> None:
    """Nothing, something else, half a download."""
    path = tmp_path / "half.nemo"
    path.write_bytes(random_sortformer.path.read_bytes()[:100_000] if body is None else body)
    refused(named(path))
    refused(named(tmp_path / "missing.nemo"))


def test_another_kind_of_model_is_refused(random_sortformer: NemoModel, random_speakers: NemoModel) -> None:
    """A model of voices where a Sortformer belongs, and the other way round."""
    assert "no part of a SortformerEncLabelModel" in refused(random_speakers)
    assert "no part of a EncDecSpeakerLabelModel" in refused(random_sortformer, SPEAKERS)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda config: config["preprocessor"].update(normalize="per_feature"), "not made for streaming"),
        # The window as long as before, so that the weights fit.
        (
            lambda config: config["preprocessor"].update(sample_rate=8000, window_size=0.05, highfreq=None),
            "is for 8000 Hz, not 16000",
        ),
    ],
)
def test_models_for_something_else_are_refused(
    random_sortformer: NemoModel, tmp_path: Path, change: Callable[[dict[str, Any]], None], says: str
) -> None:
    """Features that need the whole recording, or another sample rate: refused before an hour is computed in vain."""
    model = edited(random_sortformer, tmp_path, configured(change))
    with pytest.raises(ModelUnavailable, match=says):
        Sortformer(model, DeviceSettings(device="cpu")).begin()


def test_an_old_compressed_file_loads(random_sortformer: NemoModel, tmp_path: Path) -> None:
    """Older ``.nemo`` are compressed; the answers are the same, and the process stays where it is."""
    before = Path.cwd()
    old = edited(random_sortformer, tmp_path, lambda members: None, "w:gz")
    sound = babble(3.0)
    answers = []
    for model in (old, random_sortformer):
        diarizer = Sortformer(model, DeviceSettings(device="cpu"))
        diarizer.begin()
        answers.append(diarizer.posteriors(len(sound), reading(sound), unheard))
    assert np.array_equal(*answers)
    assert Path.cwd() == before
    shutil.rmtree(tmp_path)


def test_a_missing_extra_is_named() -> None:
    """Without the extra the error says which it is, and how to install it."""
    with pytest.raises(ModelUnavailable, match="extra `models`") as caught:
        module("nemo_that_is_not_here.models")
    assert caught.value.hint == "Install it: `pip install 'dropscribe[models]'`."
