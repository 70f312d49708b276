"""Any options at all: a result that Deepgram's clients take, or one error with a name; and the same bytes each time."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import ModelUnavailable, OptionsError
from pipeline.formats.deepgram import assemble, metadata_part
from pipeline.models import Models
from pipeline.options import OF_ONE_INPUT, Options, parse, parse_query
from pipeline.options.model import roles
from pipeline.options.names import ALIASES, REFUSED
from pipeline.plan import GENERATING_OUTPUT, TRANSCRIBING, artifact_name
from pipeline.run import run_job
from pipeline.types import JobRequest, StageDone, Transcript, Word
from tests.deepgram_contract import check_result
from tests.pipeline.formats.transcripts import transcript, word

SPOKEN = (
    "Um, call me Ishmael. On May fifth, nineteen ninety nine, I paid twenty five dollars and fifty cents. Damn! "
    "Write to ishmael at pequod dot com comma or call five five five, one two three four. Is that ten kilometers? Yes."
)
JOB: dict[str, Any] = {
    "request_id": "9609ff73-a8f0-4cb5-b8de-1e8f7d5b6137", "sha256": "ab" * 32, "created": 1_752_710_259.343,
}  # fmt: skip

_FLAG = st.sampled_from([True, False, "true", "0"])
_TERM = st.sampled_from(["ishmael", "twenty five", "Call me", "um", "…", "a:b", "ishmael:Ahab", "five:", "dollars:%"])
_TERMS = _TERM | st.lists(_TERM, min_size=1, max_size=3)
LIKELY: dict[str, st.SearchStrategy[Any]] = {
    **{name: _FLAG for name, field in Options.model_fields.items() if field.annotation is bool},
    "language": st.sampled_from(["en", "de", "multi", "pt-BR"]),
    "detect_language": _FLAG | st.just(["en", "de"]),
    "task": st.sampled_from(["transcribe", "translate"]),
    "speakers": st.integers(1, 4),
    "min_speakers": st.integers(1, 4),
    "max_speakers": st.integers(1, 4),
    "stemming": st.sampled_from(["auto", True, "false"]),
    "utt_split": st.floats(min_value=1e-6, max_value=100) | st.integers(1, 9),
    "batch_size": st.integers(1, 9),
    "redact": st.sampled_from(["numbers", "pii", "false"]),
    "outputs": st.sampled_from(["srt", "vtt,txt", ["rttm"]]),
    "callback": st.sampled_from(["https://example.com/x", "ftp://example.com"]),
    "callback_method": st.sampled_from(["PUT", "post"]),
    "model": st.sampled_from(["nova-3", "tiny"]),
    "initial_prompt": _TERM,
    "version": st.sampled_from(["latest", "2021-01-01.0"]),
    "extra": st.just("k:v") | st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=2),
}
_NAMES = sorted({*roles(), *ALIASES})
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)
_LIKELY_LAYER = st.fixed_dictionaries({}, optional={name: LIKELY.get(name, _TERMS) for name in _NAMES})
_ANY_LAYER = st.dictionaries(st.sampled_from([*_NAMES, *REFUSED]) | st.text(max_size=8), _JSON, max_size=3)
_QUERY = st.lists(
    st.tuples(st.sampled_from(_NAMES), st.sampled_from(["true", "false", "en", "2", "x:y", "multi", "%31", ""])),
    max_size=4,
).map(lambda pairs: parse_query("&".join(f"{name}={value}" for name, value in pairs)))


def _without_conflicts(layer: dict[str, Any]) -> dict[str, Any]:
    """What excludes each other, or is refused, taken out."""
    odd = {"redact": "pii", "callback": "ftp://example.com"}
    kept = {name: value for name, value in layer.items() if odd.get(name) != value and value != {}}
    for name, others in (("language", ["detect_language"]), ("speakers", ["min_speakers", "max_speakers"])):
        for other in others if name in kept else ():
            kept.pop(other, None)
    if kept.get("min_speakers", 0) > kept.get("max_speakers", 9):
        del kept["min_speakers"]
    if kept.get("punctuate") in (False, "0"):
        for name in ("smart_format", "paragraphs", "dictation"):
            kept.pop(name, None)
    return kept


_FITTING = _LIKELY_LAYER.map(_without_conflicts).map(lambda layer: [("options.json", layer)])
LAYERS = _FITTING | st.lists(
    st.tuples(st.sampled_from(["options.json", "a.options.json"]), _LIKELY_LAYER | _ANY_LAYER | _QUERY),
    min_size=1,
    max_size=2,
)


class NoModels(Models):
    def get(self, model: Any) -> Any:
        raise ModelUnavailable("the transcript is there")


def heard(options: Options) -> Transcript:
    """What a model would have heard: two channels with multichannel, words in two languages with multi."""

    def track(start: float) -> tuple[Word, ...]:
        spoken = [word(text, start + 0.4 * n + n // 7) for n, text in enumerate(SPOKEN.split())]
        if options.language == "multi":
            spoken = [one.model_copy(update={"language": "en" if one.start < 9 else "de"}) for one in spoken]
        return tuple(spoken)

    tracks = [track(0.0), track(0.3), ()] if options.multichannel else [track(0.0)]
    made = transcript(*tracks)
    if options.detect_language or options.language is None:
        return made
    return transcript(*tracks, language=None if options.language == "multi" else options.language.split("-")[0])


def published(options: Options, **more: Any) -> bytes:
    """The result of a job whose transcript is kept, as the engine and the publisher make it."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / artifact_name(TRANSCRIBING)).write_text(heard(options).model_dump_json())
        told: list[Any] = []
        asked = options.model_dump(mode="json", exclude=set(OF_ONE_INPUT))
        run_job(work, JobRequest(work=folder, source="", options=asked, model={}, seed="s"), NoModels(), told.append)
        facts = next(event.facts for event in reversed(told) if isinstance(event, StageDone))
        assert facts is not None
        return assemble(metadata_part(facts, **JOB, **more), (work / artifact_name(GENERATING_OUTPUT)).read_bytes())


@given(LAYERS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_any_options_make_a_result_or_a_named_error(layers: list[tuple[str, dict[str, Any]]]) -> None:
    """Options out of JSON or a query, likely or hostile, in one place or two: a valid result, or one sentence that
    begins with the place. The fields of what is on are there, of what is off are not, and publishing again gives the
    same bytes.
    """
    made, problem = None, ""
    try:
        made = parse(*layers)
    except OptionsError as error:
        problem = error.message
    if made is None:
        assert problem.startswith(("options.json: ", "a.options.json: "))
        return
    more = {"tags": made.options.tag, "extra": made.options.extra, "warnings": made.warnings}
    body = published(made.options, **more)
    check_fields(check_result(body), made.options)
    assert published(made.options, **more) == body


def check_fields(result: dict[str, Any], options: Options) -> None:
    metadata, results = result["metadata"], result["results"]
    assert ("tags" in metadata) == bool(options.tag)
    assert ("extra" in metadata) == bool(options.extra)
    assert "diarize_info" not in metadata
    lacking = {one["parameter"] for one in metadata.get("warnings", ()) if one["type"] == "degraded"}
    one = 1 in (options.speakers, options.max_speakers)
    assert ("diarize" in lacking) == (options.diarize and not options.multichannel and not one)
    assert ("stemming" in lacking) == (options.stemming == "true")  # with auto only if music is found
    assert ("utterances" in results) == options.utterances
    for channel in results["channels"]:
        (alternative,) = channel["alternatives"]
        words = alternative["words"]
        assert ("search" in channel) == bool(options.search)
        assert ("detected_language" in channel) == bool(options.detect_language)
        assert ("language_confidence" in channel) == bool(options.detect_language)
        assert ("languages" in alternative) == (options.language == "multi")
        assert ("paragraphs" in alternative) == (options.paragraphs and bool(words))
        told = options.diarize and (options.multichannel or one)
        assert all(("speaker" in each) == told for each in words)
        assert all(("language" in one) == (options.language == "multi") for one in words)
        assert all(("punctuated_word" in one) == options.punctuate for one in words)
