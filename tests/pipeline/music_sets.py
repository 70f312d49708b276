"""Recordings with and without music, synthetic but for the speech in tests/data and examples, and how well the
detector tells them apart.

The detector was tuned on other seeds and voices.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.stages.music import Music, music
from pipeline.types import MediaInfo
from tests.pipeline import synthetic_sound as made
from tests.pipeline.demucs_rig import decoded
from tests.pipeline.media import DATA, JFK

RATE = 16_000
RATIOS = (0.0, 6.0, 12.0)  # dB of speech over music or noise
INFO = MediaInfo(duration=1, channels=1, container="wav", codec="pcm_s16le")


class InMemory:
    """As much of `Audio` as the detector takes, as int16 would hold it. Counts what is read at once."""

    warnings = ()
    rate = RATE
    info = INFO

    def __init__(self, *tracks: NDArray[np.float64]) -> None:
        self._tracks = [(np.rint(np.clip(one, -1, 1) * 32767) / 32768).astype(np.float32) for one in tracks]
        self.tracks = len(tracks)
        self.samples = len(tracks[0])
        self.most = 0

    def read(self, track: int, start: int, stop: int) -> NDArray[np.float32]:
        self.most = max(self.most, stop - start)
        return self._tracks[track][max(0, start) : stop]


def judged(*tracks: NDArray[np.float64]) -> Music:
    return music(InMemory(*tracks), lambda done, total: None)  # type: ignore[arg-type]


class Case(NamedTuple):
    """``kind``: of the music or noise; ``ratio``: of speech over it in dB, None for none of either."""

    kind: str
    ratio: float | None
    is_music: bool
    sound: NDArray[np.float64]


def cases(count: int, seconds: float = 30.0) -> Iterator[Case]:
    """``count`` recordings of each kind and ratio."""
    for nth in range(count):
        for is_music, makes in ((True, made.MUSIC), (False, made.NOISES)):
            for kind, make in makes.items():
                for ratio in RATIOS if kind != "nothing" else (None,):
                    chance = np.random.default_rng([10_000 + nth, *kind.encode()])
                    said = made.heard(chance, seconds, RATE)
                    under = make(chance, seconds, RATE) * made.decibels(-(ratio or 0.0))
                    yield Case(kind, ratio, is_music, said + under)
                chance = np.random.default_rng([20_000 + nth, *kind.encode()])
                yield Case(kind, None, is_music, make(chance, seconds, RATE))


def recorded() -> Iterator[Case]:
    """People's voices, without music."""
    for path in (JFK, DATA / "stereo_diarization.wav", DATA / "test.opus"):
        with TemporaryDirectory() as folder:
            audio = decoded(path, Path(folder) / "a")
            sound = audio.read(0, 0, audio.samples).astype(np.float64)
        yield Case(path.name, None, False, sound)
        for kind in ("chords", "arpeggio", "melody", "band"):
            chance = np.random.default_rng([3_000, *kind.encode()])
            song = made.MUSIC[kind](chance, len(sound) / RATE, RATE) * np.sqrt(np.mean(sound**2)) / made.LEVEL
            yield Case(f"{path.name} over {kind}", 6.0, True, sound + made.decibels(-6.0) * song[: len(sound)])


class Score(NamedTuple):
    """How many recordings were taken rightly and wrongly for music, and how much music was missed."""

    found: int = 0
    false: int = 0
    missed: int = 0

    @property
    def precision(self) -> float:
        return self.found / max(1, self.found + self.false)

    @property
    def recall(self) -> float:
        return self.found / max(1, self.found + self.missed)

    def plus(self, is_music: bool, said: bool) -> Score:
        return Score(
            self.found + (is_music and said),
            self.false + (said and not is_music),
            self.missed + (is_music and not said),
        )
