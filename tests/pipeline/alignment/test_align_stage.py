"""The stage `aligning`: which sound an aligner is given for which words, and what becomes of its answers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import DeviceLost, ModelUnavailable, OutOfMemory
from pipeline.stages.align import CONTEXT, LONGEST, REACH, Aligned, Aligner, aligned
from pipeline.stages.alignment import Unaligned
from pipeline.types import SAMPLE_RATE, Word
from tests.pipeline.alignment.align_rig import EVERY, STEP, Reader, Tracks, quiet, spelt, transcript, word

Said = list[tuple[float, str]]


def words_of(done: Aligned, channel: int = 0) -> tuple[Word, ...]:
    return done.transcript.channels[channel].words


def times(done: Aligned, channel: int = 0) -> list[tuple[float, float]]:
    return [(one.start, one.end) for one in words_of(done, channel)]


def right(said: Said) -> list[object]:
    """The times of what `spelt` wrote: from the first letter's frame to the last one's."""
    return [
        pytest.approx((start, start + EVERY * (len(text) - 1) + STEP), abs=STEP + 1e-6)
        for start, text in said
        if text.strip()
    ]


def talk(seconds: float, seed: int = 1) -> Said:
    """Words and the spaces between them, with pauses of all lengths."""
    rng = np.random.default_rng(seed)
    said: Said = []
    at = 0.5
    while at < seconds - 3:
        text = "".join(rng.choice(list("abcdefghij"), int(rng.integers(1, 8))))
        said.append((round(at / STEP) * STEP, text))
        at += EVERY * len(text) + float(rng.choice([0.2, 0.3, 0.7, 2.5], p=[0.5, 0.3, 0.15, 0.05]))
        said.append((said[-1][0] + EVERY * len(text), " "))
    return said[:-1]


def guess(said: Said, seed: int = 2) -> list[Word]:
    """As a recogniser would: a quarter of a second off, in order and apart."""
    rng = np.random.default_rng(seed)
    spoken = [(start, text) for start, text in said if text.strip()]
    edges = [edge for start, text in spoken for edge in (start, start + EVERY * len(text))]
    moved = np.sort(np.maximum(0, edges + rng.uniform(-0.25, 0.25, len(edges))))
    return [word(text, float(moved[2 * n]), float(moved[2 * n + 1])) for n, (_, text) in enumerate(spoken)]


def test_every_word_of_a_long_recording() -> None:
    """Over many stretches each word is where it was said; words stay in order and apart; nothing else changes; and no
    more is heard at once than an aligner takes.
    """
    said = talk(400)
    sound, reader = Tracks([spelt(400, *said)]), Reader()
    before = transcript(guess(said), seconds=400)
    done = aligned(before, sound, lambda language: reader, quiet)
    assert done.lacking is None
    assert done.transcript.warnings == ()
    assert times(done) == right(said)
    assert all(one.end <= other.start for one, other in pairwise(words_of(done)))
    assert [one.text for one in words_of(done)] == [one.text for one in before.channels[0].words]
    assert sum(map(len, reader.calls)) >= 14
    assert sound.asked <= LONGEST + 1e-3
    assert all(len(call) <= reader.batch for call in reader.calls)


def test_context_is_heard_and_not_used() -> None:
    """A stretch is heard with a second more on each side, and the same word said there is not taken for the stretch's
    own.
    """
    said = [(2.0, "ab"), (20.0, "ab"), (27.1, "ab"), (28.9, "ab"), (47.0, "ab")]
    words = [word("ab", start, start + 0.3) for start, _ in said]
    reader = Reader()
    done = aligned(transcript(words), Tracks([spelt(60, *said)]), lambda language: reader, quiet)
    assert times(done) == right(said)
    heard = [length / SAMPLE_RATE for call in reader.calls for length in call]
    assert heard[1] == pytest.approx(0.3 + 2 * (REACH + CONTEXT), abs=0.01)
    assert heard[0] == pytest.approx(2.3 + REACH + CONTEXT, abs=0.01)


def test_long_pauses_are_not_heard() -> None:
    """Words far apart are stretches of their own, although both would fit into one."""
    said = [(5.0, "ab"), (15.0, "cd")]
    words = [word(text, start, start + 0.3) for start, text in said]
    told: list[float] = []
    sound = Tracks([spelt(60, *said)])
    done = aligned(transcript(words), sound, lambda language: Reader(), lambda _, total: told.append(total))
    assert times(done) == right(said)
    assert told[-1] == pytest.approx(2 * (0.3 + 2 * REACH))


@pytest.mark.parametrize("late", [-0.08, 0.06, 0.2])
def test_a_models_delay_is_taken_off(late: float) -> None:
    """Words that the model hears late, or early, are told where they were said, at the recording's very start too."""
    said = [(0.0, "abc"), (0.3, " "), (0.5, "de"), (10.0, "fg")]
    words = [word("abc", 0.1, 0.4), word("de", 0.4, 0.9), word("fg", 9.7, 10.4)]
    done = aligned(transcript(words), Tracks([spelt(12, *said)]), lambda language: Reader(late=late), quiet)
    assert times(done)[1:] == right(said)[1:]
    wrong = aligned(transcript(words), Tracks([spelt(12, *said)]), lambda language: Reader(late=late, told=0), quiet)
    assert times(wrong)[2][0] == pytest.approx(10.0 + late, abs=STEP)


def test_figures_and_foreign_letters_within_a_text() -> None:
    """What the alphabet lacks is found between what it has."""
    said = [(1.0, "in"), (1.2, " "), (2.0, "nineteen"), (2.8, " "), (4.0, "we"), (4.2, " "), (5.0, "xyz")]
    words = [word("In", 0.8, 1.5), word("1984,", 1.9, 3.2), word("we", 3.9, 4.4), word("xýz", 4.7, 5.5)]
    done = aligned(transcript(words), Tracks([spelt(8, *said)]), lambda language: Reader(), quiet)
    assert times(done) == right(said)
    assert done.transcript.warnings == ()


def test_a_foreign_text_keeps_its_times() -> None:
    """Where most letters are not the aligner's, the old times stay, and one warning says so, with how many words: the
    result is all that any run could give, so nothing is lacking.
    """
    said = [(1.0, "ab"), (40.0, "cd"), (100.0, "ef")]
    words = [word("ab", 0.9, 1.5), word("привет", 40, 41), word("мир", 41.5, 42), word("снова", 100, 101)]
    done = aligned(transcript(words), Tracks([spelt(120, *said)]), lambda language: Reader(), quiet)
    assert words_of(done)[1:] == tuple(words[1:])
    assert times(done)[:1] == right(said[:1])
    (warning,) = done.transcript.warnings
    assert (warning.parameter, warning.type) == ("alignment", "degraded")
    assert warning.message.startswith("3 of 4 words keep")
    assert Unaligned.FOREIGN.value in warning.message
    assert done.lacking is None


def test_nothing_to_align() -> None:
    """Without words nothing is heard, and no aligner is asked for."""

    def find(language: str | None) -> Aligner:
        raise AssertionError("nobody speaks")

    before = transcript([], [])
    done = aligned(before, Tracks([spelt(5), spelt(5)]), find, quiet)
    assert done == Aligned(before)


def test_one_word() -> None:
    """A recording that is one word, without room around it."""
    done = aligned(transcript([word("abc", 0.0, 0.3)]), Tracks([spelt(0.3, (0.0, "abc"))]), lambda _: Reader(), quiet)
    assert times(done) == [pytest.approx((0.0, 0.22), abs=STEP)]


def test_digital_silence() -> None:
    """A model is not asked about sound that is none: made-up words keep their times, with the one warning."""
    silent = np.zeros(10 * SAMPLE_RATE, np.float32)
    reader = Reader()
    words = [word("thanks", 1.0, 2.0)]
    done = aligned(transcript(words), Tracks([silent]), lambda language: reader, quiet)
    assert words_of(done) == tuple(words)
    assert reader.calls in ([], [[]])
    assert Unaligned.UNHEARD.value in done.transcript.warnings[0].message


def test_channels_and_languages() -> None:
    """Each channel's words are found in its own sound, by the aligner of its language, which is asked for once; words
    with a language of their own by that one's.
    """
    first, second = [(1.0, "ab"), (30.0, "cd")], [(2.0, "ab"), (50.0, "ef")]
    channels = [
        [word("ab", 1.2, 1.6), word("cd", 29.8, 30.4)],
        [word("ab", 1.8, 2.1, language="fr"), word("ef", 49.7, 50.2, language="en")],
    ]
    asked: list[str | None] = []

    def find(language: str | None) -> Aligner:
        asked.append(language)
        return Reader()

    sound = Tracks([spelt(60, *first), spelt(60, *second)])
    done = aligned(transcript(*channels, languages=("en", None)), sound, find, quiet)
    assert (times(done, 0), times(done, 1)) == (right(first), right(second))
    assert asked == ["en", "fr"]


def test_a_language_without_an_aligner() -> None:
    """Its words keep their times, the others are aligned, and what is lacking is said once."""
    said = [(1.0, "ab"), (20.0, "cd"), (50.0, "ef")]
    words = [word("ab", 1.2, 1.6, "en"), word("cd", 19.8, 20.4, "da"), word("ef", 49.8, 50.3, "da")]

    def find(language: str | None) -> Aligner:
        if language == "da":
            raise ModelUnavailable("no aligner on this machine speaks da", "Put one there.")
        return Reader()

    done = aligned(transcript(words), Tracks([spelt(60, *said)]), find, quiet)
    assert times(done)[:1] == right(said[:1])
    assert words_of(done)[1:] == tuple(words[1:])
    reason = "Words keep the recogniser's own times: no aligner on this machine speaks da. Put one there"
    assert done.lacking == reason
    assert done.transcript.warnings == ()


@pytest.mark.parametrize("at", [0, 1, 2])
def test_out_of_memory(at: int) -> None:
    """What was aligned before memory ran out for good stays aligned, the rest keeps its times, and what is lacking is
    told; in loading (0) as well.
    """
    said = [(5.0, "ab"), (35.0, "cd"), (65.0, "ef")]
    words = [word(text, start - 0.2, start + 0.4) for start, text in said]
    error = OutOfMemory("the GPU's memory ran out")

    def find(language: str | None) -> Aligner:
        if at == 0:
            raise error
        return Reader(batch=1, fails={at: error})

    done = aligned(transcript(words, seconds=70), Tracks([spelt(70, *said)]), find, quiet)
    kept = max(0, at - 1)
    assert times(done)[:kept] == right(said[:kept])
    assert words_of(done)[kept:] == tuple(words[kept:])
    assert done.lacking is not None
    assert "the GPU's memory ran out" in done.lacking


def test_a_lost_device_ends_it() -> None:
    """It is no reason for poorer times: the process has to end."""
    reader = Reader(fails={1: DeviceLost("the GPU was lost")})
    with pytest.raises(DeviceLost):
        aligned(transcript([word("ab", 1, 2)]), Tracks([spelt(5, (1.0, "ab"))]), lambda language: reader, quiet)


def test_answers_that_are_no_numbers() -> None:
    """A model that fails in silence (float16 that overflowed) costs the better times and nothing else."""

    class Broken(Reader):
        def emissions(self, pieces: object) -> list[np.ndarray]:  # type: ignore[override,type-arg]
            return [np.full_like(one, np.nan) for one in super().emissions(pieces)]  # type: ignore[arg-type]

    words = [word("ab", 1.0, 2.0)]
    done = aligned(transcript(words), Tracks([spelt(5, (1.0, "ab"))]), lambda language: Broken(), quiet)
    assert words_of(done) == tuple(words)
    assert Unaligned.UNHEARD.value in done.transcript.warnings[0].message


def test_progress() -> None:
    """It rises to all that there is to do, by what is done, and does not count pauses that nobody hears."""
    told: list[tuple[float, float]] = []
    said = [(5.0, "ab"), (1000.0, "cd"), (2000.0, "ef")]
    words = [word(text, start, start + 0.4) for start, text in said]
    sound = Tracks([spelt(2100, *said)])
    aligned(transcript(words), sound, lambda _: Reader(batch=1), lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert len(told) == 3
    assert told[-1][0] == pytest.approx(told[-1][1])
    assert told[0][1] < 10


def test_as_many_channels_as_tracks() -> None:
    """Words of one sound are never looked for in another."""
    with pytest.raises(ValueError, match="2 channels, but there are 1 tracks"):
        aligned(transcript([], []), Tracks([spelt(5)]), lambda language: Reader(), quiet)


_WORDS = st.lists(
    st.tuples(
        st.sampled_from(["ab", "cd.", "1984", "мир", "—", "a", "zz", "antidisestablishmentarianism"]),
        st.floats(0, 90),
        st.floats(0, 60),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(_WORDS, st.booleans())
def test_whatever_times_a_recogniser_gives(drawn: list[tuple[str, float, float]], apart: bool) -> None:
    """Words that last a minute, lie on each other, or past the recording's end: none is lost, texts stay in order, and
    words that came apart stay in order and apart.
    """
    words: list[Word] = []
    for text, start, length in sorted(drawn, key=lambda one: one[1]):
        begin = max(start, words[-1].end) if apart and words else start
        words.append(word(text, begin, begin + length))
    sound = Tracks([spelt(80, (1.0, "ab cd"), (30.0, "a zz"))])
    done = aligned(transcript(words, seconds=80), sound, lambda language: Reader(), quiet)
    found = words_of(done)
    assert [one.text for one in found] == [one.text for one in words]
    assert all(one.start <= one.end for one in found)
    assert sound.asked <= LONGEST + 1e-3
    if apart:
        assert all(one.end <= other.start + 1e-6 for one, other in pairwise(found))
