"""Sounds that the hand-built Whisper answers to: low or high noise while it should speak, faint noise for silence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.models.base import Window
from pipeline.types import SAMPLE_RATE

EDGE = 1_500  # Hz, between low and high


def noise(seconds: float, *, high: bool = False, seed: int = 0) -> NDArray[np.float32]:
    """Loud for the whole time: English if low, German if high."""
    count = round(seconds * SAMPLE_RATE)
    white = np.random.default_rng(seed).standard_normal(count)
    spectrum, frequencies = np.fft.rfft(white), np.fft.rfftfreq(count, 1 / SAMPLE_RATE)
    spectrum[(frequencies < EDGE) if high else (frequencies > EDGE)] *= 0.02
    wave = np.fft.irfft(spectrum, count)
    return (0.5 * wave / np.abs(wave).max()).astype(np.float32)


def hush(seconds: float) -> NDArray[np.float32]:
    """Too faint to be a word, but not digital silence."""
    return 2e-4 * noise(seconds, seed=1)


def window(start: float, *sounds: NDArray[np.float32]) -> Window:
    return Window(start, np.concatenate(sounds))
