"""Deepgram's pre-recorded JSON: the ``results`` of a transcript, the ``metadata`` of a result, and the JSON of an
error.

Takes a `Transcript` and the `Options`, gives bytes: UTF-8, in Deepgram's order of keys, without spaces, the same
for the same input. Never null and never an empty ``paragraphs``: what is not there is left out. The parts are made
apart and joined without being parsed, because the results are made once for a job and the metadata for each input.
Reads no clock and makes no random id.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from pipeline.errors import ErrorDetail
from pipeline.formats.numbers import number
from pipeline.formats.paragraphs import Paragraph, paragraphs
from pipeline.formats.paragraphs import transcript as paragraphs_transcript
from pipeline.formats.text import join
from pipeline.formats.times import iso_time
from pipeline.formats.utterances import Utterance, utterances
from pipeline.formats.words import ResultWord, median_confidence, result_words
from pipeline.options import Options
from pipeline.types import ChannelTranscript, Facts, ModelInfo, Transcript, Warning

# Names under which this project's ids are made: ids of models, and of utterances by seed.
_MODELS = uuid.uuid5(uuid.NAMESPACE_URL, "dropscribe:model")
_UTTERANCES = uuid.uuid5(uuid.NAMESPACE_URL, "dropscribe:utterance")

_text = json.JSONEncoder(ensure_ascii=False).encode  # of one string


class _Channel(NamedTuple):
    """``written``: each word's JSON. It stands in the alternative and again in its utterance."""

    number: int
    words: list[ResultWord]
    written: list[str]


# ── results ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def results_part(transcript: Transcript, options: Options, seed: str) -> bytes:
    """The whole value of ``"results"``. ``seed`` (a digest, say) makes the utterances' ids: same seed, same ids."""
    return b"".join(chunk.encode() for chunk in results_chunks(transcript, options, seed))


def results_chunks(transcript: Transcript, options: Options, seed: str) -> Iterator[str]:
    """`results_part` piece by piece, none much larger than a channel's words."""
    formatted = options.punctuate and transcript.punctuated
    pause = None if formatted else options.utt_split
    channels = []
    yield '{"channels":['
    for index, heard in enumerate(transcript.channels):
        words = result_words(heard.words, formatted)
        channel = _Channel(index, words, [_word(word) for word in words])
        channels.append(channel)
        yield "," if index else ""
        yield from _channel_chunks(channel, heard, options, pause)
    yield "]"
    if options.utterances:
        yield from _utterances_chunks(channels, options.utt_split, seed)
    yield "}"


def _channel_chunks(
    channel: _Channel, heard: ChannelTranscript, options: Options, pause: float | None
) -> Iterator[str]:
    words = channel.words
    yield f'{{"alternatives":[{{"transcript":{_text(join(word.text for word in words))}'
    yield f',"confidence":{number(median_confidence(words))},"words":['
    yield ",".join(channel.written)
    yield "]"
    if options.paragraphs and words:
        yield from _paragraphs_chunks(list(paragraphs(words, pause)))
    yield "}]"
    if options.detect_language and heard.language is not None:
        yield f',"detected_language":{_text(heard.language)}'
        if heard.language_confidence is not None:
            yield f',"language_confidence":{number(heard.language_confidence)}'
    yield "}"


def _word(word: ResultWord) -> str:
    text = f'{{"word":{_text(word.word)},"start":{number(word.start)},"end":{number(word.end)}'
    text += f',"confidence":{number(word.confidence)}'
    if word.language is not None:
        text += f',"language":{_text(word.language)}'
    if word.speaker is not None:
        text += f',"speaker":{word.speaker}'
    if word.speaker_confidence is not None:
        text += f',"speaker_confidence":{number(word.speaker_confidence)}'
    if word.punctuated is not None:
        text += f',"punctuated_word":{_text(word.punctuated)}'
    return text + "}"


def _paragraphs_chunks(found: Sequence[Paragraph]) -> Iterator[str]:
    yield f',"paragraphs":{{"transcript":{_text(paragraphs_transcript(found))},"paragraphs":['
    yield ",".join(map(_paragraph, found))
    yield "]}"


def _paragraph(paragraph: Paragraph) -> str:
    sentences = ",".join(
        f'{{"text":{_text(sentence.text)},"start":{number(sentence.start)},"end":{number(sentence.end)}}}'
        for sentence in paragraph.sentences
    )
    speaker = "" if paragraph.speaker is None else f'"speaker":{paragraph.speaker},'
    return (
        f'{{"sentences":[{sentences}],{speaker}"num_words":{paragraph.num_words}'
        f',"start":{number(paragraph.start)},"end":{number(paragraph.end)}}}'
    )


def _utterances_chunks(channels: Sequence[_Channel], utt_split: float, seed: str) -> Iterator[str]:
    """All channels' utterances in order of their start; at the same start, in order of the channels."""
    space = uuid.uuid5(_UTTERANCES, seed)
    found = [
        (utterance.start, channel.number, nth, utterance)
        for channel in channels
        for nth, utterance in enumerate(utterances(channel.words, utt_split))
    ]
    found.sort(key=itemgetter(0, 1, 2))
    yield ',"utterances":['
    for place, (_, index, nth, utterance) in enumerate(found):
        yield "," if place else ""
        yield _utterance(channels[index], utterance, uuid.uuid5(space, f"{index}/{nth}"))
    yield "]"


def _utterance(channel: _Channel, utterance: Utterance, id: uuid.UUID) -> str:
    speaker = "" if utterance.speaker is None else f'"speaker":{utterance.speaker},'
    words = ",".join(channel.written[utterance.first : utterance.stop])
    return (
        f'{{"start":{number(utterance.start)},"end":{number(utterance.end)},"confidence":{number(utterance.confidence)}'
        f',"channel":{channel.number},"transcript":{_text(utterance.transcript)},"words":[{words}],{speaker}"id":"{id}"}}'
    )


# ── metadata ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def facts(transcript: Transcript, options: Options, warnings: Iterable[Warning] = ()) -> Facts:
    """What the metadata needs from the pipeline. ``warnings`` go after those of the transcript; each is told once.

    ``channels`` counts those of the result: 1 for a stereo recording that was mixed down.
    """
    told = [*transcript.warnings, *_shortfalls(transcript, options), *warnings]
    return Facts(
        duration=transcript.media.duration,
        channels=len(transcript.channels),
        models=(transcript.model,),
        warnings=tuple(dict.fromkeys(told)),
    )


def _shortfalls(transcript: Transcript, options: Options) -> list[Warning]:
    """What was asked for and cannot be made from this transcript."""
    found = []
    if options.punctuate and not transcript.punctuated:
        message = f"The model {transcript.model.name} does not punctuate: there is no punctuated_word"
        message += ", and sentences end at pauses." if options.paragraphs else "."
        found.append(Warning(parameter="punctuate", type="unsupported_model", message=message))
    if options.detect_language and any(channel.language is None for channel in transcript.channels):
        message = "No language could be detected in at least one channel."
        found.append(Warning(parameter="detect_language", type="not_detected", message=message))
    return found


def metadata_part(
    facts: Facts,
    *,
    request_id: str,
    sha256: str,
    created: float,
    tags: Sequence[str] = (),
    extra: Mapping[str, str] | None = None,
    warnings: Iterable[Warning] = (),
) -> bytes:
    """The whole value of ``"metadata"``, for one input.

    ``request_id``: a UUID; ``sha256``: of the submitted bytes, in hex; ``created``: epoch seconds; ``warnings``: of
    this input's options, after those of the facts. ``tags``, ``extra`` and ``warnings`` stand in it only when there
    are any.
    """
    models = {model_id(model): model for model in facts.models}
    told = dict.fromkeys([*facts.warnings, *warnings])
    metadata: dict[str, Any] = {
        "transaction_key": "deprecated",
        "request_id": request_id,
        "sha256": sha256,
        "created": iso_time(created),
        "duration": float(number(facts.duration)),
        "channels": facts.channels,
        "models": list(models),
        "model_info": {id: {"name": m.name, "version": m.version, "arch": m.arch} for id, m in models.items()},
    }
    if told:
        metadata["warnings"] = [warning.model_dump() for warning in told]
    if tags:
        metadata["tags"] = list(tags)
    if extra:
        metadata["extra"] = dict(extra)
    return _json(metadata)


def assemble(metadata: bytes, results: bytes) -> bytes:
    """A whole result out of its two parts, neither of them parsed."""
    return b"".join((b'{"metadata":', metadata, b',"results":', results, b"}"))


def model_id(model: ModelInfo) -> str:
    """A model's UUID, made from its name and the digest of its weights: other weights, another id."""
    return str(uuid.uuid5(_MODELS, json.dumps([model.name, model.revision])))


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def error_part(
    detail: ErrorDetail,
    *,
    request_id: str,
    key: str,
    attempts: int,
    failures: Sequence[Mapping[str, Any]] = (),
) -> bytes:
    """Deepgram's error object, and what else a person needs; indented, because people open it.

    ``request_id`` is the job's id, ``key`` the input's. ``failures``: the attempts that went before, as JSON
    values, only when there are any; what is None in them is left out.
    """
    error: dict[str, Any] = {
        "err_code": detail.code,
        "err_msg": detail.message,
        "request_id": request_id,
        "job_id": request_id,
        "key": key,
        "class": detail.error_class,
        "hint": detail.hint,
        "retryable": detail.retryable,
        "attempts": attempts,
    }
    if failures:
        error["failures"] = [{name: value for name, value in one.items() if value is not None} for one in failures]
    return json.dumps(error, ensure_ascii=False, indent=2).encode() + b"\n"


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
