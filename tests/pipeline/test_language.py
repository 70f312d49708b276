"""The vote on a recording's language, alone."""

from __future__ import annotations

import pytest

from pipeline.models.language import FIRST, MOST, Ballot, code_of, decided, spread, vote


def ballot(seconds: float, **languages: float) -> Ballot:
    return Ballot(seconds, tuple(sorted(languages.items(), key=lambda one: -one[1])))


def test_seconds_and_probability_weigh() -> None:
    """Much speech outweighs many windows, certainty outweighs guesses; the confidence is the winner's share."""
    assert vote([ballot(2, de=0.9, en=0.1), ballot(2, de=0.9, en=0.1), ballot(29, en=0.8, de=0.2)]) == (
        "en",
        pytest.approx((0.2 + 0.2 + 23.2) / 33),
    )
    assert vote([ballot(10, fr=0.5, it=0.4), ballot(10, it=0.55, fr=0.05)])[0] == "it"


def test_only_candidates_are_chosen() -> None:
    """The likeliest of the list, with the little that it has; unknown to all voters, nobody is chosen."""
    assert vote([ballot(10, de=0.95, nl=0.04, en=0.01)], {"nl", "en"}) == ("nl", pytest.approx(0.04))
    with pytest.raises(ValueError, match="nobody"):
        vote([])


def test_the_first_may_decide() -> None:
    """Three that agree and are sure are enough; one doubt or one other language asks the rest."""
    sure = ballot(9, en=0.9, de=0.1)
    assert decided([sure] * FIRST)
    assert not decided([sure] * (FIRST - 1))
    assert not decided([sure, sure, ballot(9, en=0.7, de=0.3)])
    assert not decided([sure, sure, ballot(9, de=0.9, en=0.1)])


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 9, 40, 1000])
def test_voters_are_spread_over_the_recording(count: int) -> None:
    """Every window is in the order once; the first three are from the beginning, the middle and the end; the first
    eight from eight equal parts.
    """
    order = spread(count)
    assert sorted(order) == list(range(count))
    if count >= 2 * MOST:
        first, middle, last = (place / count for place in order[:FIRST])
        assert first < 0.2
        assert 0.3 < middle < 0.7
        assert last > 0.8
        assert sorted(place * MOST // count for place in order[:MOST]) == list(range(MOST))


def test_codes() -> None:
    """Regions are dropped, and Whisper's own names are found."""
    assert [code_of(c) for c in ("pt-BR", "EN_us", "nb", "iw", "de")] == ["pt", "en", "no", "he", "de"]
