"""The text options, in their order: a transcript in, the same transcript with other words out.

Filler words, dictation, numbers and what is made of them, units, replacements, profanity, redaction. Each step takes
the words as the one before left them, so nothing that was masked comes back. Every index of a result (utterances,
paragraphs, counts of words) is made from these words afterwards. Knows nothing of JSON or stages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from pipeline.options import Options
from pipeline.types import ChannelTranscript, Transcript, Warning, Word
from pipeline.wording.addresses import addressed
from pipeline.wording.dictation import dictated
from pipeline.wording.fillers import without_fillers
from pipeline.wording.measurements import abbreviated
from pipeline.wording.numbers import OTHERS, other_numbers
from pipeline.wording.profanity import masked
from pipeline.wording.redaction import redacted
from pipeline.wording.replacing import Replacing
from pipeline.wording.smart import formatted
from pipeline.wording.tokens import Edit, applied, tokens

_ENGLISH = "en"
_Step = Callable[[Sequence[Word], str | None], list[Word]]


def reword(transcript: Transcript, options: Options) -> Transcript:
    """The transcript with every text option carried out, and a warning for each that could not be everywhere."""
    steps = _steps(options, transcript.punctuated)
    channels = tuple(_channel(channel, steps, options) for channel in transcript.channels)
    warnings = tuple(_warnings(transcript, options))
    return transcript.model_copy(update={"channels": channels, "warnings": transcript.warnings + warnings})


def _steps(options: Options, punctuated: bool) -> list[_Step]:
    split = options.utt_split
    steps: list[_Step] = []
    if not options.filler_words:
        steps.append(_in_english(without_fillers))
    if options.dictation and options.punctuate and punctuated:
        steps.append(_in_english(lambda words: dictated(words, split)))
    if options.smart_format:
        steps.append(_in_english(lambda words: addressed(words, split)))
    if options.smart_format or options.numerals:
        steps.append(lambda words, language: _numbers(words, language, options))
    if options.measurements:
        steps.append(_in_english(lambda words: abbreviated(words, split)))
    if options.replace:
        replacing = Replacing(options.replace)
        steps.append(lambda words, language: replacing(words, split))
    if options.profanity_filter:
        steps.append(_in_english(masked))
    if options.redact:
        steps.append(lambda words, language: redacted(words, language, split))
    return steps


def _in_english(step: Callable[[Sequence[Word]], list[Word]]) -> _Step:
    return lambda words, language: step(words) if language == _ENGLISH else list(words)


def _numbers(words: Sequence[Word], language: str | None, options: Options) -> list[Word]:
    if language == _ENGLISH:
        return formatted(words, options.utt_split, smart=options.smart_format)
    if language not in OTHERS:
        return list(words)
    parts = tokens(words, options.utt_split)
    edits = [Edit(one.start, one.stop, one.text) for one in other_numbers(parts, language)]
    return applied(words, parts, edits)


def _channel(channel: ChannelTranscript, steps: Sequence[_Step], options: Options) -> ChannelTranscript:
    """Words of one language at a time; nothing is merged across two."""
    made: list[Word] = []
    for language, words in _stretches(channel, options):
        for step in steps:
            words = step(words, language)
        made += words
    return channel.model_copy(update={"words": tuple(made)})


def _stretches(channel: ChannelTranscript, options: Options) -> Iterator[tuple[str | None, Sequence[Word]]]:
    if all(word.language is None for word in channel.words):
        yield _language(None, channel, options), channel.words
        return
    for language, words in groupby(channel.words, lambda word: _language(word.language, channel, options)):
        yield language, list(words)


def _language(own: str | None, channel: ChannelTranscript, options: Options) -> str | None:
    """The language of the text, without its region: a translation is English. None if nobody knows."""
    if options.task == "translate":
        return _ENGLISH
    told = own or channel.language or options.language
    return None if told is None or told == "multi" else told.partition("-")[0].lower()


# ── what could not be done ───────────────────────────────────────────────────────────────────────────────────────────


def _warnings(transcript: Transcript, options: Options) -> Iterator[Warning]:
    if options.dictation and not transcript.punctuated:
        message = f"The model {transcript.model.name} does not punctuate, so spoken punctuation stays in words."
        yield Warning(parameter="dictation", type="unsupported_model", message=message)
    languages = {
        language for channel in transcript.channels if channel.words for language, _ in _stretches(channel, options)
    }
    foreign = languages - {_ENGLISH}
    unread = foreign - OTHERS
    for name, where, lack in (
        ("smart_format", unread, "numbers, dates and currencies stay as they are"),
        ("smart_format", foreign & OTHERS, "only numbers are formatted; dates, currencies and times are in English"),
        ("numerals", unread, "numbers stay as they are"),
        ("measurements", foreign, "units stay as they are"),
        ("dictation", foreign, "spoken punctuation stays in words"),
        ("profanity_filter", foreign, "nothing is masked"),
        ("redact", unread, "only digits are masked; numbers in words are not"),
    ):
        if where and getattr(options, name):
            yield Warning(parameter=name, type="unsupported_language", message=f"In {_named(where)} {lack}.")


def _named(languages: set[str | None]) -> str:
    known = ", ".join(sorted(language for language in languages if language is not None))
    unknown = "an unknown language" if None in languages else ""
    return " and ".join(part for part in (known, unknown) if part)
