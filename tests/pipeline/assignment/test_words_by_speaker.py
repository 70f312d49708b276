"""Words × speakers: clear cases are exactly right, doubtful ones are decided by the words around them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.hints import Hints
from pipeline.stages.assignment import Turn, from_posteriors, from_turns
from tests.pipeline.assignment.dialogues import STEP, heard, row, said

SURE, NOT = 0.97, 0.02


def clear(speakers: list[int], of: int) -> list[list[float]]:
    return [[SURE if speaker == own else NOT for own in range(of)] for speaker in speakers]


def numbered(speakers: list[int]) -> list[int]:
    """In the order of their first words."""
    numbers: dict[int, int] = {}
    return [numbers.setdefault(speaker, len(numbers)) for speaker in speakers]


@given(speakers=st.lists(st.integers(0, 3), min_size=1, max_size=40))
@settings(max_examples=100, deadline=None)
def test_clear_posteriors_decide_every_word(speakers: list[int]) -> None:
    """Where the diarizer is sure, every single word is its speaker's: in mid-sentence, without a pause, a lone "yes"
    between two words of somebody else.
    """
    words = said(*["w"] * len(speakers))
    found = from_posteriors(words, heard(words, clear(speakers, 4)), STEP)
    assert row(found) == numbered(speakers)
    assert all(word.speaker_confidence == pytest.approx(SURE / (SURE + 3 * NOT), abs=0.02) for word in found)


@given(speakers=st.lists(st.integers(0, 5), min_size=1, max_size=40))
@settings(max_examples=100, deadline=None)
def test_clear_turns_decide_every_word(speakers: list[int]) -> None:
    """The same from turns, one for each word: soft edges take no word away from its turn."""
    words = said(*["w"] * len(speakers), length=0.6)
    turns = [Turn(word.start, word.end, speaker) for word, speaker in zip(words, speakers, strict=True)]
    assert row(from_turns(words, reversed(turns))) == numbered(speakers)


@given(data=st.data(), order=st.permutations(range(4)))
@settings(max_examples=150, deadline=None)
def test_the_diarizers_numbers_do_not_matter(data: st.DataObject, order: list[int]) -> None:
    """Columns in another order give the same words, confidence and all: ties, merges and hints included."""
    count = data.draw(st.integers(1, 12))
    share = st.sampled_from([0.0, 0.1, 0.45, 0.5, 0.9, 1.0])
    shares = data.draw(st.lists(st.lists(share, min_size=4, max_size=4), min_size=count, max_size=count))
    words = said(*data.draw(st.lists(st.sampled_from(["a", "b,", "c."]), min_size=count, max_size=count)), pause=0.08)
    hints = Hints(speakers=data.draw(st.none() | st.integers(0, 5)), least=data.draw(st.none() | st.integers(0, 5)))
    posteriors = heard(words, shares)
    assert from_posteriors(words, posteriors, STEP, hints) == from_posteriors(words, posteriors[:, order], STEP, hints)


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_no_word_is_without_a_speaker(data: st.DataObject) -> None:
    """Any posteriors, NaN included, any turns, any hints: each word has a speaker and a confidence in [0, 1], nothing
    else of it has changed, and speakers are numbered from 0 without a gap.
    """
    values = st.sampled_from([0.0, 0.3, 0.7, 1.0, float("nan")])
    posteriors = np.array(data.draw(st.lists(st.tuples(values, values, values), max_size=30)), dtype=np.float32)
    words = said(*["w"] * data.draw(st.integers(0, 8)), start=data.draw(st.floats(0, 20)), length=0.01)
    hints = Hints(speakers=data.draw(st.none() | st.integers(0, 50)), most=data.draw(st.none() | st.integers(0, 2)))
    edges = data.draw(st.lists(st.tuples(st.floats(0, 9), st.floats(0.01, 9), st.integers(0, 40)), max_size=6))
    turns = [Turn(start, start + length, speaker) for start, length, speaker in edges]
    for found in (
        from_posteriors(words, posteriors.reshape(-1, 3), STEP, hints),
        from_turns(words, turns, hints),
    ):
        assert set(row(found)) == set(range(len(set(row(found)))))
        assert all(word.speaker_confidence is not None and 0 <= word.speaker_confidence <= 1 for word in found)
        bare = tuple(word.model_copy(update={"speaker": None, "speaker_confidence": None}) for word in found)
        assert bare == words


def test_doubt_follows_the_sentence() -> None:
    """A word that is hardly likelier somebody else's stays with the sentence around it, even after a sentence's end it
    would change for.
    """
    words = said("so", "we", "went", "home.")
    shares = [[0.9, 0.1], [0.4, 0.6], [0.9, 0.1], [0.9, 0.1]]
    assert row(from_posteriors(words, heard(words, shares), STEP)) == [0, 0, 0, 0]


@pytest.mark.parametrize(("first", "pause"), [("home", 1.2), ("home.", 0.16), ("home?”", 0.16)])
def test_changes_come_at_pauses_and_after_sentences(first: str, pause: float) -> None:
    """The same doubtful word is somebody else's where people take turns: after a pause, or after a sentence."""
    shares = [[0.9, 0.1], [0.3, 0.6]]
    within, between = said("home", "yes", pause=0.16), said(first, "yes", pause=pause)
    assert row(from_posteriors(within, heard(within, shares), STEP)) == [0, 0]
    assert row(from_posteriors(between, heard(between, shares), STEP)) == [0, 1]


def test_the_change_falls_on_the_pause() -> None:
    """Two doubtful words between speakers are parted at the pause, not where the posteriors happen to cross."""
    words = (*said("I", "am", "fine"), *said("and", "you", "too", start=2.0))
    shares = [[0.9, 0.1], [0.9, 0.1], [0.4, 0.5], [0.5, 0.4], [0.1, 0.9], [0.1, 0.9]]
    assert row(from_posteriors(words, heard(words, shares), STEP)) == [0, 0, 0, 1, 1, 1]


def test_overlap_is_kept() -> None:
    """Two who speak at once are both heard: a word goes on with whoever was speaking, and its confidence is halved."""
    words = said("one", "two", "three", "four")
    found = from_posteriors(words, heard(words, [[0.98, 0.0], [0.98, 0.98], [0.98, 0.98], [0.0, 0.98]]), STEP)
    assert row(found) == [0, 0, 0, 1]
    assert [round(word.speaker_confidence or 0, 2) for word in found] == [0.98, 0.5, 0.5, 0.98]


def test_overlapping_words_go_to_their_own_speakers() -> None:
    """Words may overlap in time; each is measured over its own."""
    (long,), (short,) = said("loooong", length=4.0), said("yes", start=1.6)
    found = from_turns((long, short), [Turn(0, 4, 7), Turn(1.5, 2.1, 3)])
    assert found[0].speaker == 0
    (found,) = from_turns((short,), [Turn(0, 1.5, 7), Turn(1.6, 2.0, 3), Turn(2.1, 4, 7)], Hints())
    assert found.speaker_confidence == pytest.approx(0.9, abs=0.1)


@pytest.mark.parametrize(("start", "speaker"), [(0.2, 0), (3.2, 0), (5.5, 1), (9.0, 1)])
def test_between_turns_the_nearest_one_counts(start: float, speaker: int) -> None:
    """A word in which nobody is heard is the nearest turn's, before or after it, and nobody is sure of it."""
    words = sorted((*said("a", start=2.0), *said("b", start=7.0), *said("lost", start=start)), key=lambda w: w.start)
    found = {word.text: word for word in from_turns(words, [Turn(1.5, 2.5, 0), Turn(6.5, 7.5, 1)])}
    assert found["lost"].speaker == found["ab"[speaker]].speaker
    assert found["a"].speaker != found["b"].speaker
    assert (found["lost"].speaker_confidence or 0) < 0.1


def test_turns_of_one_speaker_that_overlap() -> None:
    """Somebody whom the diarizer lists twice is there once: beside another, each has half of a word."""
    words = said("w", "w", "w")
    found = from_turns(words, [Turn(-1.0, 2.0, 0), Turn(-1.0, 3.0, 0), Turn(-1.0, 4.0, 1)])
    assert [word.speaker_confidence for word in found] == [pytest.approx(0.5)] * 3


def test_a_turn_that_begins_late_keeps_its_word() -> None:
    """A speaker whose only turn begins after the word, by the diarizer, has the word, not one of the neighbours."""
    words = (*said("a.", start=2.0), *said("late", start=5.0), *said("b", start=9.0))
    found = from_turns(words, [Turn(1.5, 2.5, 0), Turn(5.6, 6.0, 1), Turn(8.5, 9.5, 2)])
    assert row(found) == [0, 1, 2]


@pytest.mark.parametrize("frames", [0, 1, 100])
@pytest.mark.parametrize("speakers", [0, 1, 4])
def test_nobody_is_ever_heard(frames: int, speakers: int) -> None:
    """Without a turn every word is speaker 0's, with no confidence."""
    words = said("a", "b.", "c")
    for found in (from_posteriors(words, np.zeros((frames, speakers), np.float32), STEP), from_turns(words, [])):
        assert row(found) == [0, 0, 0]
        assert [word.speaker_confidence for word in found] == [0.0, 0.0, 0.0]


def test_turns_that_meet_leave_no_dip() -> None:
    """A turn that the diarizer cut in two is as certain at the cut as elsewhere."""
    words = said(*["w"] * 20)
    found = from_turns(words, [Turn(0.0, 4.1, 0), Turn(4.1, 8.0, 0)])
    assert all((word.speaker_confidence or 0) > 0.99 for word in found[1:-1])


def test_ten_hours() -> None:
    """20,000 words of four speakers over ten hours, in turns of ten words: every word is right at the end as at the
    start.
    """
    chance = np.random.default_rng(3)
    each = 36_000 / 20_000
    words = tuple(
        word for nth in range(20_000) for word in said("w." if nth % 10 == 9 else "w", start=nth * each, length=1.4)
    )
    speakers = np.repeat(chance.integers(0, 4, 2_000), 10)
    frames = int(36_000 / STEP)
    posteriors = chance.random((frames, 4), dtype=np.float32) * 0.2
    posteriors[np.arange(frames), speakers[np.minimum((np.arange(frames) * STEP / each).astype(int), 19_999)]] += 0.7
    assert row(from_posteriors(words, posteriors, STEP)) == numbered(speakers.tolist())
