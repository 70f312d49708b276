import json
import subprocess
import sys
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings

from pipeline.errors import EngineFailure, NoAudio
from pipeline.formats.deepgram import (
    assemble,
    error_part,
    facts,
    metadata_part,
    model_id,
    results_chunks,
    results_part,
)
from pipeline.formats.text import join
from pipeline.formats.times import iso_time
from pipeline.options import Options
from pipeline.types import Transcript, Warning
from tests.deepgram_contract import ContractError, check_result
from tests.pipeline.formats import real_responses, transcripts
from tests.pipeline.formats.transcripts import MODEL, transcript, word

JOB: dict[str, Any] = {
    "request_id": "9609ff73-a8f0-4cb5-b8de-1e8f7d5b6137",
    "sha256": "ab" * 32,
    "created": 1_752_710_259.343,
}


def _result(made: Transcript, options: Options, **more: Any) -> bytes:
    metadata = metadata_part(facts(made, options), **{**JOB, **more})
    return assemble(metadata, results_part(made, options, "seed"))


def _parsed(made: Transcript, options: Options | None = None, **more: Any) -> dict[str, Any]:
    return check_result(_result(made, options or Options(), **more))


@given(transcripts.transcripts, transcripts.options)
@settings(max_examples=150, deadline=None)
def test_any_transcript_makes_a_result_that_keeps_the_contract(made: Transcript, options: Options) -> None:
    """Whatever was heard, the result is valid, has no null, and satisfies the SDKs; asked-for parts are there."""
    result = check_result(_result(made, options))
    assert ("utterances" in result["results"]) == options.utterances
    for heard, channel in zip(made.channels, result["results"]["channels"], strict=True):
        (alternative,) = channel["alternatives"]
        spoken = [text for one in heard.words if (text := one.text.strip())]
        assert len(alternative["words"]) == len(spoken)
        assert ("paragraphs" in alternative) == (options.paragraphs and bool(spoken))
        assert ("detected_language" in channel) == (options.detect_language and heard.language is not None)
        formatted = options.punctuate and made.punctuated
        assert all(("punctuated_word" in one) == formatted for one in alternative["words"])
        if formatted:
            assert alternative["transcript"] == join(spoken)
            assert [one["punctuated_word"] for one in alternative["words"]] == spoken


@given(transcripts.transcripts, transcripts.options)
@settings(max_examples=30, deadline=None)
def test_the_same_input_gives_the_same_bytes(made: Transcript, options: Options) -> None:
    """Publishing again changes nothing, also from a transcript that has been stored in between."""
    again = Transcript.model_validate_json(made.model_dump_json())
    assert results_part(again, options, "seed") == results_part(made, options, "seed")
    assert "".join(results_chunks(made, options, "seed")).encode() == results_part(made, options, "seed")


def test_silence_is_a_whole_result() -> None:
    """No words: one alternative with an empty transcript and confidence 0.0, ``utterances: []``, no paragraphs."""
    raw = results_part(transcript(()), Options(), "seed")
    assert raw == b'{"channels":[{"alternatives":[{"transcript":"","confidence":0.0,"words":[]}]}],"utterances":[]}'
    assert _parsed(transcript(()))["results"]["utterances"] == []


def test_a_result_reads_like_deepgrams() -> None:
    """A small result to the byte: keys in Deepgram's order, no spaces, text unescaped, numbers in float32 form."""
    made = transcript((word("Olá,", 0.1, 3), word("sim.", 1.2, 5)))
    raw = results_part(made, Options(detect_language=True), "seed").decode()
    first = '{"word":"olá","start":0.1,"end":0.35,"confidence":0.5,"speaker":0,"punctuated_word":"Olá,"}'
    second = '{"word":"sim","start":1.2,"end":1.45,"confidence":0.5,"speaker":1,"punctuated_word":"sim."}'
    assert raw.startswith(
        f'{{"channels":[{{"alternatives":[{{"transcript":"Olá, sim.","confidence":0.5,"words":[{first},{second}]'
    )
    assert '"paragraphs":{"transcript":"\\nSpeaker 0: Olá,\\n\\nSpeaker 1: sim.","paragraphs":[{"sentences":[{' in raw
    assert '"detected_language":"en","language_confidence":0.75}]' in raw
    assert f'"channel":0,"transcript":"sim.","words":[{second}],"speaker":1,"id":"' in raw


def test_a_real_response_is_made_again_from_its_words() -> None:
    """From texts, times and speakers alone: words and paragraphs equal the real ones, keys in their order."""
    real = real_responses.alternative("dg_speakers.json")
    made = transcript(
        tuple(
            word("x", 0.0).model_copy(
                update={
                    "text": one["punctuated_word"],
                    **{name: one[name] for name in ("start", "end", "confidence", "speaker", "speaker_confidence")},
                }
            )
            for one in real["words"]
        )
    )
    ours = _parsed(made)["results"]["channels"][0]["alternatives"][0]
    for part in ("transcript", "words", "paragraphs"):
        assert ours[part] == real[part]
    assert list(ours) == list(real)
    assert list(ours["words"][0]) == list(real["words"][0])
    assert list(ours["paragraphs"]["paragraphs"][0]) == list(real["paragraphs"]["paragraphs"][0])


def test_channels_are_apart_and_their_utterances_in_order_of_time() -> None:
    """Multichannel: a channel each, utterances merged by start with their channel, speakers from 0 in each channel."""
    left = (word("One.", 0.0, 4), word("Three.", 5.0, 4))
    right = (word("Two.", 2.0, 9), word("Also", 5.0, 9))
    results = _parsed(transcript(left, right))["results"]
    assert [(one["channel"], one["transcript"]) for one in results["utterances"]] == [
        (0, "One."),
        (1, "Two."),
        (0, "Three."),
        (1, "Also"),
    ]
    assert {one["speaker"] for channel in results["channels"] for one in channel["alternatives"][0]["words"]} == {0}


def test_utterance_ids_follow_the_seed() -> None:
    """The ids are the same for the same seed and differ between jobs, channels and utterances."""
    made = transcript((word("a", 0.0), word("b", 5.0)), (word("c", 0.0),))
    ids = [[one["id"] for one in json.loads(results_part(made, Options(), seed))["utterances"]] for seed in "xyx"]
    assert ids[0] == ids[2]
    assert len({*ids[0], *ids[1]}) == 6


def test_a_backend_without_punctuation_is_said_to_be_one() -> None:
    """Punctuation asked for and not to be had: no ``punctuated_word``, sentences at pauses, and a warning."""
    made = transcript((word("one", 0.0), word("two", 5.0)), punctuated=False)
    result = _parsed(made)
    (warning,) = result["metadata"]["warnings"]
    assert warning["parameter"] == "punctuate"
    alternative = result["results"]["channels"][0]["alternatives"][0]
    assert "punctuated_word" not in alternative["words"][0]
    assert len(alternative["paragraphs"]["paragraphs"][0]["sentences"]) == 2
    assert "warnings" not in _parsed(made, Options(punctuate=False, paragraphs=False))["metadata"]


def test_language_is_reported_only_when_it_was_asked_for() -> None:
    """``detected_language`` comes with detect_language alone; a channel in which there was none is a warning."""
    heard, silent = transcript((word("a", 0.0),)), transcript((), language=None)
    assert "detected_language" not in _parsed(heard)["results"]["channels"][0]
    asked = Options(detect_language=("en", "de"))
    assert _parsed(heard, asked)["results"]["channels"][0]["detected_language"] == "en"
    assert "detected_language" not in _parsed(silent, asked)["results"]["channels"][0]
    assert [one["parameter"] for one in _parsed(silent, asked)["metadata"]["warnings"]] == ["detect_language"]


def test_languages_of_several_are_in_words_and_alternative() -> None:
    """language=multi: each word has its own, ``languages`` has them by how many words they have; of silence, none."""
    spoken = tuple(
        word(text, n * 1.0).model_copy(update={"language": code})
        for n, (text, code) in enumerate([("Hola,", "es"), ("well,", "en"), ("then.", "en"), ("Ja.", "de")])
    )
    (channel,) = _parsed(transcript(spoken, language=None), Options(language="multi"))["results"]["channels"]
    assert channel["alternatives"][0]["languages"] == ["en", "es", "de"]
    assert list(channel["alternatives"][0]) == ["transcript", "confidence", "languages", "words", "paragraphs"]
    assert [one["language"] for one in channel["alternatives"][0]["words"]] == ["es", "en", "en", "de"]
    assert "detected_language" not in channel
    (silent,) = _parsed(transcript((), language=None), Options(language="multi"))["results"]["channels"]
    assert silent["alternatives"][0]["languages"] == []


def test_a_speaker_in_one_channel_is_one_in_all() -> None:
    """deepgram-captions goes by the first word that it sees: with speakers anywhere, every word has one."""
    results = _parsed(transcript((word("One.", 0.0, 3),), (word("Two.", 1.0),)))["results"]
    assert [channel["alternatives"][0]["words"][0]["speaker"] for channel in results["channels"]] == [0, 0]


def test_metadata_has_what_was_given_and_nothing_empty() -> None:
    """Tags, extra and warnings stand in the metadata when there are any, each warning once, in a fixed order."""
    own = Warning(parameter="keywords", type="unsupported_value", message="…")
    made = transcript((word("a", 0.0),)).model_copy(update={"warnings": (own,)})
    plain = json.loads(metadata_part(facts(transcript(()), Options()), **JOB))
    assert list(plain) == [
        "transaction_key", "request_id", "sha256", "created", "duration", "channels", "models", "model_info",
    ]  # fmt: skip
    assert plain["created"] == "2025-07-16T23:57:39.343Z"
    assert plain["models"] == [model_id(MODEL)]
    full = json.loads(metadata_part(facts(made, Options(), [own]), **JOB, tags=["é"], extra={"k": "v"}, warnings=[own]))
    assert (full["tags"], full["extra"], full["warnings"]) == (["é"], {"k": "v"}, [own.model_dump()])
    assert facts(made, Options(), [own]).warnings == (own,)


def test_metadata_channels_counts_the_results_channels() -> None:
    """A stereo recording that was mixed down is one channel to whoever loops over the result."""
    mixed = transcript((word("a", 0.0),))
    mixed = mixed.model_copy(update={"media": mixed.media.model_copy(update={"channels": 2})})
    assert _parsed(mixed)["metadata"]["channels"] == 1


def test_other_weights_have_another_id() -> None:
    """A model's id follows its name and the digest of its weights."""
    other = MODEL.model_copy(update={"revision": "1" * 64})
    assert len({model_id(MODEL), model_id(other), model_id(MODEL.model_copy(update={"name": "base"}))}) == 3
    assert model_id(MODEL.model_copy(update={"version": "x"})) == model_id(MODEL)


@pytest.mark.parametrize(
    ("epoch", "text"), [(0, "1970-01-01T00:00:00.000Z"), (1_700_000_000.9999, "2023-11-14T22:13:20.999Z")]
)
def test_times_have_milliseconds_and_z(epoch: float, text: str) -> None:
    """The form is fixed, whole seconds included."""
    assert iso_time(epoch) == text


def test_errors_have_deepgrams_keys_and_what_a_person_needs() -> None:
    """``err_code``, ``err_msg`` and ``request_id`` as Deepgram's clients read them; ours beside them; never null."""
    detail = NoAudio("the file is a picture").to_detail()
    raw = error_part(detail, request_id=JOB["request_id"], key="a/ü.png", attempts=1)
    error = json.loads(raw)
    assert (error["err_code"], error["err_msg"]) == ("Bad Request", "the file is a picture")
    assert (error["class"], error["retryable"], error["attempts"], error["key"]) == ("NoAudio", False, 1, "a/ü.png")
    assert error["request_id"] == error["job_id"] == JOB["request_id"]
    assert error["hint"] == NoAudio.default_hint
    assert "failures" not in error
    failed = [{"attempt": 1, "error": EngineFailure("boom").to_detail().model_dump(), "worker": None}]
    error = json.loads(error_part(detail, request_id="r", key="k", attempts=2, failures=failed))
    assert error["failures"][0]["error"]["message"] == "boom"
    assert "worker" not in error["failures"][0]


def test_making_results_takes_little_more_memory_than_they_have_bytes() -> None:
    """No giant intermediate: beside the bytes themselves, the words once more and what an utterance needs."""
    made = transcript(tuple(word("Well,", n * 0.5 + n // 20) for n in range(4_000)))
    results_part(made, Options(), "seed")
    tracemalloc.start()
    raw = results_part(made, Options(), "seed")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * len(raw)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"confidence":0.5', b'"confidence":null'),
        (b'"confidence":0.5', b'"confidence":"0.5"'),
        (b'"start":0.1', b'"start":0.10000000149011612'),
        (b'"transaction_key":"deprecated",', b""),
        (b'"speaker":0', b'"speaker":"SPEAKER_00"'),
        (b'"speaker":0', b'"speaker":2'),
        (b'"utterances":[{', b'"utterances":[{"words":[],'),
        (b'"word":"hi"', b'"word":"Hi"'),
        (b'"transcript":"Hi."', b'"transcript":"Ho."'),
        (b'{"metadata"', b'{"request_id":"x","metadata"'),
        (b'"transcript":"Hi."', b'"transcript":"Hi.","languages":["en"]'),
        (b'"alternatives"', b'"detected_language":5,"alternatives"'),
        (b'"alternatives"', b'"search":[{"query":"x","hits":[{"start":0.1}]}],"alternatives"'),
        (b'"request_id":"9609ff73', b'"request_id":"9609FF73'),
        (b'"num_words":1', b'"num_words":-1'),
    ],
)
def test_the_contract_notices(old: bytes, new: bytes) -> None:
    """`check_result` is worth relying on: each known fault of "compatible" servers is found."""
    good = _result(transcript((word("Hi.", 0.1, 0),)), Options())
    check_result(good)
    assert old in good
    with pytest.raises((ContractError, ValueError)):
        check_result(good.replace(old, new))


def test_formats_and_options_are_light() -> None:
    """The handler imports them: neither numpy nor torch comes along."""
    code = "import sys, pipeline.formats.deepgram; print(sorted({'numpy', 'torch', 'av', 'boto3'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
