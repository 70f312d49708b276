"""Tiny models of NeMo's classes without training, built once a session, and the trained ones that lie in the tree."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.models.nemo import NemoModel, module
from pipeline.types import SAMPLE_RATE, ModelInfo


@contextmanager
def quiet() -> Iterator[None]:
    """NeMo and torch warn of each other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def named(path: Path) -> NemoModel:
    return NemoModel(path=path, info=ModelInfo(name=path.stem, version="1", arch="tiny", revision="0" * 64))


@pytest.fixture(scope="session")
def random_sortformer(tmp_path_factory: pytest.TempPathFactory) -> NemoModel:
    """Answers that mean nothing, but swing between 0 and 1 with what it hears and remembers."""
    from tests.models.make_tiny_sortformer import untrained

    torch = module("torch")
    with quiet():
        model = untrained(seed=3)
    last = model.sortformer_modules.single_hidden_to_spks
    sound = torch.from_numpy(babble(20.0))[None]
    with torch.no_grad(), quiet():
        for _ in range(2):
            answers = torch.logit(model.forward(sound, torch.tensor([sound.shape[1]]))[0])
            scale = 3.0 / answers.std(dim=0)
            last.bias.copy_((last.bias - answers.mean(dim=0)) * scale)
            last.weight.mul_(scale[:, None])
    path = tmp_path_factory.mktemp("nemo") / "random-sortformer.nemo"
    model.save_to(str(path))
    return named(path)


@pytest.fixture(scope="session")
def random_speakers(tmp_path_factory: pytest.TempPathFactory) -> NemoModel:
    """Embeddings of no trained model: noises of other colours lie apart all the same."""
    from tests.models.make_tiny_speakers import untrained

    path = tmp_path_factory.mktemp("nemo") / "random-speakers.nemo"
    with quiet():
        untrained().save_to(str(path))
    return named(path)


def babble(seconds: float, seed: int = 0) -> Any:
    """Noise whose colour and loudness change every moment."""
    rng = np.random.default_rng(seed)
    pieces, count = [], 0
    while count < seconds * SAMPLE_RATE:
        length = int(rng.integers(1600, 16000))
        spectrum = np.fft.rfft(rng.standard_normal(length))
        spectrum *= np.exp(-(((np.linspace(0, 1, len(spectrum)) - rng.random()) / 0.1) ** 2)) + 0.01
        piece = np.fft.irfft(spectrum, length)
        pieces.append(rng.uniform(0, 0.4) * piece / np.abs(piece).max())
        count += length
    return np.concatenate(pieces)[: round(seconds * SAMPLE_RATE)].astype(np.float32)
