"""Dialogues that no model has heard, of voices that it knows: who speaks when, from decoding on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.devices import DeviceSettings
from pipeline.hints import Hints
from pipeline.models.clustering import Clustering
from pipeline.models.sortformer import Sortformer
from pipeline.stages.assignment import from_posteriors
from pipeline.stages.audio import Audio
from pipeline.stages.decode import decode
from pipeline.stages.diarize import diarize
from pipeline.stages.vad import speech
from pipeline.types import Span, Word
from tests.models.spoken_dialogues import Turn, labels
from tests.pipeline.diarization.conftest import named
from tests.pipeline.diarization.listeners import error_rate, on_disk, unheard

pytestmark = pytest.mark.heavy

MODELS = Path(__file__).parents[2] / "models" / "tiny-diarizers"
CPU = DeviceSettings(device="cpu")
MOST_WRONG = 0.05
COLLAR = 3  # frames: the 0.25 s on both sides of an edge that NIST's evaluations leave out


def heard(number: int, folder: Path) -> tuple[Audio, list[Turn]]:
    folder.mkdir()
    source = MODELS / f"dialogue-{number}.opus"
    audio = decode(
        source, folder, per_channel=False, max_duration=None, report=unheard, opened=lambda seconds, channels: None
    )
    return audio, [Turn(*turn) for turn in json.loads(source.with_suffix(".json").read_text())]


def spans(audio: Audio) -> tuple[Span, ...]:
    return speech(audio, 0, unheard)


@pytest.fixture(scope="module")
def few() -> Sortformer:
    return Sortformer(named(MODELS / "sortformer.nemo"), CPU)


@pytest.fixture(scope="module")
def many() -> Clustering:
    return Clustering(named(MODELS / "speakers.nemo"), CPU)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_sortformer_knows_who_speaks_when(few: Sortformer, tmp_path: Path, number: int) -> None:
    """Two to four people, some over each other: at most 5 % of speaking time wrong, numbered in order of arrival."""
    audio, turns = heard(number, tmp_path / "audio")
    found = diarize(audio, spans(audio), Hints(), few, None, unheard)
    assert found is not None
    truth = labels(turns, found.frames)
    assert error_rate(found.posteriors(), truth, COLLAR, permuted=False) <= MOST_WRONG


def test_speakers_keep_their_numbers(few: Sortformer, tmp_path: Path) -> None:
    """Twenty minutes of the same three people: who was 0 at the beginning is 0 at the end."""
    audio, turns = heard(1, tmp_path / "audio")
    again, seconds = 20, audio.info.duration
    long = on_disk(tmp_path / "long", np.tile(audio.read(0, 0, audio.samples), again))
    found = diarize(long, spans(audio), Hints(), few, None, unheard)
    assert found is not None
    repeated = [
        Turn(start + n * seconds, end + n * seconds, voice) for n in range(again) for start, end, voice in turns
    ]
    truth = labels(repeated, found.frames)
    assert error_rate(found.posteriors(), truth, COLLAR, permuted=False) <= MOST_WRONG


def test_clustering_tells_six_apart(many: Clustering, tmp_path: Path) -> None:
    """Six people and the count given: every word that each says is theirs alone."""
    audio, turns = heard(3, tmp_path / "audio")
    found = diarize(audio, spans(audio), Hints(speakers=6), None, many, unheard)
    assert found is not None
    assert found.speakers == 6
    words = [
        Word(text="w", start=at, end=at + 0.3, confidence=1)
        for start, end, _ in turns
        for at in np.arange(start + 0.2, end - 0.5, 0.35).tolist()
    ]
    whose = [voice for start, end, voice in turns for _ in np.arange(start + 0.2, end - 0.5, 0.35)]
    said = from_posteriors(words, found.posteriors(), found.step, Hints(speakers=6))
    pairs = {(word.speaker, voice) for word, voice in zip(said, whose, strict=True)}
    wrong = len(pairs) - 6
    assert wrong == 0, f"{sorted(pairs)}"
    assert len({word.speaker for word in said}) == 6
