"""Load a Whisper: weights in a folder become a model on a device that was tried out, and stay loaded.

Takes a `Model` of the catalog and the device settings; nothing here touches the network. Knows nothing of windows or
requests. Where the model lies may change under a job, when memory runs out: see `pipeline.models.ladder`.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable, Sequence
from functools import partial
from importlib import util
from pathlib import Path
from typing import TypeVar

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel

from pipeline.catalog import Model
from pipeline.devices import DeviceSettings, Gpus, gpus, in_use
from pipeline.errors import ModelUnavailable
from pipeline.models.failures import is_of_the_gpu, is_out_of_memory, reason
from pipeline.models.ladder import Ladder, OnLadder, Rung
from pipeline.types import Warning
from pipeline.weights import NEEDED, check_unchanged

log = logging.getLogger(__name__)

BATCH = {"cpu": 4, "cuda": 16}  # windows at once, where the request does not say
# On a lighter rung, which is for GPUs where the best type could not decode one window: what its smaller weights leave.
LIGHT_BATCH = {"cpu": 4, "cuda": 4}

_BEST = {"cuda": ("float16", "int8_float32"), "cpu": ("int8_float32", "int8")}
_LIGHTER = {"cuda": ("int8_float16", "int8_bfloat16", "int8_float32"), "cpu": ("int8_float32", "int8")}

Item = TypeVar("Item")
Result = TypeVar("Result")


class LoadedWhisper(OnLadder[WhisperModel]):
    """Weights in memory, on the rung of their ladder that fits. `begin` each job; ask for `whisper` each time anew."""

    def __init__(self, ladder: Ladder[WhisperModel], settings: DeviceSettings, look: Callable[[], Gpus] = gpus) -> None:
        super().__init__(ladder)
        self._settings = settings
        self._look = look

    @property
    def whisper(self) -> WhisperModel:
        """The model, where it lies now. A step of `run` may change it. Raises as `Ladder.model` does."""
        return self._ladder.model

    def begin(self) -> None:
        """A job begins, and the model is there for it. Raises as `Ladder.model` does."""
        self._ladder.begin(self._barred())
        _ = self._ladder.model

    def batch(self, asked: int | None) -> int:
        """How many windows are decoded at once now."""
        return self._ladder.batch(asked)

    def run(
        self, windows: Sequence[Item], decode: Callable[[Sequence[Item]], Sequence[Result]], batch: int | None = None
    ) -> list[Result]:
        """``decode``'s results for all windows, in batches that fit; it asks for `whisper` when it is called, and may
        be called again for the same windows. ``batch``: what the request says. `OutOfMemory`, `DeviceLost`.
        """
        return self._ladder.run(windows, lambda _, piece: decode(piece), batch=batch)

    def warnings(self) -> tuple[Warning, ...]:
        """What the reader of the job's transcript must know: it was not computed as well as it would have been."""
        return tuple(
            Warning(
                parameter="model",
                type="degraded",
                message=f"Some of this was computed on the {'GPU' if rung.device == 'cuda' else 'CPU'} as "
                f"{rung.compute_type}: {why}.",
            )
            for rung, why in self._ladder.below
        )

    def _barred(self) -> dict[str, str]:
        """The GPU, if others fill it. Not once the weights lie there: what is in use then is mostly theirs."""
        on = self._ladder.on
        if self._ladder.rung.device != "cuda" or (on is not None and on.device == "cuda"):
            return {}
        return in_use(self._settings, self._look)


def load_whisper(
    model: Model, settings: DeviceSettings | None = None, opening: Callable[[Model, Rung], WhisperModel] | None = None
) -> LoadedWhisper:
    """The weights, loaded on the best rung that has room for them. `ModelUnavailable` if they are missing, damaged or
    not those that were chosen, or if the device cannot be used; `OutOfMemory`.
    """
    settings = settings or DeviceSettings()
    rungs = whisper_rungs(settings)
    ladder = Ladder(rungs, partial((opening or open_whisper), model), _release, why_no_gpu(settings, rungs))
    loaded = LoadedWhisper(ladder, settings)
    loaded.begin()
    return loaded


def open_whisper(model: Model, rung: Rung) -> WhisperModel:
    """The weights on one rung, tried out. `ModelUnavailable` for what is wrong with them; what the device or memory
    is to blame for is raised as the library raises it.
    """
    folder = Path(model.folder or "")
    # With no tokenizer in the folder faster-whisper would ask the hub for one.
    if absent := [name for name in NEEDED if not (folder / name).is_file()]:
        raise ModelUnavailable(f"the model {model.name} is incomplete: {folder} has no {' and no '.join(absent)}")
    check_unchanged(folder, model.revision)
    try:
        whisper = WhisperModel(str(folder), device=rung.device, compute_type=rung.compute_type, local_files_only=True)
        _try_out(whisper)
    except Exception as error:  # the native library and the tokenizer raise whatever they like
        if is_out_of_memory(error) or (rung.device != "cpu" and is_of_the_gpu(error)):
            raise
        raise ModelUnavailable(
            f"the model {model.name} cannot be loaded from {model.folder}: {reason(error)}"
        ) from error
    return whisper


def whisper_rungs(settings: DeviceSettings) -> tuple[Rung, ...]:
    """Best first: the compute type that is asked for or the best, a lighter one, and with ``auto`` the CPU's."""
    gpu = settings.device != "cpu" and _cuda()
    devices = ("cuda", "cpu") if settings.device == "auto" and gpu else (settings.device,)
    return tuple(rung for device in devices for rung in _rungs_on("cpu" if device == "auto" else device, settings))


def why_no_gpu(settings: DeviceSettings, rungs: Sequence[Rung], look: Callable[[], Gpus] = gpus) -> str:
    """Why there is no rung on a GPU although there is a GPU, or a driver that fails; empty if nothing is amiss."""
    if settings.device != "auto" or any(rung.device == "cuda" for rung in rungs):
        return ""
    seen = look()
    if seen.found:
        why = f"the GPU cannot be used (CTranslate2 sees none; the driver supports CUDA {seen.driver})"
    elif seen.broken:
        why = f"the GPU cannot be used ({seen.problem})"
    else:
        return ""
    log.warning("%s: the CPU is used", why)
    return why


def best_rung(device: str, settings: DeviceSettings) -> Rung:
    """Where on the device an engine would put a model. ``device``: ``cpu`` or ``cuda``."""
    return _rungs_on(device, settings)[0]


def _rungs_on(device: str, settings: DeviceSettings) -> tuple[Rung, ...]:
    supported, asked = _supported(device), settings.compute_type
    first = next((t for t in _BEST[device] if t in supported), "float32")
    if asked is not None and (settings.device == device or asked in supported):
        first = asked
    rungs = [Rung(device, first, BATCH[device])]
    lighter = next((t for t in _LIGHTER[device] if t in supported), None)
    if lighter is not None and not first.startswith("int8"):
        rungs.append(Rung(device, lighter, LIGHT_BATCH[device]))
    return tuple(rungs)


def _supported(device: str) -> set[str]:
    """The device's compute types; none if it cannot be used, which loading finds out and says better."""
    try:
        return set(ctranslate2.get_supported_compute_types(device))
    except (RuntimeError, ValueError):
        return set()


def _cuda() -> bool:
    """Whether CTranslate2 sees a GPU; what it needs there is opened."""
    if ctranslate2.get_cuda_device_count() == 0:
        return False
    try:
        preload_cublas()
    except OSError as error:
        log.warning("libcublas of the wheel nvidia-cublas-cu12 cannot be opened: %s", error)
    return True


def preload_cublas() -> tuple[Path, ...]:
    """ctranslate2 opens libcublas.so.12 by name; one that only the wheel nvidia-cublas-cu12 has must be open then.

    Gives the wheel's libraries, opened; none if it is not installed. OSError: one is damaged.
    """
    opened = []
    try:
        spec = util.find_spec("nvidia.cublas")
    except ModuleNotFoundError:
        return ()
    for root in (spec.submodule_search_locations or ()) if spec else ():
        for name in ("libcublasLt.so.12", "libcublas.so.12"):
            library = Path(root) / "lib" / name
            if library.is_file():
                ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
                opened.append(library)
    return tuple(opened)


def _release(whisper: WhisperModel) -> None:
    """Whoever still holds the object: its weights go."""
    whisper.model.unload_model()


def _try_out(whisper: WhisperModel) -> None:
    """One encode: a broken GPU set-up, or weights and features that do not fit, show now and not in the first job."""
    mels = whisper.feature_extractor.mel_filters.shape[0]
    if mels != whisper.model.n_mels:
        raise ValueError(f"preprocessor_config.json gives {mels} mel bands, the weights want {whisper.model.n_mels}")
    whisper.encode(np.zeros((mels, whisper.feature_extractor.nb_max_frames), dtype=np.float32))
