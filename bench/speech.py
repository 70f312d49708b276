"""Recordings of any length for the benches: speech that the repository holds, said again and again with pauses between.

Takes a length, gives a 16 kHz mono WAV. The sentences are the English ones that the tests' trained tiny Whisper knows
and never heard, or the example's where those are not there; which sentence comes when, and the pauses of 0.3 to 1.5 s,
are the same in every run. Knows nothing of models.
"""

from __future__ import annotations

import itertools
import wave
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.types import SAMPLE_RATE

ROOT = Path(__file__).parents[1]
TINY = ROOT / "tests" / "models" / "tiny-whisper"
HEARD = TINY.with_name("tiny-whisper-heard")
LANGUAGE = "en"
_EXAMPLES = (ROOT / "examples" / "jfk.flac",)

Pcm = NDArray[np.int16]


def sentences(folder: Path = HEARD) -> list[Path]:
    """The recordings that speech is put together from."""
    return sorted(folder.glob(f"{LANGUAGE}-*.ogg")) or list(_EXAMPLES)


def write_speech(path: Path, seconds: float, *, seed: int = 0, folder: Path = HEARD) -> Path:
    """A WAV of that length at ``path``; its memory does not grow with the length."""
    left = round(seconds * SAMPLE_RATE)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        for piece in _said(sentences(folder), seed):
            file.writeframes(piece[:left].tobytes())
            left -= len(piece)
            if left <= 0:
                return path
    raise AssertionError("speech does not end")


def write_windows(path: Path, count: int, *, folder: Path = HEARD) -> Path:
    """A WAV of ``count`` times 27 s of speech and 3 s of silence: as many windows for a recogniser, all nearly full."""
    pieces = _said(sentences(folder), seed=0)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        for _ in range(count):
            block = np.concatenate(list(_until(pieces, 27 * SAMPLE_RATE)))[: 27 * SAMPLE_RATE]
            file.writeframes(block.tobytes() + bytes(2 * 3 * SAMPLE_RATE))
    return path


def _until(pieces: Iterator[Pcm], samples: int) -> Iterator[Pcm]:
    while samples > 0:
        yield (piece := next(pieces))
        samples -= len(piece)


def write_clips(folder: Path, count: int, *, least: float = 5.0, most: float = 15.0) -> list[Path]:
    """``count`` WAVs, each of another length between ``least`` and ``most`` seconds."""
    lengths = np.random.default_rng(7).uniform(least, most, count)
    return [write_speech(folder / f"clip-{n}.wav", float(length), seed=n) for n, length in enumerate(lengths)]


def _said(paths: list[Path], seed: int) -> Iterator[Pcm]:
    """Sentences and pauses without end; every sentence once before one comes again."""
    random = np.random.default_rng(seed)
    known = [_decoded(path) for path in paths]
    for _ in itertools.count():
        for number in random.permutation(len(known)):
            yield known[number]
            yield np.zeros(int(random.uniform(0.3, 1.5) * SAMPLE_RATE), np.int16)


@cache
def _decoded(path: Path) -> Pcm:
    """Decoded once: faster-whisper collects all garbage each time, a second's work where NeMo is loaded."""
    from faster_whisper.audio import decode_audio

    samples: Pcm = (decode_audio(str(path), sampling_rate=SAMPLE_RATE) * 32767).astype(np.int16)
    return samples
