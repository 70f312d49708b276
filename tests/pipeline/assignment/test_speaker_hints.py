"""What a person says of the number of speakers is honoured: ghosts go into those they are, nobody is made up."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.hints import Hints
from pipeline.stages.assignment import Turn, from_posteriors, from_turns
from tests.pipeline.assignment.dialogues import STEP, heard, row, said


def test_a_ghost_of_doubt_is_merged_into_its_own_voice() -> None:
    """The diarizer hears the first speaker as a third for a while, and is in doubt about it: told of two, she is one
    again.
    """
    words = said(
        *["one", "two", "three.", "four", "five", "six.", "one", "two", "three.", "four", "five", "six."], pause=0.08
    )
    shares = [[0.95, 0.02, 0.02]] * 3 + [[0.02, 0.95, 0.02]] * 3 + [[0.35, 0.01, 0.6]] * 3 + [[0.02, 0.95, 0.02]] * 3
    posteriors = heard(words, shares)
    assert row(from_posteriors(words, posteriors, STEP)) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 1, 1, 1]
    found = from_posteriors(words, posteriors, STEP, Hints(speakers=2))
    assert row(found) == [0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1]


def test_a_ghost_inside_a_sentence_is_whoever_says_it() -> None:
    """Turns without posteriors: a stretch in the middle of a sentence is the voice around it."""
    words = said(*["we", "went", "to", "the", "old", "house.", "did", "you", "like", "it?", "yes."])
    turns = [Turn(0.0, 0.8, 0), Turn(0.8, 1.6, 5), Turn(1.6, 2.4, 0), Turn(2.4, 4.0, 1), Turn(4.0, 4.4, 0)]
    assert row(from_turns(words, turns, Hints(most=2))) == [0] * 6 + [1] * 4 + [0]


def test_a_voice_that_drifts_is_not_its_partner() -> None:
    """After a while the first speaker has a new number, and goes on talking with the same partner: of two, she and her
    old number are one, although it is the partner that she is always beside.
    """
    words = said(*(["well,", "so."] * 12), pause=0.4)
    early, partner, late = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]
    shares = [early, early, partner, partner] * 4 + [late, late, partner, partner] * 2
    found = from_posteriors(words, heard(words, shares), STEP, Hints(speakers=2))
    assert row(found) == [0, 0, 1, 1] * 6


def test_who_speaks_at_once_is_not_one() -> None:
    """A ghost that is talked over by one speaker, both without doubt, and is in doubt with another, is the other."""
    words = said(*["a."] * 3, *["g."] * 3, *["b."] * 6)
    ghost = [[0.0, 0.9, 1.0], [0.0, 0.9, 1.0], [0.4, 0.0, 0.6]]
    posteriors = heard(words, [[1.0, 0.0, 0.0]] * 3 + ghost + [[0.0, 1.0, 0.0]] * 6)
    assert row(from_posteriors(words, posteriors, STEP)) == [0] * 3 + [1] * 3 + [2] * 6
    assert row(from_posteriors(words, posteriors, STEP, Hints(speakers=2))) == [0] * 6 + [1] * 6


@pytest.mark.parametrize("most", [1, 2, 3, 7, 30, 50])
def test_thirty_speakers(most: int) -> None:
    """However few are said to speak, there are no more; a number above those found changes nothing."""
    words = said(*["w."] * 300, pause=0.5)
    turns = [Turn(word.start, word.end, nth % 30) for nth, word in enumerate(words)]
    assert len(set(row(from_turns(words, turns, Hints(most=most))))) == min(most, 30)
    assert len(set(row(from_turns(words, turns, Hints(speakers=most))))) == min(most, 30)


def test_the_quietest_are_merged() -> None:
    """Of three, the two who say most stay apart."""
    words = said(*["w."] * 21, pause=0.5)
    speakers = [0] * 9 + [1] * 3 + [2] * 9
    turns = [Turn(word.start, word.end, speaker) for word, speaker in zip(words, speakers, strict=True)]
    found = row(from_turns(words, turns, Hints(speakers=2)))
    assert found[0] != found[-1]


def test_a_least_number_lets_doubtful_speakers_in() -> None:
    """Told of two, a short answer counts that would otherwise be lost in the sentence around it; where nobody else is
    heard at all, nobody is made up.
    """
    words = said("we", "went", "home", "yes", "and", "slept")
    shares = [[0.9, 0.1]] * 3 + [[0.3, 0.6]] + [[0.9, 0.1]] * 2
    posteriors = heard(words, shares)
    assert row(from_posteriors(words, posteriors, STEP)) == [0] * 6
    assert row(from_posteriors(words, posteriors, STEP, Hints(least=2))) == [0, 0, 0, 1, 0, 0]
    alone = np.concatenate([posteriors[:, :1], np.zeros_like(posteriors[:, :1])], axis=1)
    assert row(from_posteriors(words, alone, STEP, Hints(least=2))) == [0] * 6


@pytest.mark.parametrize(
    ("hints", "bounds"),
    [
        (Hints(), (1, None)),
        (Hints(speakers=0, least=0, most=0), (1, None)),
        (Hints(speakers=3, least=5, most=9), (3, 3)),
        (Hints(least=4, most=2), (4, 4)),
        (Hints(most=2), (1, 2)),
    ],
    ids=str,
)
def test_hints(hints: Hints, bounds: tuple[int, int | None]) -> None:
    """An exact number outweighs a range, 0 says nothing, and a range the wrong way round is its lower end."""
    assert hints.bounds == bounds
