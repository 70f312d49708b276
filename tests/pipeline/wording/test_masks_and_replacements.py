"""``replace``, ``profanity_filter`` and ``redact``: what is changed, what is kept, and that nothing masked leaks."""

from __future__ import annotations

import json
import re

import pytest

from pipeline.formats.captions import render
from pipeline.formats.deepgram import results_part
from pipeline.options import OUTPUTS, Options
from pipeline.types import Word
from pipeline.wording import reword
from pipeline.wording.profanity import listed
from tests.pipeline.formats.transcripts import transcript
from tests.pipeline.wording.rewording import said, spoken


@pytest.mark.parametrize(
    ("heard", "pairs", "written"),
    [
        ("Hello, Monika.", [("monika", "Monica")], "Hello, Monica."),
        ("“MONIKA!” monikas", [("monika", "Monica")], "“Monica!” monikas"),
        ("So monika jon, no", [("monika jon", "Monica John")], "So Monica John, no"),
        ("New York!", [("new york", "NYC")], "NYC!"),
        ("NYC, too", [("nyc", "New York City")], "New York City, too"),
        ("new york new", [("new", "old"), ("new york", "NYC")], "NYC old"),
        ("new, york", [("new york", "NYC")], "new, york"),
        ("new | york", [("new york", "NYC")], "new york"),
        ("a a a", [("a", "b"), ("b", "c")], "b b b"),
        ("I'll go", [("i'll", "I will")], "I will go"),
        ("It is you know fine.", [("you know", "")], "It is fine."),
        ("It is fine, really.", [("really", "")], "It is fine."),
        ("Well, it is fine.", [("well", "")], "It is fine."),
        ("I don’t know", [("don't", "do not")], "I do not know"),
        ("I don't know", [("don’t", "do not")], "I do not know"),
        ("the .net way, a net, “.NET”", [(".net", "dotnet")], "the dotnet way, a net, “dotnet”"),
        ("a .net or net", [("net", "web"), (".net", "dotnet")], "a dotnet or web"),
        ("fünf Äpfel", [("äpfel", "Birnen")], "fünf Birnen"),
    ],
)
def test_replace(heard: str, pairs: list[tuple[str, str]], written: str) -> None:
    """Bare words are compared, the longest phrase first; edge punctuation stays; nothing there takes words out."""
    assert said(heard, replace=tuple(pairs)) == written


def test_replaced_words_share_the_time_of_those_they_replace() -> None:
    """One by one while both last; the rest shares what is left, in order, within the old words' time."""
    (channel,) = reword(spoken("oh new york now"), Options(replace=(("new york", "the city of lights"),))).channels
    words = channel.words
    assert [word.text for word in words] == ["oh", "the", "city", "of", "lights", "now"]
    assert (words[1].start, words[1].end) == (0.5, 0.9)
    assert (words[2].start, words[4].end) == (1.0, 1.4)
    assert words[2].end == words[3].start < words[3].end == words[4].start


def test_replaced_words_stay_in_order_where_words_overlap() -> None:
    """A long word that becomes two leaves the second no later than the word that came in meanwhile."""
    words = (
        Word(text="hello", start=0.0, end=4.0, confidence=1.0),
        Word(text="there", start=1.0, end=1.5, confidence=1.0),
    )
    (channel,) = reword(transcript(words), Options(replace=(("hello", "good day"),))).channels
    assert [(word.text, word.start) for word in channel.words] == [("good", 0.0), ("day", 1.0), ("there", 1.0)]


@pytest.mark.parametrize(
    ("heard", "written"),
    [
        ("Oh, shit!", "Oh, ****!"),
        ("BULLSHIT, he said", "****, he said"),
        ("the bastard's car", "the ****'s car"),
        ("Scunthorpe, assess the cockpit of the Shitake class", "Scunthorpe, assess the cockpit of the Shitake class"),
    ],
)
def test_profanity_is_masked_by_whole_words(heard: str, written: str) -> None:
    """Stars of one length; a word that only contains one stays."""
    assert said(heard, profanity_filter=True) == written
    assert said(heard) == heard


def test_the_list_is_of_bare_lower_case_words_in_order() -> None:
    """Whatever stands in the file can be found in a transcript at all."""
    assert len(listed()) > 50
    assert all(re.fullmatch(r"[a-z]+", word) for word in listed())


@pytest.mark.parametrize("language", ["de", None])
def test_profanity_is_english(language: str | None) -> None:
    """In another language, or one that is not known, nothing is masked, and a warning says so."""
    heard = reword(spoken("shit", language=language), Options(profanity_filter=True))
    assert heard.channels[0].words[0].text == "shit"
    assert [(one.parameter, one.type) for one in heard.warnings] == [("profanity_filter", "unsupported_language")]


SECRETS = [
    "four one one one",
    "twenty-five",
    "one hundred and five thousand",
    "five dollars and fifty cents",
    "November second nineteen ninety nine",
    "8:37 pm",
    "$5.50",
    "1st",
    "first",
    "zero oh seven",
    "double five",
    "three point one four",
    "twenty-five-year-old",
    "five's",
    "jane5 at example dot com",
    "two thirds",
    "dozens",
    "(555) 123-4567",
    "½",
    "٣٤",
    "B52",
    "nineteen eighties",
    "five/six",
    "twenty–five",
    "four oh oh oh five",
    "oh oh seven",
    "double oh seven",
    "two point oh",
    "five double oh triple oh",
    "two and a half",
    "half a million",
    "two hundredths",
    "five thousandths and two millionths",
    "zeroth",
    "aught five",
    "nineteen ought five",
    "half a dozen",
    "double seven",
    "twentieths",
    "tenfold",
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("formatting", [{}, {"smart_format": True}, {"numerals": True, "measurements": True}])
def test_no_number_is_left_after_redaction(secret: str, formatting: dict[str, bool]) -> None:
    """Digits and number words alike, formatted or not: in the result as a whole and in every kind of captions."""
    options = Options(redact=("numbers",), search=(secret, "code"), filler_words=True, **formatting)
    heard = spoken(f"The code is {secret}, she said.")
    results = results_part(reword(heard, options), options, "seed").decode()
    parsed = json.loads(results)
    shown = [word["word"] for word in parsed["channels"][0]["alternatives"][0]["words"]]
    assert "****" in shown
    forms = [results_of(parsed), *(_cues_less_times(render({"results": parsed}, kind), kind) for kind in OUTPUTS)]
    for part in re.split(r"[\s/–-]+", secret):
        if part in ("and", "a", "at", "dot", "com", "example", "year", "old", "pm", "November", "cents", "dollars"):
            continue
        for form in forms:
            assert not re.search(rf"(?<!\w){re.escape(part)}(?!\w)", form, re.IGNORECASE), (part, form)
    assert parsed["channels"][0]["search"][1]["hits"][0]["snippet"] == "code"


def results_of(parsed: dict[str, object]) -> str:
    """All of the results' text but their numbers, ids and the terms that were asked for."""
    if isinstance(parsed, dict):
        return " ".join(results_of(value) for name, value in parsed.items() if name not in ("id", "query"))
    if isinstance(parsed, list):
        return " ".join(map(results_of, parsed))
    return parsed if isinstance(parsed, str) else ""


def _cues_less_times(body: str, kind: str) -> str:
    """Captions without what has digits by right: times and cue numbers."""
    if kind == "rttm":
        return ""
    lines = [line for line in body.splitlines() if "-->" not in line and not line.strip().isdigit()]
    return "\n".join(re.sub(r"^\[[\d:]+\] (Speaker \d+: )?", "", line) for line in lines)


@pytest.mark.parametrize(
    ("language", "heard", "written"),
    [
        ("de", "fünfundzwanzig Kühe, eins", "**** Kühe, ****"),
        ("fr", "vingt et un ans", "**** **** **** ans"),
        ("ru", "два 25", "два ****"),
        ("zh", "一起 25", "一起 ****"),
        (None, "two 25", "two ****"),
    ],
)
def test_redaction_in_other_languages(language: str | None, heard: str, written: str) -> None:
    """Number words where text2num reads the language, digits everywhere; where words are left, a warning says so."""
    made = reword(spoken(heard, language=language), Options(redact=("numbers",)))
    assert " ".join(word.text for word in made.channels[0].words) == written
    assert bool(made.warnings) == (language not in ("de", "fr"))


@pytest.mark.parametrize(
    "text", ["half of it", "the point of a couple", "oh well", "double oh", "a quarter and a half"]
)
def test_what_may_be_no_number_stays_where_none_is_beside_it(text: str) -> None:
    """Signs of numbers are masked beside numbers alone."""
    assert said(text, redact=("numbers",)) == text


def test_masks_are_of_one_length_and_keep_times_and_speakers() -> None:
    """The mask tells neither how long the number was nor anything else of it."""
    words = (
        Word(text="$1,234,567.", start=1.0, end=2.0, confidence=0.5, speaker=1),
        Word(text="5", start=3.0, end=4.0, confidence=0.25, speaker=0),
    )
    (channel,) = reword(transcript(words), Options(redact=("numbers",))).channels
    assert channel.words == (
        words[0].model_copy(update={"text": "****."}),
        words[1].model_copy(update={"text": "****"}),
    )
