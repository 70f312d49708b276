"""Windows that the gate does not let through: how they are decoded again, and which attempt is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ctranslate2
import numpy as np
import pytest
from sound import noise, window
from whisper_rig import NATO, all_words, model_of, run, texts

from pipeline.catalog import resolve
from pipeline.devices import DeviceSettings
from pipeline.models import whisper
from pipeline.models.again import ATTEMPTS, DEPARTURES, Attempt, _draw, alone, sampled, sequential, with_row
from pipeline.models.base import Request, Rough, Window
from pipeline.models.decoding import Decoded, Plan, Planned
from pipeline.models.gate import Gate
from pipeline.models.loading import LoadedWhisper, load_whisper
from pipeline.models.prompts import Prompts
from pipeline.models.whisper import PATIENCE, WhisperRecogniser

MODEL = resolve("sphinx", None, Path("/nowhere"))  # a name for the result; the weights are given


@pytest.fixture(scope="module")
def loaded(fixed_whisper: Path) -> LoadedWhisper:
    return load_whisper(model_of(fixed_whisper), DeviceSettings(device="cpu", compute_type="float32"))


def planned(loaded: LoadedWhisper, seconds: float = 4.2, seed: int = 0, **request: object) -> Planned:
    plan = Prompts(loaded.whisper, Request.model_validate(request)).plan("en")
    return with_row(loaded.whisper, alone(Planned(noise(seconds, seed=seed), plan)))


# ── the attempts ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", range(len(ATTEMPTS)))
def test_every_attempt_hears_the_window(number: int, loaded: LoadedWhisper) -> None:
    """Sequentially and at any temperature clear speech is the same words, at their times."""
    found = ATTEMPTS[number](loaded.whisper, planned(loaded))
    assert [word.text.strip() for word in found.words] == NATO[:4]
    assert [word.start for word in found.words] == [pytest.approx(n, abs=0.15) for n in range(4)]
    assert found.text == " ".join(NATO[:4])
    assert -0.5 < found.logprob < 0
    assert found.no_speech < 0.1


def test_previous_text_is_forgotten(loaded: LoadedWhisper) -> None:
    """An echo of the prompt is one of the failures: attempts have neither prompt nor hotwords."""
    window = planned(loaded, initial_prompt="A talk.", hotwords=("Kubernetes",))
    assert window.plan.before == ()
    assert sequential(loaded.whisper, window).text == " ".join(NATO[:4])


def test_samples_depend_on_the_window_alone(loaded: LoadedWhisper) -> None:
    """The same words from the same sound, whatever was drawn before, here or in the library; other sound, others."""

    def drawn(seed: int) -> Decoded:
        return sampled(loaded.whisper, planned(loaded, 20.2, seed), temperature=6.0)

    first = drawn(1)
    ctranslate2.set_random_seed(99)
    plan = planned(loaded).plan
    encoded = loaded.whisper.encode(np.zeros((80, 3000), np.float32))
    loaded.whisper.model.generate(encoded, [plan.prompt], beam_size=1, sampling_topk=0, sampling_temperature=1.0)
    other = drawn(2)
    assert drawn(1) == first
    assert other.text != first.text


class Loaded:
    """A decoder with a fixed distribution over five tokens at every place; the last ends the text."""

    def __init__(self, logits: Sequence[float], longest: int = 12) -> None:
        self.logits = np.array(logits, np.float32)
        self.longest = longest
        self.runs = 0
        self.model = self

    def generate(self, encoded: object, prompts: list[list[int]], **options: object) -> list[Any]:
        self.runs += 1
        path = prompts[0][4:]
        likeliest = int(self.logits.argmax())
        tokens = path if likeliest == 4 else [*path, *[likeliest] * (self.longest - len(path))]
        places = len(tokens) + (likeliest == 4)
        views = [ctranslate2.StorageView.from_array(self.logits) for _ in range(places)]
        return [SimpleNamespace(sequences_ids=[tokens], logits=[views], no_speech_prob=0.25)]


TOY = Plan((), (1, 2, 3), (), SimpleNamespace(no_timestamps=9, eot=4))  # type: ignore[arg-type]


def draw(toy: Loaded, temperature: float, seed: int) -> tuple[list[int], float, float]:
    return _draw(toy, None, TOY, temperature, np.random.default_rng(seed))  # type: ignore[arg-type]


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_samples_have_the_models_distribution(temperature: float) -> None:
    """The first token is drawn as often as its probability at that temperature says."""
    logits = np.array([1.0, 0.0, 0.5, -1.0, -30.0])
    firsts = Counter(draw(Loaded(logits, longest=2), temperature, seed)[0][0] for seed in range(3000))
    expected = np.exp(logits / temperature) / np.exp(logits / temperature).sum()
    for token in range(4):
        assert firsts[token] / 3000 == pytest.approx(expected[token], abs=0.03)


def test_samples_are_scored_as_they_are() -> None:
    """The mean log probability is that of the tokens drawn, at temperature 1, the end's included."""
    logits = np.array([1.0, 0.0, 0.5, -1.0, 0.9])
    logs = logits - np.log(np.exp(logits).sum())
    ended = 0
    for seed in range(40):
        toy = Loaded(logits, longest=40)
        tokens, logprob, no_speech = draw(toy, 1.0, seed)
        assert toy.runs <= DEPARTURES + 1
        assert no_speech == 0.25
        if len(tokens) < 40:
            ended += 1
            assert logprob == pytest.approx((logs[tokens].sum() + logs[4]) / (len(tokens) + 1), abs=1e-5)
    assert ended > 20


# ── which is kept ────────────────────────────────────────────────────────────────────────────────────────────────────


def spoken(text: str, logprob: float = -0.2, no_speech: float = 0.01) -> Decoded:
    words = tuple(Rough(f" {word}", 0.2 * n, 0.2 * n + 0.2, 0.9) for n, word in enumerate(text.split()))
    return Decoded(text, words, logprob, no_speech)


LOOPING = spoken("and so we go " * 8)
MUMBLE = spoken("mumble mumble", -1.4)


class Scripted(WhisperRecogniser):
    """Says what it is told to: first of all, and in each attempt thereafter."""

    first: Decoded
    others: Sequence[Decoded]
    made = 0

    def _decode(self, planned: Sequence[Planned], request: Request) -> list[Decoded]:
        return [self.first] * len(planned)

    def _one(self, attempt: Attempt, windows: Sequence[Planned]) -> list[Decoded]:
        self.made += 1
        return [self.others[min(self.made, len(self.others)) - 1]]


def scripted(loaded: LoadedWhisper, first: Decoded, *others: Decoded) -> Scripted:
    recogniser = Scripted(MODEL, loaded)
    recogniser.first, recogniser.others = first, others
    return recogniser


TALK = Window(100.0, noise(9), ((100.0, 109.0),))


def words_of(recogniser: Scripted) -> str:
    return " ".join(texts(run(recogniser, TALK, language="en")))


def test_good_speech_is_decoded_once(loaded: LoadedWhisper) -> None:
    """What passes the gate costs no second run."""
    recogniser = scripted(loaded, spoken("a good long sentence"))
    assert words_of(recogniser) == "a good long sentence"
    assert recogniser.made == 0
    assert recogniser.warnings() == ()


def test_the_first_attempt_that_passes_is_kept(loaded: LoadedWhisper) -> None:
    """A loop is decoded again until it is none; nobody need be warned of what was mended."""
    recogniser = scripted(loaded, LOOPING, LOOPING, MUMBLE, spoken("what was really said"))
    assert words_of(recogniser) == "what was really said"
    assert recogniser.made == 3
    assert recogniser.warnings() == ()


def test_the_best_of_the_bad_is_kept_and_told(loaded: LoadedWhisper) -> None:
    """When none passes, the likeliest without a loop stays; one warning says where, in seconds of the recording."""
    recogniser = scripted(loaded, LOOPING, MUMBLE, spoken("it may have been this", -1.1), MUMBLE)
    assert words_of(recogniser) == "it may have been this"
    assert recogniser.made == 2 + PATIENCE
    [warning] = recogniser.warnings()
    assert (warning.parameter, warning.type) == ("transcript", "low_confidence")
    assert "100-109 s" in warning.message


def test_many_doubtful_stretches_are_one_warning(loaded: LoadedWhisper) -> None:
    """The warning does not grow with the recording."""
    recogniser = scripted(loaded, MUMBLE, MUMBLE)
    many = [Window(20.0 * n, noise(9), ((20.0 * n, 20.0 * n + 9),)) for n in range(8)]
    run(recogniser, *many, language="en")
    [warning] = recogniser.warnings()
    assert "0-9 s, 20-29 s" in warning.message
    assert warning.message.endswith("and 3 more.")


def test_a_loop_that_stays_is_said_once(loaded: LoadedWhisper) -> None:
    """If every attempt loops, the reader gets the words once, not eight times."""
    assert words_of(scripted(loaded, LOOPING, LOOPING)) == "and so we go"


def test_a_hopeless_window_has_an_end(loaded: LoadedWhisper) -> None:
    """Where attempt after attempt brings nothing better, no more are made: each costs as much as several windows."""
    recogniser = scripted(loaded, MUMBLE, MUMBLE)
    assert words_of(recogniser) == "mumble mumble"
    assert recogniser.made == PATIENCE


def test_a_loop_is_never_given_up_early(loaded: LoadedWhisper) -> None:
    """Only high temperatures lead out of some loops, so all of them are tried."""
    recogniser = scripted(loaded, *[LOOPING] * len(ATTEMPTS), spoken("out of it at last, and with good words"))
    assert words_of(recogniser) == "out of it at last, and with good words"
    assert recogniser.made == len(ATTEMPTS)


def test_only_samples_need_the_encoder(loaded: LoadedWhisper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whisper's own mode, which comes first and often is enough, encodes for itself; all samples share one encoding."""
    encoded: list[Planned] = []
    monkeypatch.setattr(whisper, "with_row", lambda model, window: encoded.append(window) or with_row(model, window))
    assert words_of(scripted(loaded, LOOPING, spoken("what was really said"))) == "what was really said"
    assert encoded == []
    words_of(scripted(loaded, *[LOOPING] * len(ATTEMPTS), LOOPING))
    assert len(encoded) == 1


def test_silence_found_later_is_silence(loaded: LoadedWhisper) -> None:
    """Thanks for watching, nobody says: an attempt that finds silence ends it, with nothing kept and nothing told."""
    recogniser = scripted(loaded, spoken("Thanks for watching!", -1.3, 0.5), spoken("you", -1.5, 0.8), MUMBLE)
    assert words_of(recogniser) == ""
    assert recogniser.made == 1
    assert recogniser.warnings() == ()


def test_an_empty_attempt_is_no_answer_to_speech(loaded: LoadedWhisper) -> None:
    """Where somebody speaks, an attempt without words does not end the search, nor beat one with some."""
    short = Window(5.0, noise(9), ((5.0, 7.0),))
    for place in (TALK, short):
        recogniser = scripted(loaded, MUMBLE, spoken(""), spoken("there it is, clear as day"))
        assert " ".join(texts(run(recogniser, place, language="en"))) == "there it is, clear as day"
    assert words_of(scripted(loaded, MUMBLE, spoken(""))) == "mumble mumble"


def test_what_nobody_can_have_said_is_dropped(loaded: LoadedWhisper) -> None:
    """Half a second of something that might be speech, and a paragraph of text in every attempt: nothing is kept."""
    recogniser = scripted(loaded, *[spoken("Subtitles by the community of people who make subtitles")] * 2)
    place = Window(5.0, noise(2), ((5.0, 5.5),))
    assert texts(run(recogniser, place, language="en")) == []
    assert recogniser.warnings() == ()


def test_neighbours_do_not_matter_to_what_is_decoded_again(loaded: LoadedWhisper) -> None:
    """Every window fails here, so every attempt is made: words, times and confidences are those of the window alone."""
    strict = Gate(least_logprob=0.5)
    places = [window(10.0 * n, noise(1.2 + n, seed=n)) for n in range(3)]
    together = all_words(run(WhisperRecogniser(MODEL, loaded, strict), *places, language="en", batch_size=3))
    apart = [
        word
        for place in reversed(places)
        for word in all_words(run(WhisperRecogniser(MODEL, loaded, strict), place, language="en"))
    ]
    assert sorted(apart, key=lambda word: word.start) == together
    assert len(together) == 1 + 2 + 3
