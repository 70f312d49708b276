"""The ``results`` of Deepgram's pre-recorded JSON: channels with their words and paragraphs, and the utterances.

Takes a `Transcript` and the `Options`, gives bytes: UTF-8, in Deepgram's order of keys, without spaces, the same
for the same input. Never null and never an empty ``paragraphs``: what is not there is left out. Knows nothing of
requests, models or times of day.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import NamedTuple

from pipeline.formats.numbers import number
from pipeline.formats.paragraphs import Paragraph, paragraphs
from pipeline.formats.paragraphs import transcript as paragraphs_transcript
from pipeline.formats.search import Hit, Index
from pipeline.formats.text import join
from pipeline.formats.utterances import Utterance, utterances
from pipeline.formats.words import ResultWord, median_confidence, result_words
from pipeline.options import Options
from pipeline.options.values import MULTI
from pipeline.types import ChannelTranscript, Transcript

# The name under which utterances' ids are made, by seed.
_UTTERANCES = uuid.uuid5(uuid.NAMESPACE_URL, "dropscribe:utterance")

_text = json.JSONEncoder(ensure_ascii=False).encode  # of one string


class _Channel(NamedTuple):
    """``written``: each word's JSON. It stands in the alternative and again in its utterance."""

    number: int
    words: list[ResultWord]
    written: list[str]


def results_part(transcript: Transcript, options: Options, seed: str) -> bytes:
    """The whole value of ``"results"``. ``seed`` (a digest, say) makes the utterances' ids: same seed, same ids."""
    return b"".join(chunk.encode() for chunk in results_chunks(transcript, options, seed))


def results_chunks(transcript: Transcript, options: Options, seed: str) -> Iterator[str]:
    """`results_part` piece by piece, none much larger than a channel's words."""
    formatted = options.punctuate and transcript.punctuated
    pause = None if formatted else options.utt_split
    diarized = any(
        word.speaker is not None and word.text.strip() for heard in transcript.channels for word in heard.words
    )
    channels = []
    yield '{"channels":['
    for index, heard in enumerate(transcript.channels):
        words = result_words(heard.words, formatted, diarized)
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
    yield "{"
    if options.search:
        yield from _search_chunks(words, options.search)
    yield f'"alternatives":[{{"transcript":{_text(join(word.text for word in words))}'
    yield f',"confidence":{number(median_confidence(words))}'
    if options.language == MULTI:
        yield f',"languages":[{",".join(map(_text, _languages(words)))}]'
    yield ',"words":['
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


def _search_chunks(words: Sequence[ResultWord], terms: Sequence[str]) -> Iterator[str]:
    """Every term, in the order asked for; one without hits has an empty list."""
    index = Index(words)
    yield '"search":['
    for nth, term in enumerate(terms):
        yield f'{"," if nth else ""}{{"query":{_text(term)},"hits":['
        yield ",".join(map(_hit, index.hits(term)))
        yield "]}"
    yield "],"


def _hit(hit: Hit) -> str:
    return (
        f'{{"confidence":{number(hit.confidence)},"start":{number(hit.start)},"end":{number(hit.end)}'
        f',"snippet":{_text(hit.snippet)}}}'
    )


def _languages(words: Sequence[ResultWord]) -> list[str]:
    """Those of the words, that of most words first; of two alike, the one heard first."""
    counts = Counter(word.language for word in words if word.language is not None)
    return [language for language, _ in counts.most_common()]


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
