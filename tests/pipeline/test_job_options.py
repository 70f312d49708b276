import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import OptionsError
from pipeline.options import Options, canonical, parse, parse_query
from pipeline.options.model import roles
from pipeline.options.names import ALIASES, REFUSED


def _options(**given: Any) -> Options:
    return parse(("options.json", given)).options


def _error(*layers: tuple[str, Mapping[str, Any]]) -> str:
    with pytest.raises(OptionsError) as caught:
        parse(*layers)
    assert "\n" not in caught.value.message
    return caught.value.message


def test_the_defaults_are_readable_text_without_a_request() -> None:
    """A bucket has nobody to ask: punctuation, paragraphs and utterances are on, nothing else is."""
    made = parse()
    assert made.options == Options()
    assert made.warnings == ()
    assert canonical(made.options) == {
        "punctuate": True, "paragraphs": True, "utterances": True, "utt_split": 0.8, "task": "transcribe",
    }  # fmt: skip


@pytest.mark.parametrize("yes", [True, "true", "TRUE", 1, "1"])
@pytest.mark.parametrize("no", [False, "false", "False", 0, "0"])
def test_flags_are_taken_from_json_and_from_text(yes: object, no: object) -> None:
    """``true``, ``"true"`` and ``1`` are one value, whichever way a person's tool writes it."""
    options = _options(multichannel=yes, utterances=no)
    assert (options.multichannel, options.utterances) == (True, False)


def test_a_query_string_is_a_layer() -> None:
    """The object's own metadata holds a whole set of options; a repeated name is a list, + and %xx are decoded."""
    query = parse_query("?language=en&tag=a&tag=b+c&utt_split=1&extra=k:v%3Aw&detect_language=false")
    assert query == {
        "language": "en", "tag": ["a", "b c"], "utt_split": "1", "extra": "k:v:w", "detect_language": "false",
    }  # fmt: skip
    options = _options(**query)
    assert (options.language, options.tag, options.utt_split) == ("en", ("a", "b c"), 1.0)
    assert (options.extra, options.detect_language) == ({"k": "v:w"}, False)


def test_later_layers_win_option_by_option() -> None:
    """The nearest word counts, and what it does not mention stays as it was."""
    layers = ("options.json", {"language": "en", "utt_split": 2}), ("a.mp3.options.json", {"language": "de"})
    made = parse(*layers).options
    assert (made.language, made.utt_split) == ("de", 2.0)
    assert parse(*reversed(layers)).options.language == "en"


def test_null_takes_an_earlier_value_back() -> None:
    """A file can return to the default that its folder changed."""
    made = parse(
        ("options.json", {"utt_split": 2, "keyterm": ["x"]}), ("sidecar", {"utt_split": None, "hotwords": None})
    )
    assert made.options == Options()


def test_hotwords_have_three_names_and_lose_intensifiers_with_a_warning() -> None:
    """keyterm, keywords and hotwords of one layer add up; a keyword's weight is told, a keyterm's colon is kept."""
    made = parse(("options.json", {"keywords": ["Zola:2", "Ahab:-1.5"], "keyterm": "re:2", "hotwords": ["Zola"]}))
    assert made.options.hotwords == ("Zola", "Ahab", "re:2")
    assert [warning.parameter for warning in made.warnings] == ["keywords"]
    later = parse(("options.json", {"keywords": "Zola:2"}), ("sidecar", {"keyterm": "Ishmael"}))
    assert later.options.hotwords == ("Ishmael",)
    assert later.warnings == ()


def test_smart_format_turns_on_what_it_needs() -> None:
    """smart_format implies punctuate and paragraphs; paragraphs may still be switched off by name."""
    made = parse(("options.json", {"smart_format": "true"}))
    assert (made.options.smart_format, made.options.punctuate, made.options.paragraphs) == (True, True, True)
    assert made.warnings == ()
    assert _options(smart_format=True, paragraphs=False).paragraphs is False


def test_switching_punctuation_off_switches_default_paragraphs_off() -> None:
    """Unformatted mode is one option away; only a paragraphs that somebody asked for stands against it."""
    options = _options(punctuate=False)
    assert (options.punctuate, options.paragraphs) == (False, False)
    for name in ("paragraphs", "smart_format", "dictation"):
        message = _error(("options.json", {name: True}), ("a.options.json", {"punctuate": False}))
        assert re.match(f"options.json: {name} needs punctuate, .*a.options.json", message)


def test_a_language_and_its_detection_exclude_each_other() -> None:
    """In one layer both are a mistake; in two, the later one replaces the earlier."""
    assert "exclude" in _error(("options.json", {"language": "en", "detect_language": True}))
    made = parse(("options.json", {"language": "en"}), ("sidecar", {"detect_language": ["de", "FR-fr"]})).options
    assert (made.language, made.detect_language) == (None, ("de", "fr-FR"))
    made = parse(("options.json", {"detect_language": True}), ("sidecar", {"language": "en"})).options
    assert (made.language, made.detect_language) == ("en", False)
    assert _options(language="en", detect_language=False).language == "en"


@pytest.mark.parametrize(("given", "kept"), [("EN", "en"), ("en-us", "en-US"), ("zh-hans", "zh-Hans"), ("yue", "yue")])
def test_a_language_has_one_spelling(given: str, kept: str) -> None:
    """Different spellings of a code are one job, not two."""
    assert _options(language=given).language == kept


def test_an_unbuilt_version_is_a_warning() -> None:
    """Asking for a version that nobody can give is told; asking for the latest is not."""
    assert parse(("options.json", {"version": "latest"})).warnings == ()
    assert [one.parameter for one in parse(("options.json", {"version": "2021-03-17.0"})).warnings] == ["version"]


def test_counts_of_speakers_fit_together() -> None:
    """No more at least than at most, over all places; an exact count and a range exclude each other, the later wins."""
    message = _error(("options.json", {"diarize": True, "min_speakers": 3}), ("sidecar", {"max_speakers": "2"}))
    assert message == "options.json: min_speakers is 3, more than max_speakers, which is 2 in sidecar"
    assert "exclude" in _error(("options.json", {"diarize": True, "speakers": 2, "max_speakers": 4}))
    ranged = {"diarize": True, "min_speakers": 2, "max_speakers": 2}
    made = parse(("options.json", ranged), ("sidecar", {"speakers": 5})).options
    assert (made.speakers, made.min_speakers, made.max_speakers) == (5, None, None)
    made = parse(("options.json", {"diarize": True, "speakers": 5}), ("sidecar", {"max_speakers": 3})).options
    assert (made.speakers, made.min_speakers, made.max_speakers) == (None, None, 3)


@pytest.mark.parametrize(
    ("given", "without"),
    [
        ({"speakers": 2}, "diarize"),
        ({"min_speakers": 2, "max_speakers": 3}, "diarize"),
        ({"callback_method": "PUT"}, "callback"),
    ],
)
def test_what_has_no_effect_is_told_and_left_out(given: dict[str, Any], without: str) -> None:
    """An option that changes nothing by itself is a warning, and makes no other job of the recording."""
    made = parse(("options.json", given))
    assert made.options == Options()
    assert [(one.parameter, one.type) for one in made.warnings] == [(name, "no_effect") for name in given]
    assert all(without in one.message for one in made.warnings)


@pytest.mark.parametrize(
    ("name", "written", "kept"),
    [
        ("replace", ["colour:color", "um", "so:", "colour:hue", "at:3:30"],
         (("colour", "hue"), ("um", ""), ("so", ""), ("at", "3:30"))),
        ("replace", {"a": "b", "c": ""}, (("a", "b"), ("c", ""))),
        ("replace", [["a", "b"], ["c", ""]], (("a", "b"), ("c", ""))),
        ("redact", "numbers", ("numbers",)),
        ("redact", ["NUMBERS", "numbers"], ("numbers",)),
        ("redact", "false", ()),
        ("search", ["epistle", "epistle", "two words"], ("epistle", "two words")),
        ("outputs", "vtt, SRT,vtt", ("srt", "vtt")),
        ("outputs", ["rttm", "txt"], ("txt", "rttm")),
        ("stemming", True, "true"),
        ("stemming", "0", "false"),
        ("stemming", "Auto", "auto"),
        ("language", "Multi", "multi"),
        ("callback", " https://user:pw@example.com:8443/x?y=z ", "https://user:pw@example.com:8443/x?y=z"),
    ],
)  # fmt: skip
def test_values_have_one_form(name: str, written: object, kept: object) -> None:
    """However a value is written, the option holds one form of it, and reads that form again."""
    options = _options(**{name: written})
    assert getattr(options, name) == kept
    if kept:
        assert getattr(_options(**{name: options.model_dump(mode="json")[name]}), name) == kept


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_known_names_are_refused_by_name_unless_they_are_off(name: str) -> None:
    """An option of Deepgram's that is not there is an error that says so; switched off, it asks for nothing."""
    message = _error(("calls/options.json", {name: "true"}))
    assert message.startswith(f"calls/options.json: {name} is not supported: ")
    assert parse(("o", {name: False}), ("p", {name: "false"}), ("q", {name: None})).options == Options()


@pytest.mark.parametrize(
    ("written", "meant"),
    [("langauge", "language"), ("Punctuate", "punctuate"), ("utt-split", "utt_split"), ("keyterms", "keyterm")],
)
def test_unknown_names_are_refused_with_the_closest_known_one(written: str, meant: str) -> None:
    """A slip of the finger is found at once, with where it stands and what was meant."""
    assert (
        _error(("options.json", {written: "x"}))
        == f"options.json: there is no option {written!r}; did you mean {meant}?"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("punctuate", "maybe"),
        ("punctuate", 2),
        ("punctuate", ["true", "false"]),
        ("utt_split", 0),
        ("utt_split", -1),
        ("utt_split", "nan"),
        ("utt_split", float("inf")),
        ("utt_split", True),
        ("utt_split", "1e9"),
        ("utt_split", 10**400),
        ("language", ["en", "de"]),
        ("language", "english please"),
        ("language", ""),
        ("detect_language", "english please"),
        ("detect_language", []),
        ("detect_language", ["en", "multi"]),
        ("task", "sing"),
        ("stemming", "always"),
        ("speakers", 0),
        ("speakers", 51),
        ("min_speakers", "two"),
        ("max_speakers", "²"),
        ("redact", "pii"),
        ("redact", ["numbers", "pci"]),
        ("redact", True),
        ("search", [f"term {n}" for n in range(51)]),
        ("search", False),
        ("replace", ":x"),
        ("replace", [f"a{n}:b" for n in range(201)]),
        ("replace", [["a", "b", "c"]]),
        ("outputs", "srt,docx"),
        ("outputs", "srt,"),
        ("callback", "ftp://example.com"),
        ("callback", "https://"),
        ("callback", "https://user:secret@[::1"),
        ("callback", "https://example.com:99999/x"),
        ("callback", "https://example.com/a b"),
        ("callback", "https://example.com/\\@evil"),
        ("callback", "https://example.com/" + "x" * 3_000),
        ("callback", ["https://user:secret@example.com"]),
        ("callback_method", "DELETE"),
        ("model", 3),
        ("model", "\ud800"),
        ("model", "x" * 9_000),
        ("batch_size", 0),
        ("batch_size", "many"),
        ("batch_size", 1.5),
        ("tag", "x" * 129),
        ("tag", [1]),
        ("keyterm", [f"term {n}" for n in range(101)]),
        ("extra", "no colon"),
        ("extra", {"k": ["v"]}),
        ("extra", {"": "v"}),
    ],
)
def test_impossible_values_are_errors_that_name_the_option_and_the_place(name: str, value: object) -> None:
    """One clear line: where, which option, what it needs; and never longer than a screen."""
    message = _error(("a.mp3.options.json", {name: value}))
    assert message.startswith(f"a.mp3.options.json: {name} ")
    assert len(message) < 250
    assert "secret" not in message


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*roles(), *ALIASES, *REFUSED]) | st.text(max_size=8), _JSON, max_size=4))
def test_any_json_gives_options_or_one_clear_error(layer: dict[str, Any]) -> None:
    """Hostile or broken options end as `OptionsError`, and what is accepted travels through JSON unchanged."""
    made, problem = None, ""
    try:
        made = parse(("options.json", layer))
    except OptionsError as error:
        problem = error.message
    if made is None:
        assert problem.startswith("options.json: ")
        return
    assert Options.model_validate_json(made.options.model_dump_json()) == made.options
    json.dumps(canonical(made.options), allow_nan=False).encode()


@given(st.text(max_size=40))
def test_any_text_is_some_query(text: str) -> None:
    """The query never fails by itself: `parse` says what is wrong, and in which place."""
    assert all(isinstance(value, (str, list)) for value in parse_query(text).values())
