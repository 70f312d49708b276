"""Who speaks when, as an artifact: posteriors for the words, turns for people.

Takes a diarizer's posteriors, gives JSON of moderate size and back: posteriors in steps of 1/255, which is finer than
any diarizer is right, packed speaker by speaker. Knows nothing of models, words or sound.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.stages.assignment import Turn
from pipeline.types import Frozen, ModelInfo, Warning

ACTIVE = 0.5  # posterior from which on somebody speaks
GAP = 0.25  # s; a shorter pause does not end a turn

_STEPS = 255


class Diarization(Frozen):
    """Artifact of the stage ``diarizing``, of one channel.

    ``model``: None if none was needed. ``step``: seconds between two of ``frames``. ``packed``: the posteriors, in
    steps of 1/255, a byte each, all of one speaker's before the next one's; zlib, base64. ``turns``: when somebody
    speaks, in order of their start; those of several may overlap.
    """

    format: Literal[1] = 1
    model: ModelInfo | None = None
    step: float = Field(gt=0)
    frames: Annotated[int, Field(ge=0)]
    speakers: Annotated[int, Field(ge=0)]
    packed: str
    turns: tuple[Turn, ...] = ()
    warnings: tuple[Warning, ...] = ()

    def posteriors(self) -> NDArray[np.float32]:
        """Shape (frames, speakers), in [0, 1]. ValueError if they are damaged."""
        size = self.frames * self.speakers
        try:
            bytes_ = _unpacked(base64.b64decode(self.packed, validate=True), size)
        except (binascii.Error, zlib.error) as error:
            raise ValueError(f"the posteriors are damaged: {error}") from error
        if len(bytes_) != size:
            raise ValueError(f"there are {len(bytes_)} posteriors, not {size}")
        steps = np.frombuffer(bytes_, np.uint8).reshape(self.speakers, self.frames)
        return (steps.T / np.float32(_STEPS)).astype(np.float32, copy=False)


def diarization(
    posteriors: NDArray[np.floating], step: float, model: ModelInfo | None, warnings: tuple[Warning, ...] = ()
) -> Diarization:
    """``posteriors``: shape (frames, speakers), in [0, 1]. Speakers who are never heard are kept: their columns cost
    nothing, and a doubtful word may be theirs.
    """
    frames, speakers = posteriors.shape
    packer = zlib.compressobj(6)
    packed = b"".join(packer.compress(_quantised(posteriors[:, n]).tobytes()) for n in range(speakers))
    packed += packer.flush()
    return Diarization(
        model=model,
        step=step,
        frames=frames,
        speakers=speakers,
        packed=base64.b64encode(packed).decode("ascii"),
        turns=turns(posteriors, step),
        warnings=warnings,
    )


def turns(posteriors: NDArray[np.floating], step: float) -> tuple[Turn, ...]:
    """When each speaker is at least as likely to speak as not, pauses under `GAP` left out; in order of their start."""
    found: list[Turn] = []
    for speaker in range(posteriors.shape[1]):
        active = np.flatnonzero(posteriors[:, speaker] >= ACTIVE)
        if not len(active):
            continue
        breaks = np.flatnonzero(np.diff(active) * step > GAP + step)
        firsts = active[np.concatenate([[0], breaks + 1])]
        lasts = active[np.concatenate([breaks, [len(active) - 1]])]
        found += [
            Turn(round(first * step, 3), round((last + 1) * step, 3), speaker)
            for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True)
        ]
    return tuple(sorted(found))


def _quantised(column: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.rint(np.clip(column.astype(np.float32), 0.0, 1.0) * _STEPS).astype(np.uint8)


def _unpacked(packed: bytes, size: int) -> bytes:
    """No more than a byte above ``size`` is ever made of them."""
    return zlib.decompressobj().decompress(packed, size + 1)
