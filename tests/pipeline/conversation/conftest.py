"""A recording for jobs with scripted models, and a cache for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.pipeline.conversation.conversation_rig import Cached
from tests.pipeline.media import beginning, write_audio


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds in which somebody speaks."""
    return write_audio(tmp_path_factory.mktemp("speech") / "speech.wav", beginning(8.0))


@pytest.fixture(scope="session")
def silence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_audio(tmp_path_factory.mktemp("silence") / "silence.wav", np.zeros((1, 32_000)))


@pytest.fixture
def cached(tmp_path: Path, speech: Path) -> Cached:
    return Cached(tmp_path, speech)
