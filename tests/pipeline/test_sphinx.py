"""pocketsphinx, the real one: words with times, the same for a window whatever came before it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from faster_whisper.audio import decode_audio
from numpy.typing import NDArray

from pipeline.catalog import resolve
from pipeline.errors import OptionsError
from pipeline.models import Models
from pipeline.models.base import Batch, Recogniser, Request, Window
from pipeline.types import SAMPLE_RATE, Word

TEXT = "and so my fellow americans ask not what your country can do for you ask what you can do for your country"
SAID = TEXT.split()
JFK = Path(__file__).parents[2] / "examples/jfk.flac"


@pytest.fixture(scope="module")
def jfk() -> NDArray[np.float32]:
    samples: NDArray[np.float32] = decode_audio(str(JFK), sampling_rate=SAMPLE_RATE)
    return samples


@pytest.fixture(scope="module")
def sphinx() -> Recogniser:
    return Models().get(resolve("sphinx", None, Path("/nowhere")))


@pytest.fixture(scope="module")
def whole(sphinx: Recogniser, jfk: NDArray[np.float32]) -> Batch:
    (batch,) = sphinx.transcribe([Window(100.0, jfk)], Request())
    return batch


def words(sphinx: Recogniser, *windows: Window) -> list[tuple[Word, ...]]:
    return [batch.words for batch in sphinx.transcribe(windows, Request())]


def correct(heard: list[str]) -> int:
    """Words of SAID found in order: the longest common subsequence."""
    row = [0] * (len(heard) + 1)
    for word in SAID:
        diagonal = 0
        for j, other in enumerate(heard):
            diagonal, row[j + 1] = row[j + 1], diagonal + 1 if word == other else max(row[j + 1], row[j])
    return row[-1]


def test_it_hears_most_of_a_real_recording(whole: Batch) -> None:
    """A person's clear English comes out mostly right: at least 12 of the 22 words, in order."""
    assert correct([w.text for w in whole.words]) >= 12
    assert (whole.language, whole.language_confidence) == ("en", None)


def test_words_are_words(whole: Batch) -> None:
    """No pronunciation numbers, no noises, no sentence marks; lower case; not punctuated."""
    assert all(w.text.replace("'", "").isalpha() and w.text == w.text.lower() for w in whole.words)


def test_times_lie_in_the_window(whole: Batch) -> None:
    """Times are the recording's: inside the window, in order, not overlapping; and confidences are probabilities."""
    times = [t for w in whole.words for t in (w.start, w.end)]
    assert times == sorted(times)
    assert times[0] >= 100.0
    assert times[-1] <= 111.0
    assert all(w.end > w.start and 0 < w.confidence <= 1 for w in whole.words)
    assert len({w.confidence for w in whole.words}) > 5


def test_the_times_are_right(whole: Batch) -> None:
    """ "country" is first said 5.7 to 6.5 s into the recording."""
    country = next(w for w in whole.words if w.text == "country")
    assert 105.4 < country.start < country.end < 106.8


def test_a_window_does_not_depend_on_what_came_before(sphinx: Recogniser, jfk: NDArray[np.float32]) -> None:
    """Noise estimates and feature means start afresh: the same window gives the same words, times and confidences."""
    window = Window(0.0, jfk[: 4 * SAMPLE_RATE])
    loud = Window(0.0, np.random.default_rng(0).uniform(-1, 1, 2 * SAMPLE_RATE).astype(np.float32))
    other = Window(0.0, 0.02 * jfk[7 * SAMPLE_RATE :])
    first, *_ = words(sphinx, window)
    assert first
    assert words(sphinx, loud, window)[-1] == first
    assert words(sphinx, other, loud, window, window)[-2:] == [first, first]


@pytest.mark.parametrize("samples", [0, 1, 100, 160, 400, 1600, 16000])
def test_silence_and_scraps_give_nothing(samples: int, sphinx: Recogniser) -> None:
    """Digital silence and windows too short for a word are no words, and no error."""
    assert words(sphinx, Window(1.0, np.zeros(samples, np.float32))) == [()]


@pytest.mark.parametrize("samples", [1, 160, 400, 800])
def test_scraps_of_sound_do_no_harm(samples: int, sphinx: Recogniser, jfk: NDArray[np.float32]) -> None:
    """A scrap leaves the decoder fit for the next window."""
    scrap, after = words(sphinx, Window(0.0, jfk[8000 : 8000 + samples]), Window(0.0, jfk[: 3 * SAMPLE_RATE]))
    assert all(w.end <= samples / SAMPLE_RATE for w in scrap)
    assert after


def test_over_full_scale_is_clipped(sphinx: Recogniser, jfk: NDArray[np.float32]) -> None:
    """Samples beyond ±1 are clipped, not wrapped around into noise."""
    loud = 10 * jfk[: 4 * SAMPLE_RATE]
    clipped, wrapped = words(sphinx, Window(0.0, np.clip(loud, -1, 1)), Window(0.0, loud))
    assert clipped
    assert wrapped == clipped


@pytest.mark.parametrize("language", ["de", "fr-CA", "multi", "eng"])
def test_other_languages_are_refused_by_name(language: str, sphinx: Recogniser) -> None:
    """English only: another language is the person's error, said before any sound is read."""

    def unread() -> Window:
        raise AssertionError("read")

    with pytest.raises(OptionsError, match=f"language: {language}"):
        next(iter(sphinx.transcribe((unread() for _ in range(1)), Request(language=language))))


@pytest.mark.parametrize("language", [None, "en", "en-US", "EN_gb"])
def test_english_is_accepted_in_any_spelling(language: str | None, sphinx: Recogniser) -> None:
    """A region of English is English."""
    assert sphinx.check(Request(language=language)) == ()


@pytest.mark.parametrize(
    ("request_", "option"), [(Request(detect=True), "detect_language"), (Request(task="translate"), "translate")]
)
def test_what_it_cannot_do_is_refused(request_: Request, option: str, sphinx: Recogniser) -> None:
    """Detection and translation are errors that name the option."""
    with pytest.raises(OptionsError, match=option):
        sphinx.check(request_)


def test_hints_without_effect_are_warned_of(sphinx: Recogniser) -> None:
    """Hotwords and prompts are accepted, and the result says that they did nothing."""
    warnings = sphinx.check(Request(hotwords=("kubernetes",), initial_prompt="A talk."))
    assert [w.parameter for w in warnings] == ["initial_prompt", "hotwords"]
    assert not sphinx.punctuates
