"""A long track as overlapping segments, and the segments' results as one track again: demucs' own scheme, in the memory
of a few segments.

Takes and gives arrays of shape (channels, samples); the arithmetic is that of `demucs.apply.apply_model` with
``split=True, shifts=0, transition_power=1``, in the same order, so the sums are the same to the bit. Knows nothing of
models, files or rates.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Block: TypeAlias = NDArray[np.float32]

OVERLAP = 0.25  # demucs' default


class Segment(NamedTuple):
    """Samples ``start`` to ``stop`` of a track, with what the model wants around them: from ``first``, ``samples`` in
    all, which may begin before the track and end behind it.
    """

    start: int
    stop: int
    first: int
    samples: int

    def trimmed(self, made: Block) -> Block:
        """Of what came out for all ``samples``, the segment's own."""
        before = (self.samples - (self.stop - self.start)) // 2
        return made[:, before : before + self.stop - self.start]


def segments(length: int, segment: int, *, fixed: bool) -> Iterator[Segment]:
    """The segments of a track of ``length`` samples, in order. ``fixed``: the model takes no less than ``segment``
    samples, so a shorter one gets its surroundings, and silence beyond the track, evenly on both sides.
    """
    for start in range(0, length, stride_of(segment)):
        own = min(segment, length - start)
        samples = segment if fixed else own
        yield Segment(start, start + own, start - (samples - own) // 2, samples)


def stride_of(segment: int) -> int:
    return int((1 - OVERLAP) * segment)


class OverlapAdd:
    """Cross-fades segments with triangular weights. Push them in order; each gives what no later one reaches."""

    def __init__(self, length: int, segment: int, channels: int) -> None:
        half = segment // 2
        weight = np.concatenate([np.arange(1, half + 1), np.arange(segment - half, 0, -1)]).astype(np.float32)
        self._weight = weight / weight.max()
        self._length = length
        self._stride = stride_of(segment)
        self._sum = np.zeros((channels, segment), np.float32)  # of the track from `_done` on
        self._weights = np.zeros(segment, np.float32)
        self._done = 0

    def push(self, made: Block) -> Block:
        """The next segment's result, (channels, its samples); gives the samples that are finished."""
        count = made.shape[1]
        self._sum[:, :count] += self._weight[:count] * made
        self._weights[:count] += self._weight[:count]
        ready = min(self._stride, self._length - self._done)
        finished: Block = self._sum[:, :ready] / self._weights[:ready]
        for kept in (self._sum, self._weights):
            kept[..., :-ready] = kept[..., ready:].copy()
            kept[..., -ready:] = 0
        self._done += ready
        return finished
