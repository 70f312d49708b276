"""Tiny HTDemucs of demucs' own class with weights by chance, as folders that load; and what demucs itself makes of
a sound with them.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.models.demucs import CONFIG, WEIGHTS, write_arguments
from pipeline.records import hash_of, revision
from pipeline.stages.audio import Audio
from pipeline.stages.decode import decode

RATE = 44_100
ARGUMENTS: dict[str, Any] = {
    "sources": ["drums", "bass", "other", "vocals"], "channels": 8, "t_layers": 1, "t_heads": 2, "bottom_channels": 32,
    "segment": Fraction(39, 40),
}  # fmt: skip


def tiny_net(seed: int = 0, **changed: Any) -> Any:
    """Its weights are by chance, but nothing cancels out: every source is about as loud as the mix."""
    import torch
    from demucs.htdemucs import HTDemucs

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return HTDemucs(**{**ARGUMENTS, **changed}).eval()


def save_net(net: Any, folder: Path, **changed: Any) -> Path:
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    write_arguments(folder, {**ARGUMENTS, **changed})
    save_file(net.state_dict(), folder / WEIGHTS)
    return folder


def revision_of(folder: Path) -> str:
    """Of the weights and the arguments in a folder."""
    return revision("separator", WEIGHTS, {name: hash_of(folder / name) for name in (CONFIG, WEIGHTS)})


def by_demucs(net: Any, sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """What demucs' own Separator makes of (channels, samples): the voices of each channel."""
    import torch
    from demucs.apply import apply_model

    wav = torch.from_numpy(np.ascontiguousarray(sound))
    ref = wav.mean(0)
    mean, std = ref.mean(), ref.std() + 1e-8
    with torch.no_grad():
        out = apply_model(net, ((wav - mean) / std)[None], shifts=0, split=True, overlap=0.25)[0] * std + mean
    found: NDArray[np.float32] = out[net.sources.index("vocals")].numpy()
    return found


def decoded(source: Path, folder: Path, **how: Any) -> Audio:
    folder.mkdir(parents=True)
    given = {"per_channel": False, "max_duration": None} | how
    return decode(source, folder, report=lambda done, total: None, opened=lambda claimed, channels: None, **given)


def whole(audio: Audio) -> NDArray[np.float32]:
    """Every track: shape (tracks, samples)."""
    return np.stack([audio.read(track, 0, audio.samples) for track in range(audio.tracks)])
