"""Models for the pipeline's tests, built once a session."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

MODELS = Path(__file__).parents[1] / "models"


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, MODELS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def fixed_whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a multilingual Whisper whose answers are known: see tests/models/make_fixed_whisper.py."""
    folder = tmp_path_factory.mktemp("fixed") / "fixed-whisper"
    _script("make_fixed_whisper").main(folder)
    return folder


@pytest.fixture(scope="session")
def fixed_whisper_english(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, English only."""
    folder = tmp_path_factory.mktemp("fixed") / "fixed-whisper.en"
    _script("make_fixed_whisper").main(folder, multilingual=False)
    return folder


@pytest.fixture(scope="session")
def slow_whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whose first word takes two seconds."""
    folder = tmp_path_factory.mktemp("fixed") / "slow-whisper"
    _script("make_fixed_whisper").main(folder, slow_start=True)
    return folder
