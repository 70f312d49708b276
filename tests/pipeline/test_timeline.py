"""Timestamps to silence: gaps are kept, jitter and nonsense are not."""

from __future__ import annotations

import math

import pytest

from pipeline.stages.timeline import LONGEST_SILENCE, Timeline, origin_of


def played(timeline: Timeline, stamps: list[float | None], seconds: float = 1.0) -> list[float]:
    owed = []
    for stamp in stamps:
        owed.append(timeline.gap(stamp))
        timeline.advance(seconds)
    return owed


def test_gaps_are_owed_in_full() -> None:
    """A frame that is two seconds late owes two seconds; those after it are on time again."""
    timeline = Timeline(0.0, math.inf)
    assert played(timeline, [0.0, 1.0, 4.0, 5.0]) == [0.0, 0.0, 2.0, 0.0]
    assert timeline.due == 6.0


def test_drift_is_made_up_once_it_is_a_gap() -> None:
    """A clock that is 3 % slow is ignored frame by frame, but never more than 0.1 s are lost."""
    timeline = Timeline(0.0, math.inf)
    played(timeline, [i * 1.03 for i in range(100)])
    assert timeline.due == pytest.approx(99 * 1.03 + 1.0, abs=0.1)


def test_early_frames_are_made_up_at_the_next_gap() -> None:
    """Sound that overlaps its neighbour by half a second is kept, and the next pause is that much shorter."""
    timeline = Timeline(0.0, math.inf)
    assert played(timeline, [0.0, 0.5, 3.5]) == [0.0, 0.0, 1.5]


def test_no_timestamps() -> None:
    """Frames without a timestamp follow each other."""
    assert played(Timeline(5.0, math.inf), [None, None]) == [0.0, 0.0]


def test_timestamps_that_start_over_go_on() -> None:
    """After a jump back, the new timestamps count from where the sound is, and their gaps are gaps."""
    timeline = Timeline(100.0, math.inf)
    assert played(timeline, [100.0, 101.0, 0.0, 1.0, 5.0]) == [0.0, 0.0, 0.0, 0.0, 3.0]
    assert timeline.disbelieved == 0.0


def test_not_past_the_limit() -> None:
    """A leap past the limit is ignored, remembered, and what follows it is taken as it comes."""
    timeline = Timeline(0.0, 10.0)
    assert played(timeline, [0.0, 100.0, 101.0, 104.0]) == [0.0, 0.0, 0.0, 2.0]
    assert timeline.disbelieved == 99.0


def test_silence_is_bounded_however_often_the_clock_leaps() -> None:
    """Leaping an hour ahead and back for ever never makes more silence than the bound."""
    timeline = Timeline(0.0, math.inf)
    for _ in range(50):
        played(timeline, [timeline.due + 3600.0, 0.0])
    assert timeline.silence <= LONGEST_SILENCE


def test_origin() -> None:
    """A small positive start is a pause where the format's clock has a zero, padding or a clock's whim elsewhere."""
    assert origin_of(2.0, absolute=True) == 0.0
    assert origin_of(36_000.0, absolute=True) == 36_000.0
    assert origin_of(1.4, absolute=False) == 1.4
    assert origin_of(-0.02, absolute=True) == -0.02
    assert origin_of(None, absolute=True) == 0.0
