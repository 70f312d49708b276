"""What a Whisper is asked for: languages, tasks, prompts, no figures. Over one whose answers are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sound import hush, noise, window
from whisper_rig import NATO, all_words, model_of, run, texts

from pipeline.devices import DeviceSettings
from pipeline.errors import OptionsError
from pipeline.models import Models
from pipeline.models.base import Recogniser, Request, Window
from pipeline.models.decoding import Decoded, Planned
from pipeline.models.loading import load_whisper
from pipeline.models.whisper import Known, WhisperRecogniser
from pipeline.types import SAMPLE_RATE


@pytest.fixture(scope="module")
def whisper(fixed_whisper: Path) -> Recogniser:
    return Models(DeviceSettings(device="cpu", compute_type="float32")).get(model_of(fixed_whisper))


@pytest.fixture(scope="module")
def english(fixed_whisper_english: Path) -> Recogniser:
    return Models(DeviceSettings(device="cpu", compute_type="float32")).get(model_of(fixed_whisper_english))


def test_the_language_is_what_most_of_the_speech_is_in(whisper: Recogniser) -> None:
    """A greeting in another language decides nothing: windows vote with their seconds, whatever the batch size."""
    greeting = window(0, noise(3, high=True))
    talk = [window(10.0 * n, noise(9, seed=n)) for n in range(1, 20)]
    for size in (1, 2, 20):
        batches = run(whisper, greeting, *talk, batch_size=size)
        assert {b.language for b in batches} == {"en"}
        assert all(b.language_confidence is not None and 0.6 < b.language_confidence <= 1 for b in batches)
    (batch,) = run(whisper, greeting, window(5, noise(2)))
    assert batch.language == "de"


def test_a_few_windows_all_over_the_recording_vote(fixed_whisper: Path) -> None:
    """Three that agree and are sure decide, ends and middle; otherwise eight are asked; what was encoded to vote is not
    encoded again to be decoded.
    """
    encoded: list[int] = []

    class Noting(WhisperRecogniser):
        def _hear(self, windows: dict[int, Window], request: Request, known: Known) -> None:
            encoded.extend(windows)
            super()._hear(windows, request, known)

        def _decode(self, planned: Sequence[Planned], request: Request) -> list[Decoded]:
            ready.append(sum(one.row is not None for one in planned))
            return super()._decode(planned, request)

    model = model_of(fixed_whisper)
    loaded = load_whisper(model, DeviceSettings(device="cpu", compute_type="float32"))
    for mixed in (False, True):
        encoded.clear()
        ready: list[int] = []
        talk = [window(10.0 * n, noise(1.2, high=mixed and n % 2 == 1, seed=n)) for n in range(40)]
        run(Noting(model, loaded), *talk, batch_size=10)
        assert len(encoded) == (8 if mixed else 3)
        assert len(set(encoded)) == len(encoded)
        assert sum(ready) == len(encoded)
        assert max(encoded) > 30
        assert min(encoded) < 10


def test_silence_does_not_decide_the_language(whisper: Recogniser) -> None:
    """Digital silence before the first speech is not listened to."""
    silence = window(0, np.zeros(30 * SAMPLE_RATE, np.float32))
    assert run(whisper, silence, window(30, noise(2, high=True)))[-1].language == "de"


def test_a_given_language_is_not_detected(whisper: Recogniser) -> None:
    """What the person said holds, in Whisper's code, with no confidence that was never measured."""
    for given, code in (("fr", "fr"), ("pt-BR", "pt"), ("nb", "no"), ("EN_us", "en")):
        (batch,) = run(whisper, window(0, noise(2, high=True)), language=given)
        assert (batch.language, batch.language_confidence) == (code, None)


def test_detection_stays_among_the_candidates(whisper: Recogniser) -> None:
    """detect_language with a list: the likeliest of the list, however sure the model is of another."""
    (batch,) = run(whisper, window(0, noise(2, high=True)), detect=True, candidates=("en-GB", "fr"))
    assert batch.language == "en"
    assert batch.language_confidence is not None
    assert batch.language_confidence < 0.1


def test_each_window_has_its_own_language_with_multi(whisper: Recogniser) -> None:
    """language=multi: every word names the language of its window, in the order spoken, whoever shares its batch."""
    spoken = [(0.0, "en"), (10.0, "de"), (20.0, "de"), (30.0, "en"), (50.0, "de")]
    windows = [window(start, noise(2.2, high=code == "de", seed=int(start))) for start, code in spoken]
    windows.insert(4, window(40.0, hush(3)))
    found = []
    for size in (1, 2, 6):
        batches = run(whisper, *windows, language="multi", batch_size=size)
        assert {(b.language, b.language_confidence) for b in batches} == {(None, None)}
        assert sum(b.seconds for b in batches) == pytest.approx(sum(w.seconds for w in windows))
        found.append([(w.text, w.start, w.end, w.language) for w in all_words(batches)])
    assert found[0] == found[1] == found[2]
    expected = [(text, start + n, code) for start, code in spoken for n, text in enumerate(NATO[:2])]
    assert [(text, round(start), code) for text, start, _, code in found[0]] == expected


def test_each_window_is_decoded_in_its_language_with_multi(fixed_whisper: Path) -> None:
    """The language reaches the decoder, not just the words' labels; windows of all languages share a batch."""
    decoded: list[list[str]] = []

    class Noting(WhisperRecogniser):
        def _decode(self, planned: Sequence[Planned], request: Request) -> list[Decoded]:
            decoded.append([one.plan.tokenizer.language_code for one in planned])
            return super()._decode(planned, request)

    model = model_of(fixed_whisper)
    talk = [window(10.0 * n, noise(1.2, high=n % 2 == 1, seed=n)) for n in range(4)]
    loaded = load_whisper(model, DeviceSettings(device="cpu", compute_type="float32"))
    run(Noting(model, loaded), *talk, language="multi", batch_size=4)
    assert decoded == [["en", "de", "en", "de"]]


def test_multi_says_the_words_that_one_language_says(whisper: Recogniser) -> None:
    """A recording in one language has, with multi, the words and times that it has without."""
    windows = [window(0, noise(3.2)), window(30, noise(4.1))]
    plain, many = run(whisper, *windows, language="en"), run(whisper, *windows, language="multi")
    assert [(w.text, w.start, w.end) for w in all_words(plain)] == [(w.text, w.start, w.end) for w in all_words(many)]
    assert {w.language for w in all_words(plain)} == {None}


def test_translated_words_are_english_with_multi(whisper: Recogniser) -> None:
    """What is translated is English, whatever was spoken."""
    words = all_words(run(whisper, window(0, noise(2.2, high=True)), language="multi", task="translate"))
    assert {w.language for w in words} == {"en"}


def test_silence_has_no_language_with_multi(whisper: Recogniser) -> None:
    """Nothing is detected where nothing was said, and nothing at all is no error."""
    assert texts(run(whisper, window(0, hush(3)), language="multi")) == []
    assert run(whisper, language="multi") == []


def test_figures_are_suppressed_on_request(counting_whisper: Path) -> None:
    """suppress_numerals: a model that writes 2 where it could write Bravo no longer can; without it, it does."""
    whisper = Models(DeviceSettings(device="cpu", compute_type="float32")).get(model_of(counting_whisper))
    said = window(0, noise(3.2))
    assert texts(run(whisper, said)) == ["Alpha", "2", "Charlie"]
    assert texts(run(whisper, said, suppress_numerals=True)) == NATO[:3]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(language="klingon"), "language: .*'klingon'"),
        (Request(language="yue"), "language: .*'yue'"),
        (Request(detect=True, candidates=("en", "xx")), "detect_language: .*'xx'"),
    ],
)
def test_unknown_languages_are_refused(request_: Request, message: str, whisper: Recogniser) -> None:
    """A language that these weights have no token for is the person's error; the hint lists those there are."""
    with pytest.raises(OptionsError, match=message) as caught:
        list(whisper.transcribe([], request_))
    assert "de, " in caught.value.hint


@pytest.mark.parametrize(
    ("request_", "option"),
    [
        (Request(language="de"), "language: de"),
        (Request(language="multi"), "language: multi"),
        (Request(detect=True), "detect_language"),
        (Request(task="translate"), "translate"),
    ],
)
def test_an_english_only_model_refuses_other_languages(request_: Request, option: str, english: Recogniser) -> None:
    """faster-whisper would log a line and go on in English."""
    with pytest.raises(OptionsError, match=option):
        english.check(request_)


def test_an_english_only_model_transcribes_english(english: Recogniser) -> None:
    """With and without being told."""
    for language in (None, "en-US"):
        (batch,) = run(english, window(3, noise(2.2, high=True)), language=language)
        assert [w.text for w in batch.words] == NATO[:2]
        assert (batch.language, batch.language_confidence) == ("en", None)


@pytest.mark.parametrize(
    "request_",
    [
        {"hotwords": ("Kubernetes", "Xhosa")},
        {"initial_prompt": "A talk about storage."},
        {"initial_prompt": "<|startoftranscript|> a <|notimestamps|> b <|endoftext|>"},
        {"hotwords": ("<|startoftranscript|>", "a")},
        {"task": "translate"},
        {"initial_prompt": "word " * 500, "hotwords": tuple("name" + str(i) for i in range(500))},
    ],
)
def test_prompts_do_not_break_the_transcript(request_: dict[str, object], whisper: Recogniser) -> None:
    """Prompts of any length and content, special tokens spelt out included, leave the words whole."""
    assert texts(run(whisper, window(0, noise(3.2)), **request_)) == NATO[:3]


def test_a_prompt_that_does_not_fit_is_warned_of(whisper: Recogniser) -> None:
    """Hotwords go first; what is cut is said, with its size."""
    assert whisper.check(Request(hotwords=("Kubernetes",), initial_prompt="A talk.")) == ()
    warnings = whisper.check(Request(hotwords=("name",) * 500, initial_prompt="A talk about storage."))
    assert [w.parameter for w in warnings] == ["hotwords", "initial_prompt"]
    assert "tokens" in warnings[0].message
