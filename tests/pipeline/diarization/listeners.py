"""What the tests of diarization share: sound on disk, diarizers that need no weights, and how wrong a result is."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.models.ladder import Below
from pipeline.stages.audio import Audio, TrackWriter
from pipeline.types import SAMPLE_RATE, MediaInfo, ModelInfo

INFO = ModelInfo(name="known", version="1", arch="none", revision="0" * 64)


def on_disk(folder: Path, sound: NDArray[np.float32], tracks: int = 1) -> Audio:
    """The sound as the stages read it, the same in each track."""
    folder.mkdir(parents=True, exist_ok=True)
    with TrackWriter(folder, tracks) as writer:
        for start in range(0, len(sound), 1 << 20):
            pcm = np.clip(sound[start : start + (1 << 20)] * 32768, -32768, 32767).astype(np.int16)
            writer.write(np.repeat(pcm[:, None], tracks, axis=1))
    seconds = len(sound) / SAMPLE_RATE
    return Audio(folder, MediaInfo(duration=seconds, channels=tracks, container="wav", codec="pcm"), tracks, len(sound))


def reading(sound: NDArray[np.float32]) -> Callable[[int, int], NDArray[np.float32]]:
    return lambda start, stop: sound[max(0, start) : stop]


def unheard(done: float, total: float | None) -> None:
    """A report that goes nowhere."""


class Known:
    """A diarizer that gives what it was made with, and notes what it was asked."""

    info = INFO
    step = 0.08

    def __init__(self, posteriors: NDArray[np.float32], below: Sequence[Below] = ()) -> None:
        self.given = posteriors
        self.below = tuple(below)
        self.asked: list[dict[str, Any]] = []
        self.begun = 0

    def begin(self) -> None:
        self.begun += 1

    def posteriors(self, samples: int, read: Any, *rest: Any, **bounds: Any) -> NDArray[Any]:
        assert self.begun
        read(0, samples)
        self.asked.append({"samples": samples, "spans": rest[0] if len(rest) > 1 else None, **bounds})
        rest[-1](1.0, 1.0)
        return self.given


def error_rate(found: NDArray[Any], truth: NDArray[np.float32], collar: int = 0, permuted: bool = True) -> float:
    """Diarization error: seconds missed, made up or given to the wrong person, of all that is spoken, overlap included.

    Both of shape (frames, speakers); ``collar``: frames on both sides of each true edge that do not count. The best
    assignment of those found to those that there are, or, not ``permuted``, one to one.
    """
    frames = min(len(found), len(truth))
    columns = max(found.shape[1], truth.shape[1])
    heard, said = (
        np.pad(np.asarray(one[:frames]) >= 0.5, ((0, 0), (0, columns - one.shape[1]))) for one in (found, truth)
    )
    counted = np.ones(frames, np.bool_)
    for edge in np.flatnonzero((said[1:] != said[:-1]).any(axis=1)) + 1 if collar else ():
        counted[max(0, edge - collar) : edge + collar] = False
    heard, said = heard[counted], said[counted]
    same = said.astype(np.int64).T @ heard.astype(np.int64)
    if permuted:
        right = max(same[range(columns), order].sum() for order in itertools.permutations(range(columns)))
    else:
        right = np.trace(same)
    people, found_people = said.sum(axis=1), heard.sum(axis=1)
    wrong = np.maximum(people, found_people).sum() - right
    return float(wrong / max(1, people.sum()))
