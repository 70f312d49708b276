import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.catalog import Model
from pipeline.errors import OptionsError
from pipeline.options import Options, canonical, for_stage, parse, parse_query, table
from pipeline.options.model import roles
from pipeline.options.names import ALIASES, LATER, NEVER
from pipeline.plan import job_digest, stage_plans

DOCS = Path(__file__).parents[2] / "docs" / "options.md"
STAGES = ("decoding", "transcribing", "generating_output")


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


def test_smart_format_turns_on_what_is_built_of_it_and_says_what_is_not() -> None:
    """smart_format implies punctuate and paragraphs; that numbers stay as they are is a warning, not a secret."""
    made = parse(("options.json", {"smart_format": "true"}))
    assert (made.options.punctuate, made.options.paragraphs) == (True, True)
    assert [warning.parameter for warning in made.warnings] == ["smart_format"]
    assert _options(smart_format=True, paragraphs=False).paragraphs is False


def test_switching_punctuation_off_switches_default_paragraphs_off() -> None:
    """Unformatted mode is one option away; only a paragraphs that somebody asked for stands against it."""
    options = _options(punctuate=False)
    assert (options.punctuate, options.paragraphs) == (False, False)
    for name in ("paragraphs", "smart_format"):
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


@pytest.mark.parametrize("name", sorted({*LATER, *NEVER}))
def test_known_names_are_refused_by_name_unless_they_are_off(name: str) -> None:
    """An option of Deepgram's that is not there is an error that says so; switched off, it asks for nothing."""
    message = _error(("calls/options.json", {name: "true"}))
    assert message.startswith(f"calls/options.json: {name} is not ")
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
        ("language", "multi"),
        ("language", ""),
        ("detect_language", "english please"),
        ("detect_language", []),
        ("task", "sing"),
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


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*roles(), *ALIASES, *LATER]) | st.text(max_size=8), _JSON, max_size=4))
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


def test_only_what_changes_the_results_is_part_of_a_jobs_identity() -> None:
    """Labels and the batch's size leave a job what it was; every other option makes it another one."""
    labelled = _options(tag=["a"], extra={"k": "v"}, batch_size=4, version="latest")
    assert canonical(labelled) == canonical(Options())
    changed: dict[str, Any] = {
        "model": "tiny", "language": "en", "detect_language": ["en"], "task": "translate", "multichannel": True,
        "hotwords": ["x"], "initial_prompt": "x", "punctuate": False, "smart_format": True, "paragraphs": False,
        "utterances": False, "utt_split": 1.0,
    }  # fmt: skip
    assert set(changed) == {name for name, role in roles().items() if role.stages}
    seen = [canonical(_options(**{name: value})) for name, value in changed.items()]
    assert all(one != canonical(Options()) for one in seen)
    assert len({json.dumps(one, sort_keys=True) for one in seen}) == len(changed)


def test_without_the_cache_a_job_is_its_inputs_own() -> None:
    """``cache=false`` changes no option's share of an identity, but job and stages are those of one input, and shared
    by no other; whose they are must be said.
    """
    shared, own = Options(), _options(cache="false")
    model = Model(name="m", backend="sphinx", revision="r", version="1", arch="a")
    content = "c" * 64
    assert canonical(own) == canonical(shared)
    jids = {job_digest(content, shared, model, sid) for sid in ("one", "two", None)}
    jids |= {job_digest(content, own, model, sid) for sid in ("one", "one", "two")}
    assert len(jids) == 3
    plans = [stage_plans(content, options, model, jid) for options, jid in ((shared, "j1"), (own, "j1"), (own, "j2"))]
    assert len({plan.digest for made in plans for plan in made}) == 2 * 3
    assert stage_plans(content, shared, model) == stage_plans(content, shared, model, "j1")
    with pytest.raises(ValueError, match="whose"):
        job_digest(content, own, model)
    with pytest.raises(ValueError, match="whose"):
        stage_plans(content, own, model)


def test_a_stage_depends_on_its_own_options_only() -> None:
    """Changing how text is shown does not transcribe again; changing what is heard does."""
    base, shown, heard = Options(), _options(utt_split=2, smart_format=True), _options(language="en", hotwords="x")
    assert for_stage(shown, "transcribing") == for_stage(base, "transcribing")
    assert for_stage(shown, "generating_output") != for_stage(base, "generating_output")
    assert for_stage(heard, "transcribing") == {"language": "en", "hotwords": ["x"], "task": "transcribe"}
    assert for_stage(heard, "generating_output") == for_stage(base, "generating_output")
    assert for_stage(_options(multichannel=True), "decoding") == {"multichannel": True}
    merged: dict[str, Any] = {}
    for stage in STAGES:
        merged |= for_stage(heard, stage)
    assert merged == canonical(heard)


def test_the_documented_table_is_current() -> None:
    """docs/options.md is what ``python -m pipeline.options`` prints."""
    assert DOCS.read_text() == table(), "run: python -m pipeline.options > docs/options.md"
    for name in (*Options.model_fields, *ALIASES, *LATER, *NEVER):
        assert f"| `{name}`" in table()


def test_the_generator_prints_the_table_and_stays_light() -> None:
    """The command named in the document works, and loads nothing heavy."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "pipeline.options"], capture_output=True, text=True, check=True
    )
    assert done.stdout == table()
    assert not re.search(r"\| +(numpy|torch|boto3|av)$", done.stderr, re.MULTILINE)
