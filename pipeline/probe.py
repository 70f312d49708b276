"""``python -m pipeline probe``: what this machine can compute with, found out by trying. A short process of its own.

Takes device settings and where models are; gives a `Machine`. It opens CUDA's libraries and puts a model onto each
device, so it may use gigabytes, and a broken driver may take the process down: whoever asks starts a child for it.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.catalog import Model, on_disk
from pipeline.devices import DeviceSettings, Gpus, OpenLibrary, gpus
from pipeline.errors import PipelineError, sentence
from pipeline.machine import KnownModel, Library, Machine, Trial
from pipeline.models.failures import reason

CUBLAS = ("libcublasLt.so.12", "libcublas.so.12")
_MAPS = Path("/proc/self/maps")


def probe(
    settings: DeviceSettings,
    choose: Callable[[], Model],
    models: str | None,
    home: Path,
    look: Callable[[], Gpus] = gpus,
) -> Machine:
    """Everything, tried out. ``choose``: gives the model to try; ``models``, ``home``: as in `catalog.resolve`.

    Raises nothing for what is wrong with the machine: that is what is told.
    """
    import ctranslate2

    found = look()
    libraries = cuda_libraries()
    kinds = {device: _compute_types(device) for device in ("cpu", "cuda")}
    trials: tuple[Trial, ...] = ()
    problem = ""
    try:
        model = choose()
        if model.backend == "whisper":
            trials = tuple(try_out(model, device, settings) for device in _devices(settings, found))
        else:
            problem = "there is no Whisper model to try"
    except PipelineError as error:
        problem = sentence(error.message, error.hint)
    return Machine(
        gpus=found,
        libraries=libraries,
        ctranslate2=ctranslate2.__version__,
        compute_types={device: supported for device, supported in kinds.items() if supported},
        models=known_models(models, home),
        trials=trials,
        problem=problem,
    )


def try_out(model: Model, device: str, settings: DeviceSettings) -> Trial:
    """Load the model on the device, as an engine would, and encode."""
    import numpy as np

    from pipeline.models.loading import best_rung, open_whisper

    rung = best_rung(device, settings)
    trial = Trial(model=model.name, device=device, compute_type=rung.compute_type)
    started = time.perf_counter()
    try:
        whisper = open_whisper(model, rung)
        loaded = time.perf_counter()
        features = np.zeros((whisper.model.n_mels, whisper.feature_extractor.nb_max_frames), dtype=np.float32)
        whisper.encode(features)  # waits for the GPU
        ended = time.perf_counter()
    except PipelineError as error:
        return trial.model_copy(update={"problem": sentence(error.message, error.hint)})
    except Exception as error:  # native libraries raise whatever they like, and this is what is asked for
        return trial.model_copy(update={"problem": reason(error)})
    return trial.model_copy(
        update={"load_seconds": round(loaded - started, 3), "encode_seconds": round(ended - loaded, 3)}
    )


def cuda_libraries(
    open_library: OpenLibrary = ctypes.CDLL, wheels: Sequence[Path] | None = None
) -> tuple[Library, ...]:
    """What CTranslate2 opens by name: from the wheel nvidia-cublas-cu12, or else where the system's loader finds it."""
    from pipeline.models.loading import preload_cublas

    problem = ""
    try:
        opened = preload_cublas() if wheels is None else tuple(wheels)
    except OSError as error:  # a damaged wheel
        opened, problem = (), reason(error)
    of_wheel = {path.name: path for path in opened}
    return tuple(_library(name, of_wheel.get(name), open_library, problem) for name in CUBLAS)


def _library(name: str, wheel: Path | None, open_library: OpenLibrary, problem: str) -> Library:
    try:
        opened = open_library(str(wheel or name))
    except OSError as error:
        return Library(name=name, source=None, problem=problem or reason(error))
    path = str(wheel) if wheel else _mapped(name)
    return Library(name=name, source="wheel" if wheel else "system", path=path, version=_version(opened))


def _version(library: Any) -> str:
    """``12.8.4``, by cublasGetProperty (cublas_api.h; libraryPropertyType: major, minor, patch)."""
    parts = []
    try:
        for part in range(3):
            number = ctypes.c_int()
            if library.cublasGetProperty(ctypes.c_int(part), ctypes.byref(number)) != 0:
                return ""
            parts.append(str(number.value))
    except AttributeError:  # cublasLt has it under another name
        return _version_of_lt(library)
    return ".".join(parts)


def _version_of_lt(library: Any) -> str:
    """By cublasLtGetVersion (cublasLt.h): 120804 for 12.8.4."""
    try:
        library.cublasLtGetVersion.restype = ctypes.c_size_t
        number = int(library.cublasLtGetVersion())
    except AttributeError:
        return ""
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def _mapped(name: str) -> str:
    """Where the loader found a library: by this process's memory map; empty if the system does not tell."""
    try:
        lines = _MAPS.read_text().splitlines()
    except OSError:
        return ""
    stem = name.split(".so")[0] + ".so"
    return next((line.split(maxsplit=5)[5] for line in lines if f"/{stem}" in line), "")


def known_models(models: str | None, home: Path) -> tuple[KnownModel, ...]:
    """Every Whisper on this machine, best first; none where the folder of models cannot be read."""
    try:
        found = on_disk(models, home)
    except PipelineError:  # said by whoever resolves a name
        return ()
    return tuple(
        KnownModel(name=model.name, version=model.version, folder=str(model.folder), size=_bytes(Path(model.folder)))
        for model in found
        if model.folder is not None
    )


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def _compute_types(device: str) -> tuple[str, ...]:
    import ctranslate2

    try:
        return tuple(sorted(ctranslate2.get_supported_compute_types(device)))
    except (RuntimeError, ValueError):
        return ()


def _devices(settings: DeviceSettings, found: Gpus) -> tuple[str, ...]:
    """Those that a job may come to: with ``auto`` the GPU, if there is one, and the CPU."""
    if settings.device != "auto":
        return (settings.device,)
    return ("cuda", "cpu") if found.found else ("cpu",)


def told(machine: Machine) -> str:
    """For people: a line for each thing."""
    lines = [f"CTranslate2 {machine.ctranslate2}"]
    lines += [f"GPU {gpu.described}" for gpu in machine.gpus.found]
    if machine.gpus.problem:
        lines.append(f"GPUs: {machine.gpus.problem}")
    for one in machine.libraries:
        found = f"{one.version} of the {one.source}, {one.path}" if one.source else f"not found: {one.problem}"
        lines.append(f"{one.name}: {found}")
    lines += [f"compute types of {device}: {', '.join(kinds)}" for device, kinds in machine.compute_types.items()]
    lines += [f"model {model.name} ({model.version}): {model.folder}" for model in machine.models]
    lines += [_line_of(trial) for trial in machine.trials]
    if machine.problem:
        lines.append(f"no model was tried: {machine.problem}")
    return "\n".join(lines)


def _line_of(trial: Trial) -> str:
    where = f"{trial.model} on {trial.device} as {trial.compute_type}"
    if trial.problem:
        return f"{where}: {trial.problem}"
    return f"{where}: loaded in {trial.load_seconds} s, 30 s encoded in {trial.encode_seconds} s"
