"""Load an HTDemucs: weights in a folder become a model that takes the voices out of stretches of music, and stays
loaded.

Takes a folder of ``config.json`` and ``model.safetensors`` (see `pipeline.models.demucs_convert`) and the device
settings; nothing here unpickles or touches the network. torch and demucs are imported when a model is loaded. Knows
nothing of recordings, files of sound or how stretches are cut. Where the model lies may change under a job, when memory
runs out: see `pipeline.models.ladder`.

Source: S. Rouard, F. Massa, A. Défossez, "Hybrid Transformers for Music Source Separation", ICASSP 2023.
"""

from __future__ import annotations

import gc
import importlib.util
import inspect
import json
import logging
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.devices import DeviceSettings, in_use
from pipeline.errors import ModelUnavailable, PipelineError
from pipeline.models.failures import is_of_the_gpu, is_out_of_memory, reason
from pipeline.models.ladder import Ladder, OnLadder, Rung
from pipeline.types import Warning

log = logging.getLogger(__name__)

CONFIG, WEIGHTS = "config.json", "model.safetensors"
VOICES = "vocals"  # what demucs calls the source that is kept
BATCH = {"cpu": 1, "cuda": 8}  # segments at once; on a CPU more cost memory and gain nothing (see bench/RESULTS.md)

Stretch: TypeAlias = NDArray[np.float32]
"""Shape (channels, samples)."""


class LoadedDemucs(OnLadder[Any]):
    """An HTDemucs in memory, on the rung of its ladder that fits."""

    def __init__(self, arguments: dict[str, Any], ladder: Ladder[Any]) -> None:
        super().__init__(ladder)
        signature = _signature() | arguments
        self.rate: int = int(signature["samplerate"])
        self.channels: int = int(signature["audio_channels"])
        self.segment: int = int(signature["samplerate"] * signature["segment"])  # samples, rounded as demucs does
        self.fixed: bool = bool(signature["use_train_segment"])  # takes stretches of just `segment` samples

    @property
    def device(self) -> str:
        return self._ladder.rung.device

    @property
    def batch(self) -> int:
        """How many stretches are computed at once now."""
        return self._ladder.batch()

    def voices(self, stretches: Sequence[Stretch]) -> list[Stretch]:
        """What is voice in each of the stretches, which have the same shape: (`channels`, up to `segment`), normalised.

        Stretches do not depend on each other. `ModelUnavailable`: the weights give no numbers. `OutOfMemory`,
        `DeviceLost`.
        """
        found = self._ladder.run(stretches, self._step)
        if not all(np.isfinite(one).all() for one in found):
            raise ModelUnavailable("the separator gives no numbers", "Fetch it again.")
        return found

    def warnings(self) -> tuple[Warning, ...]:
        """What the reader of the job's transcript must know of how the voices were separated."""
        return tuple(
            Warning(
                parameter="stemming",
                type="degraded",
                message=f"Voices were separated on the {'GPU' if rung.device == 'cuda' else 'CPU'}: {why}.",
            )
            for rung, why in self._ladder.below
        )

    def _step(self, net: Any, stretches: Sequence[Stretch]) -> list[Stretch]:
        import torch

        with torch.inference_mode():
            mix = torch.from_numpy(np.stack(stretches)).to(self.rung.device)
            found: NDArray[np.float32] = net(mix)[:, net.sources.index(VOICES)].cpu().numpy()
        return list(found)


def load_demucs(
    folder: Path,
    settings: DeviceSettings | None = None,
    opening: Callable[[Path, Rung], Any] | None = None,
    has: Callable[[str], bool] = lambda module: importlib.util.find_spec(module) is not None,
) -> LoadedDemucs:
    """The model in ``folder``, loaded where it fits. ``has``: whether a package is installed.

    `ModelUnavailable`: the extra is not installed, the weights are missing or damaged, or the device cannot be used;
    `OutOfMemory`.
    """
    for module in ("torch", "safetensors", "demucs"):
        if not has(module):
            raise ModelUnavailable(
                f"voices cannot be separated from music without {module}, which is not installed",
                "Install the extra models: `pip install 'dropscribe[models]'`.",
            )
    arguments = read_arguments(folder)
    try:
        settings = settings or DeviceSettings()
        ladder = Ladder[Any](
            _rungs(settings),
            lambda rung: (opening or open_demucs)(folder, rung),
            _release,
            barring=partial(in_use, settings),
        )
        loaded = LoadedDemucs(arguments, ladder)
        loaded.begin()
    except ImportError as error:
        raise ModelUnavailable(
            f"demucs cannot be imported: {reason(error)}",
            "Reinstall the extra models: `pip install 'dropscribe[models]'`.",
        ) from error
    return loaded


def open_demucs(folder: Path, rung: Rung) -> Any:
    """The weights on one rung, tried out there. `ModelUnavailable` for what is wrong with them; what the device or
    memory is to blame for is raised as torch raises it.
    """
    import torch
    from demucs.htdemucs import HTDemucs
    from safetensors.torch import load_file

    arguments = read_arguments(folder)
    if rung.device == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("torch sees no CUDA device")
    try:
        net = HTDemucs(**arguments)
        net.load_state_dict(load_file(folder / WEIGHTS))
        keep_voices(net)
        net = net.to(rung.device).eval()
        if rung.device != "cpu":  # a broken GPU set-up shows now, and not in the first job
            with torch.inference_mode():
                net(torch.zeros(1, net.audio_channels, net.valid_length(net.samplerate), device=rung.device))
    except PipelineError:
        raise
    except Exception as error:  # torch, safetensors and the class's own assertions raise whatever they like
        if is_out_of_memory(error) or (rung.device != "cpu" and is_of_the_gpu(error)):
            raise
        raise ModelUnavailable(
            f"the model {folder.name} cannot be loaded from {folder}: {reason(error)}",
            "Convert it again from the weights that demucs' authors publish.",
        ) from error
    return net


def keep_voices(net: Any) -> None:
    """Cut off what makes the other sources: the last layers' channels and a Fourier transform each. The voices stay
    what they were, to the bit. A net whose sources depend on each other stays whole.
    """
    from demucs.hdemucs import HDecLayer
    from torch import nn

    last = (net.decoder[-1], net.tdecoder[-1])
    if not net.cac or not all(isinstance(one, HDecLayer) and isinstance(one.norm2, nn.Identity) for one in last):
        return
    nth = net.sources.index(VOICES)
    for convolution in (one.conv_tr for one in last):
        each = convolution.out_channels // len(net.sources)
        kept = slice(nth * each, (nth + 1) * each)
        convolution.weight = nn.Parameter(convolution.weight[:, kept].detach().clone())
        convolution.bias = nn.Parameter(convolution.bias[kept].detach().clone())
        convolution.out_channels = each
    net.sources = [VOICES]


def read_arguments(folder: Path) -> dict[str, Any]:
    """The constructor's arguments out of ``config.json``. `ModelUnavailable` if they are not there or make no HTDemucs
    with a source of voices.
    """
    try:
        if not (folder / WEIGHTS).is_file():
            raise ValueError(f"there is no {WEIGHTS}")
        config = json.loads((folder / CONFIG).read_bytes(), object_hook=_plain)
        if not isinstance(config, dict) or config.get("class") != "HTDemucs":
            raise ValueError(f"{CONFIG} is not of an HTDemucs")
        arguments = config.get("arguments")
        sources = arguments.get("sources") if isinstance(arguments, dict) else None
        if not isinstance(arguments, dict) or not isinstance(sources, list) or VOICES not in sources:
            raise ValueError(f"{CONFIG} names no source {VOICES!r}")
    except (OSError, ValueError) as error:
        raise ModelUnavailable(
            f"the weights in {folder} are no HTDemucs that can be loaded: {getattr(error, 'strerror', '') or error}",
            "Make the folder with pipeline.models.demucs_convert.",
        ) from error
    return arguments


def write_arguments(folder: Path, arguments: dict[str, Any]) -> None:
    body = {"class": "HTDemucs", "arguments": arguments}
    (folder / CONFIG).write_text(json.dumps(body, sort_keys=True, indent=1, default=_coded) + "\n")


def _rungs(settings: DeviceSettings) -> tuple[Rung, ...]:
    """The GPU and, with ``auto``, the CPU behind it. In float32: half precision was never listened to."""
    import torch

    if settings.device == "auto":
        devices: tuple[str, ...] = ("cuda", "cpu") if torch.cuda.is_available() else ("cpu",)
    else:
        devices = (settings.device,)
    return tuple(Rung(device, "float32", BATCH[device]) for device in devices)


def _release(net: Any) -> None:
    """Whoever still holds the object: its weights go."""
    import torch

    cuda: Any = torch.cuda
    net.to("meta")
    gc.collect()
    if cuda.is_initialized():
        cuda.empty_cache()


def _signature() -> dict[str, Any]:
    """The constructor's defaults."""
    from demucs.htdemucs import HTDemucs

    return {name: one.default for name, one in inspect.signature(HTDemucs.__init__).parameters.items()}


def _plain(value: dict[str, Any]) -> Any:
    return Fraction(*value["fraction"]) if set(value) == {"fraction"} else value


def _coded(value: object) -> Any:
    """demucs gives segments as fractions: 39/5 s."""
    if isinstance(value, Fraction):
        return {"fraction": [value.numerator, value.denominator]}
    raise TypeError(f"an HTDemucs' arguments have no {type(value).__name__}")
