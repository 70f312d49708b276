"""Which diarizer hears a recording, what it is told, and what happens when it is not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ModelUnavailable
from pipeline.hints import Hints
from pipeline.models.ladder import Below, Rung
from pipeline.stages.assignment import from_posteriors
from pipeline.stages.diarize import NO_OVERLAP, TOO_MANY, diarize, route
from pipeline.types import Span, Word
from tests.pipeline.diarization.listeners import INFO, Known, on_disk, unheard

SPEECH = (Span(start=0.5, end=2.0), Span(start=3.0, end=4.0))
SOUND = np.full(5 * 16_000, 0.1, np.float32)
TWO = np.tile(np.array([[0.9, 0.1, 0.0, 0.0]], np.float32), (62, 1))


@pytest.mark.parametrize(
    ("hints", "wanted"),
    [
        ({}, "sortformer"),
        ({"speakers": 0}, "sortformer"),
        ({"speakers": 1}, "one"),
        ({"most": 1}, "one"),
        ({"speakers": 2}, "sortformer"),
        ({"speakers": 4}, "sortformer"),
        ({"speakers": 5}, "clustering"),
        ({"speakers": 50}, "clustering"),
        ({"least": 2}, "sortformer"),
        ({"least": 5}, "clustering"),
        ({"most": 4}, "sortformer"),
        ({"most": 5}, "clustering"),
        ({"least": 2, "most": 50}, "clustering"),
        ({"least": 6, "most": 2}, "clustering"),
    ],
)
def test_the_hints_choose_the_diarizer(hints: dict[str, int], wanted: str) -> None:
    """Up to four speakers, or no hint: Sortformer. Five or more are possible: clustering. One: neither."""
    assert route(1, SPEECH, Hints(**hints)) == wanted


def test_channels_and_silence_need_no_diarizer(tmp_path: Path) -> None:
    """Where each channel is a speaker there is nothing to find; in silence nobody is found, whatever is hinted."""
    assert diarize(on_disk(tmp_path, SOUND, tracks=2), SPEECH, Hints(speakers=9), None, None, unheard) is None
    silent = diarize(on_disk(tmp_path, SOUND), (), Hints(speakers=3), None, None, unheard)
    assert silent is not None
    assert (silent.speakers, silent.turns, silent.model) == (0, (), None)


def test_a_single_speaker_needs_no_model(tmp_path: Path) -> None:
    """With speakers=1 everything that is said is speaker 0's, surely, without any model configured."""
    found = diarize(on_disk(tmp_path, SOUND), SPEECH, Hints(speakers=1), None, None, unheard)
    assert found is not None
    assert [(turn.speaker, turn.start, turn.end) for turn in found.turns] == [(0, 0.48, 2.0), (0, 2.96, 4.0)]
    word = Word(text="yes", start=3.2, end=3.6, confidence=1)
    [said] = from_posteriors([word], found.posteriors(), found.step, Hints(speakers=1))
    assert said.speaker == 0
    assert said.speaker_confidence == pytest.approx(1.0)


def test_few_speakers_are_left_to_whoever_joins_words(tmp_path: Path) -> None:
    """Sortformer's posteriors arrive whole, with its step and name: what is more than the hint is merged later."""
    few, many = Known(TWO), Known(TWO)
    found = diarize(on_disk(tmp_path, SOUND), SPEECH, Hints(speakers=2), few, many, unheard)
    assert found is not None
    assert np.abs(found.posteriors() - TWO).max() < 0.002
    assert (found.model, found.step, found.warnings) == (INFO, 0.08, ())
    assert [one["samples"] for one in few.asked] == [len(SOUND)]
    assert not many.asked


@pytest.mark.parametrize(
    ("hints", "least", "most"),
    [({"speakers": 30}, 30, 30), ({"least": 5}, 5, None), ({"most": 8}, 1, 8), ({"least": 6, "most": 2}, 6, 6)],
)
def test_clustering_is_told_the_bounds(tmp_path: Path, hints: dict[str, int], least: int, most: int | None) -> None:
    """A count is an oracle's for the clustering, bounds are bounds; it hears the speech alone."""
    many = Known(TWO)
    found = diarize(on_disk(tmp_path, SOUND), SPEECH, Hints(**hints), Known(TWO), many, unheard)
    assert found is not None
    assert many.asked == [{"samples": len(SOUND), "spans": [(0.5, 2.0), (3.0, 4.0)], "least": least, "most": most}]
    assert found.warnings == ()


def test_the_other_diarizer_does_what_it_can(tmp_path: Path) -> None:
    """A model that is not configured costs accuracy, said in a warning; without any the error says so."""
    audio = on_disk(tmp_path, SOUND)
    without_many = diarize(audio, SPEECH, Hints(speakers=9), Known(TWO), None, unheard)
    without_few = diarize(audio, SPEECH, Hints(), None, Known(TWO), unheard)
    assert without_many is not None
    assert without_few is not None
    assert [one.message for one in without_many.warnings] == [TOO_MANY]
    assert [one.message for one in without_few.warnings] == [NO_OVERLAP]
    with pytest.raises(ModelUnavailable, match="no diarizer is configured"):
        diarize(audio, SPEECH, Hints(), None, None, unheard)


def test_where_speakers_were_found_is_told(tmp_path: Path) -> None:
    """A diarizer that had to leave the GPU says so in the warnings."""
    few = Known(TWO, below=[Below(Rung("cpu", "float32", 1), "the GPU's memory ran out (8 GB)")])
    found = diarize(on_disk(tmp_path, SOUND), SPEECH, Hints(), few, None, unheard)
    assert found is not None
    assert [one.message for one in found.warnings] == [
        "Speakers were found on the CPU: the GPU's memory ran out (8 GB)."
    ]


def test_progress_comes_through(tmp_path: Path) -> None:
    """What the diarizer reports reaches the course of the job."""
    told: list[tuple[float, float | None]] = []
    diarize(on_disk(tmp_path, SOUND), SPEECH, Hints(), Known(TWO), None, lambda done, total: told.append((done, total)))
    assert told == [(1.0, 1.0)]
