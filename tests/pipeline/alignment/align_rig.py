"""What the tests of the stage share: sound that spells, an aligner that reads it, and transcripts that guess.

In this sound a sample's value is a letter: a model is not needed to hear it, and what is heard depends on nothing but
the samples that the stage hands over, cut however it likes.
"""

from __future__ import annotations

import json
import string
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.models.aligner import Columns
from pipeline.types import SAMPLE_RATE, ChannelTranscript, MediaInfo, ModelInfo, Transcript, Word
from tests.pipeline.alignment.ctc_reference import spoken

STEP = 0.02  # s
FRAME = round(STEP * SAMPLE_RATE)  # samples
LETTERS = " " + string.ascii_lowercase
BLANK = len(LETTERS)
COLUMNS = Columns({letter: nth for nth, letter in enumerate(LETTERS) if nth}, BLANK, 0)
HUSH = 1e-3  # no letter, but not digital silence
EVERY = 0.1  # s from one letter of a word to the next

Array = NDArray[np.float32]
MODELS = Path(__file__).parents[2] / "models"


@dataclass
class Tracks:
    """Sound in memory, as the stage reads it. ``asked``: seconds that were read at once, at the most."""

    sounds: Sequence[Array]
    asked: float = 0.0

    @property
    def tracks(self) -> int:
        return len(self.sounds)

    @property
    def samples(self) -> int:
        return len(self.sounds[0])

    def read(self, track: int, start: int, stop: int) -> Array:
        self.asked = max(self.asked, (stop - start) / SAMPLE_RATE)
        return self.sounds[track][max(0, start) : max(0, stop)]


def spelt(seconds: float, *said: tuple[float, str]) -> Array:
    """Each text begins at its second and has a letter every 0.1 s."""
    sound = np.full(round(seconds * SAMPLE_RATE), HUSH, np.float32)
    for start, text in said:
        for nth, letter in enumerate(text):
            at = round((start + EVERY * nth) / STEP) * FRAME
            sound[at : at + FRAME] = (LETTERS.index(letter) + 1) / 64
    return sound


@dataclass
class Reader:
    """An aligner that reads what `spelt` wrote. ``late``: seconds by which its frames come late; ``told``: what it says
    of that itself. ``fails``: the error that it raises instead of its n-th answer.
    """

    batch: int = 3
    late: float = 0.0
    told: float | None = None
    fails: dict[int, Exception] = field(default_factory=dict)
    columns: Columns = field(default_factory=lambda: COLUMNS)
    step: float = STEP
    calls: list[list[int]] = field(default_factory=list)  # samples of each piece

    @property
    def delay(self) -> float:
        return self.late if self.told is None else self.told

    def emissions(self, pieces: Sequence[Array]) -> list[Array]:
        self.calls.append([len(piece) for piece in pieces])
        if error := self.fails.get(len(self.calls)):
            raise error
        return [self._read(piece) for piece in pieces]

    def _read(self, piece: Array) -> Array:
        """A frame for each 20 ms: the letter that most of it holds."""
        frames = len(piece) // FRAME
        values = np.round(64 * piece[: frames * FRAME].reshape(frames, FRAME)).astype(int)
        middle = np.median(values, axis=1).astype(int)
        shift = round(self.late / STEP)
        peaks = {nth + shift: int(middle[nth]) - 1 for nth in np.flatnonzero(middle) if nth + shift < frames}
        return spoken(frames, peaks, BLANK + 1, BLANK)


def word(text: str, start: float, end: float, language: str | None = None) -> Word:
    return Word(text=text, start=start, end=end, confidence=0.5, language=language)


def transcript(*channels: Sequence[Word], languages: Sequence[str | None] = ("en",), seconds: float = 60) -> Transcript:
    return Transcript(
        media=MediaInfo(duration=seconds, channels=len(channels), container="wav", codec="pcm"),
        channels=tuple(
            ChannelTranscript(words=tuple(words), language=languages[nth % len(languages)])
            for nth, words in enumerate(channels)
        ),
        punctuated=True,
        model=ModelInfo(name="guess", version="1", arch="none", revision="0"),
    )


def quiet(done: float, total: float) -> None:
    """Progress that nobody looks at."""


@dataclass(frozen=True)
class Heard:
    """A kept recording, and (text, start, end) of its words."""

    path: Path
    language: str
    words: tuple[tuple[str, float, float], ...]


def kept_recordings() -> list[Heard]:
    """Those that the tiny aligner was never trained on."""
    folder = MODELS / "tiny-aligner-heard"
    told = json.loads((folder / "heard.json").read_text("utf-8"))
    return [Heard(folder / one["file"], one["language"], tuple(tuple(w) for w in one["words"])) for one in told]


def member(tar: tarfile.TarFile, name: str) -> bytes:
    """A file of a ``.nemo``."""
    found = next(one for one in tar if one.name.removeprefix("./") == name)
    file = tar.extractfile(found)
    assert file is not None
    return file.read()
