"""What earlier jobs took, and what is left of one under way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.rates import Rates, remaining

seconds = st.floats(0, 1e6)


def test_a_rate_is_of_one_work_by_one_thing() -> None:
    """Seconds per second of sound, kept apart by what is done and what does it; nothing is known before it was done."""
    rates = Rates()
    rates.learn("transcribing", "large cuda", 10.0, 100.0)
    assert rates.rate("transcribing", "large cuda") == pytest.approx(0.1)
    assert rates.rate("transcribing", "large cpu") is None
    assert rates.rate("hearing", "large cuda") is None


def test_late_and_long_jobs_count_for_more() -> None:
    """A machine that got slower is believed within a few jobs; a click's overhead says little about an hour."""
    rates = Rates()
    rates.learn("work", "", 100.0, 1000.0)
    rates.learn("work", "", 1.0, 1.0)  # ten times as slow, but tiny
    assert rates.rate("work", "") == pytest.approx(0.1, rel=0.05)
    for _ in range(6):
        rates.learn("work", "", 300.0, 1000.0)
    assert rates.rate("work", "") == pytest.approx(0.3, rel=0.05)


def test_nothing_is_learned_from_no_sound() -> None:
    """A recording without length, or a clock that went back, has no rate."""
    rates = Rates()
    rates.learn("work", "", 1.0, 0.0)
    rates.learn("work", "", -1.0, 1.0)
    assert rates.rate("work", "") is None


def test_what_is_left_by_either_account() -> None:
    """Before it moves, what is expected; without that, its own rate once it has shown one; at the end nothing."""
    assert remaining(0.0, 0.0, None) is None
    assert remaining(0.01, 50.0, None) is None
    assert remaining(0.5, 0.5, None) is None
    assert remaining(0.0, 0.0, 40.0) == 40.0
    assert remaining(0.25, 10.0, None) == pytest.approx(30.0)
    assert remaining(0.5, 40.0, 40.0) == pytest.approx(0.5 * (0.5 * 40 + 0.5 * 80))
    assert remaining(1.0, 3.0, 40.0) == 0.0


@given(st.floats(0, 1), seconds, st.none() | seconds)
def test_what_is_left_lies_between_the_two_accounts(share: float, spent: float, expected: float | None) -> None:
    """Never negative, and between what was expected and what the own rate says."""
    left = remaining(share, spent, expected)
    own = remaining(share, spent, None)
    if left is None:
        assert expected is None
        return
    accounts = [(1 - share) * expected] if expected is not None else []
    accounts += [own] if own is not None else []
    assert left >= 0
    assert min(accounts) * 0.999 <= left <= max(accounts) * 1.001 + 1e-9
