"""The music detector: what it takes for music, what it does not, and that it forgets what it has heard."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from pipeline.stages.music import THRESHOLD, Music, counts, held, music, musical
from pipeline.types import Span
from tests.pipeline import synthetic_sound as made
from tests.pipeline.music_sets import RATE, InMemory, Score, cases, judged, recorded

PIECE = 80 * 512  # samples


@pytest.fixture(scope="module")
def tune() -> made.Sound:
    return made.band(np.random.default_rng(7), 20.0, RATE)


def test_precision_and_recall(tell: Callable[[str], None]) -> None:
    """On recordings that it was not tuned on: of those taken for music at most one in six has none, and of those with
    music that has tones nine in ten are found. (The figures over more of them: `bench separation`.)
    """
    score, heard = Score(), [case for case in cases(1) if case.kind != "drums"]
    for case in heard:
        score = score.plus(case.is_music, judged(case.sound).worth_separating)
    told = f"precision {score.precision:.2f}, recall {score.recall:.2f} on {len(heard)} synthetic recordings"
    tell(f"music detector: {told}")
    assert score.precision >= 0.83
    assert score.recall >= 0.9


def test_recorded_voices() -> None:
    """Real voices are not taken for music, and music at half their loudness beneath them is found."""
    for case in recorded():
        if len(case.sound) >= 8 * RATE:
            assert judged(case.sound).worth_separating == case.is_music, case.kind


def test_silence_and_scraps() -> None:
    """Silence, a single sample and less than a window are no music, and no error."""
    for count in (1, 1000, 2047, 2048, 5000, 30 * RATE):
        found = judged(np.zeros(count))
        assert found == Music((), 0.0, count / RATE)
        assert not found.worth_separating


def test_where_the_music_is(tune: made.Sound) -> None:
    """Music between speech is placed to within a piece; what touches is one span."""
    chance = np.random.default_rng(3)
    said = made.heard(chance, 60.0, RATE)
    said[30 * RATE : 50 * RATE] += tune
    found = judged(said)
    assert found.worth_separating
    assert all(span.start > 26 and span.end < 54 for span in found.spans)
    assert found.seconds == pytest.approx(sum(span.end - span.start for span in found.spans))
    assert found.seconds > 14
    assert found.whole == 60.0


def test_a_jingle_is_not_worth_it(tune: made.Sound) -> None:
    """Little music in a long recording is found, and not worth separating it all."""
    said = made.heard(np.random.default_rng(4), 120.0, RATE)
    said[: 8 * RATE] += tune[: 8 * RATE]
    found = judged(said)
    assert found.spans
    assert not found.worth_separating


@pytest.mark.parametrize(
    ("seconds", "whole", "worth"), [(4.9, 10.0, False), (5.1, 10.0, True), (24.0, 100.0, False), (25.0, 100.0, True)]
)
def test_what_is_worth_it(seconds: float, whole: float, worth: bool) -> None:
    """At least five seconds and at least a quarter."""
    assert Music((Span(start=0, end=seconds),), seconds, whole).worth_separating is worth


def test_any_track_counts(tune: made.Sound) -> None:
    """Of several tracks one with music is enough, and its seconds are counted once; progress is of all tracks."""
    quiet = np.zeros_like(tune)
    told: list[tuple[float, float | None]] = []
    found = music(InMemory(quiet, tune, tune), lambda done, total: told.append((done, total)))  # type: ignore[arg-type]
    assert found.worth_separating
    assert found.seconds <= 20.0
    assert told[-1] == (60.0, 60.0)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_memory_does_not_grow(tune: made.Sound) -> None:
    """However long the recording, it reads 15 s and a window at a time; pieces follow on each other to its end."""
    audio = InMemory(np.tile(tune, 5))
    found = list(counts(audio, 0))  # type: ignore[arg-type]
    assert audio.most <= 6 * PIECE + 2048
    assert found[0][0] == 0
    assert found[-1][1] == audio.samples
    assert all(before[1] == after[0] for before, after in pairwise(found))
    assert np.mean([count >= THRESHOLD for _, _, count in found]) > 0.7


def test_loudness_does_not_matter(tune: made.Sound) -> None:
    """Quiet music is as much music as loud music."""
    assert judged(0.02 * tune).worth_separating
    assert judged(3.0 * tune).worth_separating


def frames(*rows: str) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """A row for each frame, an ``x`` for each peak."""
    return np.array([[mark == "x" for mark in row] for row in rows])


def test_only_what_is_held_counts() -> None:
    """Peaks that stay for eight frames are kept whole, shorter ones are dropped."""
    found = frames(*["x.x"] * 7, *["..x"] * 3)
    assert np.array_equal(held(found), frames(*["..x"] * 10))


def test_hum_under_speech_does_not_count() -> None:
    """A partial that is there whenever it is quiet around it is hum, however seldom that is; one that is there in a
    part of the quiet is not.
    """
    on = np.arange(100) % 20 < 8  # when nobody speaks
    kept = np.stack([on, np.zeros(100, bool), np.zeros(100, bool), np.zeros(100, bool), on & (np.arange(100) < 50)], 1)
    level = np.repeat(np.where(on, -40.0, 0.0)[:, None], 5, axis=1)
    assert musical(kept, level).tolist() == kept[:, 4].astype(int).tolist()


def test_hum_and_drift_do_not_count() -> None:
    """Of partials held: one that begins out of nothing counts as long as it lasts; one that sounds all the time, and
    one that goes on where its neighbour ended, do not.
    """
    empty, first, second = "x.........", "x...x.....", "x.....x.x."
    rows = [empty] * 30 + [first] * 8 + [second] * 8 + [empty] * 30
    assert musical(frames(*rows), np.zeros((len(rows), len(empty)))).tolist() == [0] * 30 + [1] * 8 + [1] * 8 + [0] * 30


def test_the_end_is_heard_with_what_was_before() -> None:
    """A chord that fills the little behind the last whole stretch is not taken for hum: what came before is known."""
    sound = np.zeros(7 * PIECE)
    start = 6 * PIECE + RATE // 4
    t = np.arange(len(sound) - start) / RATE
    sound[start:] = sum(0.05 * np.sin(2 * np.pi * hertz * t) for hertz in (440, 554, 659, 880, 1108, 1318))
    *_, (_, _, last) = counts(InMemory(sound), 0)  # type: ignore[arg-type]
    assert last > THRESHOLD
