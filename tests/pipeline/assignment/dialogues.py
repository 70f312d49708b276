"""Words in a row, and the posteriors of a diarizer that heard them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.types import Word

STEP = 0.08  # s


def said(*texts: str, start: float = 0.0, length: float = 0.4, pause: float = 0.0) -> tuple[Word, ...]:
    """Words of one length, ``pause`` seconds after one another."""
    each = length + pause
    return tuple(
        Word(text=text, start=start + nth * each, end=start + nth * each + length, confidence=0.9)
        for nth, text in enumerate(texts)
    )


def row(words: tuple[Word, ...]) -> list[int | None]:
    return [word.speaker for word in words]


def heard(words: tuple[Word, ...], shares: list[list[float]], seconds: float = 0.0) -> NDArray[np.float32]:
    """Posteriors, shape (frames, speakers), with ``shares[n]`` in every frame that word n begins in or covers."""
    frames = int(max(seconds, words[-1].end) / STEP) + 1
    found = np.zeros((frames, len(shares[0])), dtype=np.float32)
    for word, share in zip(words, shares, strict=True):
        found[int(word.start / STEP + 1e-6) : int(np.ceil(word.end / STEP - 1e-6))] = share
    return found
