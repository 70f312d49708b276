"""How much of each speaker is in each word, from a diarizer's posteriors or from its turns.

Takes words' times and one speaker's frames or turns at a time, so that memory does not grow with the speakers; gives a
number for each word. A cumulative sum makes the work linear. Knows nothing of texts, or of which speaker wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Frames: TypeAlias = NDArray[np.float32]

RASTER = 0.04  # s; between two frames of rasterised turns
EDGE = 0.1  # s; a turn's edges are known no better: presence falls from 1 to 0 over as much, half inside, half outside
ACTIVE = 0.5  # posterior from which on somebody speaks
UNHEARD = 0.1  # mean posterior below which nobody speaks in a word, and the nearest turn takes it
NEAREST = 0.25  # what the nearest turn counts as


class Turn(NamedTuple):
    """Somebody speaks; seconds, end > start. ``speaker``: a number of the diarizer's own."""

    start: float
    end: float
    speaker: int


@dataclass(frozen=True, slots=True)
class Presence:
    """One speaker, in n words. ``mean``: of the posterior over the word, in [0, 1]; ``distance``: seconds from the
    word's middle to the nearest frame in which the speaker is active, infinite if there is none. Shapes (n,).
    """

    mean: Floats
    distance: Floats


def presence(frames: Frames, step: float, starts: Floats, ends: Floats) -> Presence:
    """``frames``: posteriors, shape (T,), one every ``step`` seconds; after the last, nobody is heard. Words are
    longer than nothing.
    """
    heard = np.clip(np.nan_to_num(frames), 0.0, 1.0)
    sums = np.concatenate([[0.0], np.cumsum(heard, dtype=np.float64)])
    mean = (_up_to(ends / step, heard, sums) - _up_to(starts / step, heard, sums)) * step / (ends - starts)
    active = np.flatnonzero(heard >= ACTIVE)
    if not len(active):
        return Presence(mean, np.full(len(starts), np.inf))
    middles = (starts + ends) / 2
    after = np.searchsorted(active, middles / step)
    left = np.where(after > 0, middles - (active[np.maximum(after - 1, 0)] + 1) * step, np.inf)
    right = np.where(after < len(active), active[np.minimum(after, len(active) - 1)] * step - middles, np.inf)
    return Presence(mean, np.maximum(0.0, np.minimum(left, right)))


def _up_to(at: Floats, heard: Frames, sums: Floats) -> Floats:
    """The sum of what is heard before ``at``, in frames and parts of frames; ``sums[t]`` is that before frame t."""
    if not len(heard):
        return np.zeros(len(at))
    whole = np.minimum(at.astype(np.intp), len(heard) - 1)
    return np.asarray(sums[whole] + np.minimum(at - whole, 1.0) * heard[whole])


def with_nearest(mean: Floats, distance: Floats) -> Floats:
    """``mean`` of all speakers, shape (n, speakers), where a word in which nobody is heard has something of the nearest
    speaker: its own turn lies beside it.
    """
    found = mean.copy()
    lost = np.flatnonzero((mean.max(axis=1) < UNHEARD) & np.isfinite(distance).any(axis=1))
    found[lost, distance[lost].argmin(axis=1)] = NEAREST
    return found


def rasterised(turns: Iterable[Turn], until: float) -> Iterator[Frames]:
    """Frames of `RASTER` seconds to ``until`` at least, for one speaker after another, by their numbers.

    Turns of one speaker that meet leave no dip; where they overlap there is more than 1, which `presence` clips.
    """
    by_speaker: dict[int, list[Turn]] = {}
    for turn in turns:
        by_speaker.setdefault(turn.speaker, []).append(turn)
        until = max(until, turn.end)
    for _, own in sorted(by_speaker.items()):
        heard = np.zeros(int(until / RASTER) + 2, dtype=np.float32)
        for turn in own:
            first, stop = max(0, int((turn.start - EDGE) / RASTER)), int((turn.end + EDGE) / RASTER) + 1
            middles = (np.arange(first, min(stop, len(heard))) + 0.5) * RASTER
            rise, fall = (middles - turn.start) / EDGE + 0.5, (turn.end - middles) / EDGE + 0.5
            heard[first:stop] += np.clip(np.minimum(rise, fall), 0.0, 1.0).astype(np.float32)
        yield heard
