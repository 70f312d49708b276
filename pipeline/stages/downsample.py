"""Separated sound at a model's rate, block by block, becomes int16 at 16 kHz: on the GPU by torchaudio, else by libav.

Takes blocks of shape (tracks, samples) in [-1, 1], gives blocks of shape (samples, tracks), in the memory of one block.
libav's resampler is the one that recordings are decoded with. Knows nothing of models or files.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.models.failures import reason
from pipeline.stages.overlap import Block
from pipeline.stages.resample import Run
from pipeline.types import SAMPLE_RATE

log = logging.getLogger(__name__)

_CONTEXT = 0.05  # s around a block that its edges are computed from: more than any filter here reaches
_BLOCK = 10.0  # s resampled at a time
_LOWPASS_WIDTH = 32  # zero crossings of torchaudio's filter: its default of 6 lets through what aliases into sibilants
_FULL_SCALE = 32768.0

Pcm = NDArray[np.int16]
Convert = Callable[[Block], Block]
"""(tracks, samples) at one rate to (tracks, samples) at another, as if there were silence on both sides."""


class Downsampling(Protocol):
    def push(self, block: Block) -> Iterator[Pcm]:
        """Take the next block; gives what is ready."""

    def drain(self) -> Iterator[Pcm]:
        """What is left; it is over then."""


def downsampling(rate: int, tracks: int, device: str) -> Downsampling:
    """The resampler for sound that was computed on ``device``; what falls back is logged."""
    if device == "cuda" and rate != SAMPLE_RATE:
        try:
            return ByBlocks(_torchaudio(rate), rate, tracks)
        except (ImportError, OSError, RuntimeError, AssertionError) as error:
            # One that was built for another torch fails to open; a torch without CUDA asserts.
            log.warning("torchaudio cannot be used (%s): voices are resampled on the CPU, by libav", reason(error))
    return ByLibav(rate, tracks)


class ByLibav:
    def __init__(self, rate: int, tracks: int) -> None:
        self._rate = rate
        self._tracks = tracks
        self._run: Run | None = None

    def push(self, block: Block) -> Iterator[Pcm]:
        if not block.shape[1]:
            return
        layout = {1: "mono", 2: "stereo"}.get(self._tracks, f"{self._tracks} channels")
        packed = np.ascontiguousarray(block.T, np.float32).reshape(1, -1)
        # PyAV's own conversions take planes, of which libav's list holds eight.
        frame: Any = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
        frame.sample_rate = self._rate
        if self._run is None:
            self._run = Run(frame, self._tracks)
        yield from self._run.push(frame)

    def drain(self) -> Iterator[Pcm]:
        if self._run is not None:
            yield from self._run.drain()


class ByBlocks:
    """A resampler of whole arrays, applied to blocks that overlap: the same samples as over the whole at once, if the
    resampler's filter reaches no further than 50 ms.
    """

    def __init__(self, convert: Convert, rate: int, tracks: int) -> None:
        common = math.gcd(rate, SAMPLE_RATE)
        self._convert = convert
        self._down, self._up = rate // common, SAMPLE_RATE // common  # so many samples in, so many out
        self._context = self._down * math.ceil(_CONTEXT * rate / self._down)
        self._least = self._down * math.ceil(_BLOCK * rate / self._down)
        self._held = np.zeros((tracks, self._context), np.float32)  # the context before, and what is to come

    def push(self, block: Block) -> Iterator[Pcm]:
        self._held = np.concatenate([self._held, block], axis=1)
        while self._held.shape[1] >= self._least + 2 * self._context:
            yield self._converted(self._least)

    def drain(self) -> Iterator[Pcm]:
        left = self._held.shape[1] - self._context
        if left:
            whole = self._down * math.ceil(left / self._down)
            self._held = np.pad(self._held, ((0, 0), (0, whole - left + self._context)))
            yield self._converted(whole)[: math.ceil(left * self._up / self._down)]

    def _converted(self, samples: int) -> Pcm:
        """The next ``samples``, a multiple of `_down`, which are dropped then."""
        made = self._convert(self._held[:, : samples + 2 * self._context])
        self._held = self._held[:, samples:]
        first = self._context * self._up // self._down
        own = made[:, first : first + samples * self._up // self._down]
        pcm: Pcm = np.clip(np.rint(own * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16).T
        return pcm


def _torchaudio(rate: int) -> Convert:
    import torch
    from torchaudio.transforms import Resample

    resample: Any = Resample(rate, SAMPLE_RATE, lowpass_filter_width=_LOWPASS_WIDTH).to("cuda")

    def convert(block: Block) -> Block:
        with torch.inference_mode():
            made: Block = resample(torch.from_numpy(np.ascontiguousarray(block)).to("cuda")).cpu().numpy()
        return made

    return convert
