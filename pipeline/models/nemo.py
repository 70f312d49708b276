"""A ``.nemo`` file to a model of NVIDIA's NeMo, ready to compute on a device.

Takes the file and the class that is in it, gives the model. A ``.nemo`` is a tar with a configuration and a pickled
checkpoint. Both may come from anywhere, so neither runs code: the checkpoint is read as weights alone, and the
configuration may name the listed classes alone. NeMo's own ``restore_from`` leaves the first to an environment
variable, and changes the process's working directory, which other threads use. Knows nothing of sound.

NeMo takes 12 to 20 s to import, so that happens when the first model is loaded.
"""

from __future__ import annotations

import importlib
import logging
import os
import pickle
import tarfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.devices import DeviceSettings
from pipeline.errors import ModelUnavailable
from pipeline.models.failures import is_of_the_gpu, is_out_of_memory, reason
from pipeline.models.ladder import Rung
from pipeline.types import SAMPLE_RATE, Frozen, ModelInfo

CONFIG, WEIGHTS = "model_config.yaml", "model_weights.ckpt"
EXTRA_HINT = "Install it: `pip install 'dropscribe[models]'`."

_LONGEST_CONFIG = 16 << 20  # bytes; real ones have some 10 kB, or 300 kB with the names of 7,000 speakers
# Of training: what a finished model does not need, and would load data for.
_TRAINING = ("train_ds", "validation_ds", "test_ds", "optim", "spec_augment", "augmentor", "trainer", "exp_manager")
_IN_ARCHIVE = "nemo:"  # before the name of a file that came with the configuration
_NAMES_A_CLASS = ("_target_", "target", "cls")

_ASR = "nemo.collections.asr."
_PREPROCESSOR = f"{_ASR}modules.AudioToMelSpectrogramPreprocessor"


class NemoModel(Frozen):
    """A ``.nemo`` file. ``info`` names it in results; its revision goes into the stage's recipe."""

    path: Path
    info: ModelInfo


@dataclass(frozen=True, slots=True)
class Kind:
    """A class of ``nemo.collections.asr.models``, and the classes that its configuration may name. ``purpose``: what
    cannot be done without it.
    """

    name: str
    parts: frozenset[str]
    purpose: str = "diarization"


SORTFORMER = Kind(
    "SortformerEncLabelModel",
    frozenset(
        {
            _PREPROCESSOR,
            f"{_ASR}modules.ConformerEncoder",
            f"{_ASR}modules.sortformer_modules.SortformerModules",
            f"{_ASR}modules.transformer.transformer_encoders.TransformerEncoder",
            f"{_ASR}losses.bce_loss.BCELoss",
        }
    ),
)
SPEAKERS = Kind(
    "EncDecSpeakerLabelModel",
    frozenset(
        {
            _PREPROCESSOR,
            f"{_ASR}modules.ConvASREncoder",
            f"{_ASR}modules.ECAPAEncoder",
            f"{_ASR}modules.SpeakerDecoder",
            f"{_ASR}losses.angularloss.AngularSoftmaxLoss",
            "nemo.collections.common.losses.CrossEntropyLoss",
        }
    ),
)


def rungs(
    settings: DeviceSettings, cpu_batch: int = 1, gpu_batch: int = 1, purpose: str = "diarization"
) -> tuple[Rung, ...]:
    """The GPU, if there is one that torch can use and the settings allow it, then the CPU. `ModelUnavailable`."""
    gpu = settings.device != "cpu" and bool(module("torch", purpose).cuda.is_available())
    devices = {"cpu": ["cpu"], "cuda": ["cuda"], "auto": ["cuda", "cpu"] if gpu else ["cpu"]}[settings.device]
    return tuple(Rung(device, "float32", gpu_batch if device == "cuda" else cpu_batch) for device in devices)


def release(model: Any) -> None:
    """Let go of a model's memory, whoever still holds it."""
    on_gpu = model.device.type == "cuda"
    model.to("meta")
    if on_gpu:
        module("torch").cuda.empty_cache()


def load(model: NemoModel, kind: Kind, rung: Rung) -> Any:
    """The model, for inference, on the rung's device. `ModelUnavailable` for a file that is missing, damaged or not
    what it should be, and for a missing extra; what memory or the GPU is to blame for is raised as torch raises it.
    """
    models = module("nemo.collections.asr.models", kind.purpose)
    path = model.path
    try:
        with tarfile.open(path) as tar, TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about how NeMo uses it
            config, weights = _config(tar, kind, Path(folder)), _weights(tar)
            built = getattr(models, kind.name)(cfg=config)
            built.load_state_dict(weights)
            return built.eval().requires_grad_(False).to(rung.device)
    except ModelUnavailable:
        raise
    except Exception as error:  # a damaged file makes tarfile, yaml, torch and NeMo raise whatever they like
        if is_out_of_memory(error) or (rung.device != "cpu" and is_of_the_gpu(error)):
            raise
        raise ModelUnavailable(
            f"the model {model.info.name} cannot be loaded from {path}: {_why(error, kind)}",
            "Fetch it again: the file is damaged, or another kind of model.",
        ) from error


def module(name: str, purpose: str = "diarization") -> Any:
    """A module of the extra, imported in silence. `ModelUnavailable` where the extra is not installed, which says what
    wants it.
    """
    # A progress bar for each call belongs into nobody's log; tqdm reads this when it is imported.
    os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = importlib.import_module(name)
            if name.startswith("nemo."):  # not by NeMo's own setLevel: that sets handlers, others' among them
                logging.getLogger("nemo_logger").setLevel(logging.ERROR)
            return found
    except ImportError as error:
        missing = error.name or name
        raise ModelUnavailable(
            f"{purpose} needs the extra `models`, which is not installed here ({missing} is missing)", EXTRA_HINT
        ) from error


def configuration(model: NemoModel) -> dict[str, Any]:
    """What the file says that it is: data, of which nothing is made. `ModelUnavailable`."""
    try:
        with tarfile.open(model.path) as tar:
            return _read_config(tar)
    except Exception as error:
        raise ModelUnavailable(
            f"the model {model.info.name} cannot be read from {model.path}: {reason(error).rstrip(':')}",
            "Fetch it again: the file is damaged, or no model of NeMo's.",
        ) from error


def checked_rate(model: Any, name: str) -> None:
    """`ModelUnavailable` if the model wants another sample rate than the pipeline has."""
    rate = int(model.cfg.preprocessor.get("sample_rate", SAMPLE_RATE))
    if rate != SAMPLE_RATE:
        raise ModelUnavailable(f"the model {name} is for {rate} Hz, not {SAMPLE_RATE}", "Use another model.")


def _config(tar: tarfile.TarFile, kind: Kind, folder: Path) -> Any:
    """For the model's class; the files that it names lie in ``folder`` then."""
    config = {key: value for key, value in _read_config(tar).items() if key not in (*_TRAINING, "target")}
    if strange := sorted(set(_named(config)) - kind.parts):
        raise ValueError(f"{CONFIG} names {strange[0]}, which is no part of a {kind.name}")
    return module("omegaconf").OmegaConf.create(_with_files(config, tar, folder))


def _read_config(tar: tarfile.TarFile) -> dict[str, Any]:
    import yaml  # type: ignore[import-untyped]

    member = _member(tar, CONFIG)
    if member.size > _LONGEST_CONFIG:
        raise ValueError(f"{CONFIG} has {member.size} bytes")
    loaded = yaml.safe_load(_opened(tar, member).read())
    if not isinstance(loaded, dict):
        raise ValueError(f"{CONFIG} is no configuration")
    return loaded


def _with_files(value: Any, tar: tarfile.TarFile, folder: Path) -> Any:
    """The configuration with the files of the archive that it names (a tokenizer's), which are unpacked for it."""
    if isinstance(value, dict):
        return {key: _with_files(one, tar, folder) for key, one in value.items()}
    if isinstance(value, list):
        return [_with_files(one, tar, folder) for one in value]
    if not isinstance(value, str) or not value.startswith(_IN_ARCHIVE):
        return value
    name = value.removeprefix(_IN_ARCHIVE)
    path = folder / Path(name).name  # whatever it is called, nowhere else
    path.write_bytes(_opened(tar, _member(tar, name)).read())
    return str(path)


def _named(config: Any) -> Iterator[str]:
    """The classes that a configuration names, as far as NeMo or Hydra would make something of them."""
    if isinstance(config, Mapping):
        for key, value in config.items():
            if key in _NAMES_A_CLASS:
                yield str(value)
            yield from _named(value)
    elif isinstance(config, Sequence) and not isinstance(config, str):
        for value in config:
            yield from _named(value)


def _weights(tar: tarfile.TarFile) -> Any:
    # Said here and not left to a default: a default yields to TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD.
    return module("torch").load(_opened(tar, _member(tar, WEIGHTS)), map_location="cpu", weights_only=True)


def _member(tar: tarfile.TarFile, name: str) -> tarfile.TarInfo:
    for member in tar:
        if member.isfile() and member.name.removeprefix("./") == name:
            return member
    raise ValueError(f"there is no {name} in it")


def _opened(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Any:
    file = tar.extractfile(member)
    assert file is not None  # of a regular file
    return file


def _why(error: Exception, kind: Kind) -> str:
    if isinstance(error, pickle.UnpicklingError):
        return "its checkpoint holds more than weights"
    if isinstance(error, RuntimeError) and "state_dict" in str(error):
        return f"its weights are not those of a {kind.name} of its configuration"
    return reason(error)
