"""The words of a result with their times and voices, out of the parsed JSON of anybody's Deepgram result.

Takes the whole result or its ``results`` alone; with or without utterances, paragraphs, punctuated words and
speakers. Gives each channel's words in order of their start. Knows nothing of cues or files.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from pipeline.errors import NotAResult

_HINT = "Give a whole result, as Deepgram or dropscribe writes it."


class Voice(NamedTuple):
    """Who speaks. Speakers are numbered within their channel; None where nobody told them apart."""

    channel: int
    speaker: int | None


class Spoken(NamedTuple):
    """One word; ``text`` has no white space at its ends, and within it single spaces at most. Times in whole
    milliseconds, 0 ≤ start ≤ end.
    """

    text: str
    start: int
    end: int
    voice: Voice


class Label(NamedTuple):
    """What a voice is called. ``given``: by a person, and not made up from its number."""

    text: str
    given: bool


Channels = tuple[tuple[Spoken, ...], ...]
Labels = Callable[[Voice], Label | None]


def spoken(result: Mapping[str, Any]) -> Channels:
    """Each channel's words, those without any text left out. `NotAResult` for what is no Deepgram result."""
    part = result.get("results", result)
    channels = part.get("channels") if isinstance(part, Mapping) else None
    if not isinstance(channels, list):
        raise NotAResult("this is not a Deepgram result: it has no results.channels", _HINT)
    lists = [_best(number, channel).get("words") or () for number, channel in enumerate(channels)]
    if not any(lists):
        lists = _of_utterances(part.get("utterances") or (), len(channels))
    return tuple(_channel(number, words) for number, words in enumerate(lists))


def _best(number: int, channel: Any) -> Mapping[str, Any]:
    """The first alternative: what everybody reads."""
    alternatives = channel.get("alternatives") if isinstance(channel, Mapping) else None
    if not isinstance(alternatives, list) or not all(isinstance(one, Mapping) for one in alternatives):
        raise NotAResult(f"this is not a Deepgram result: results.channels[{number}] has no alternatives", _HINT)
    return alternatives[0] if alternatives else {}


def _of_utterances(utterances: Any, channels: int) -> list[Any]:
    """The words of a result that has them in its utterances alone."""
    lists: list[list[Any]] = [[] for _ in range(channels)]
    for utterance in utterances if isinstance(utterances, list) else ():
        channel = utterance.get("channel", 0) if isinstance(utterance, Mapping) else None
        words = utterance.get("words") if isinstance(utterance, Mapping) else None
        if isinstance(channel, int) and 0 <= channel < channels and isinstance(words, list):
            lists[channel] += words
    return lists


def _channel(number: int, words: Any) -> tuple[Spoken, ...]:
    if not isinstance(words, (list, tuple)):
        raise NotAResult(f"this is not a Deepgram result: the words of channel {number} are no list", _HINT)
    found: list[Spoken] = []
    voices: dict[int | None, Voice] = {}
    last = next((speaker for word in words if (speaker := _speaker(word)) is not None), None)
    for word in words:
        if not isinstance(word, Mapping):
            raise NotAResult(f"this is not a Deepgram result: a word of channel {number} is no object", _HINT)
        text = clean(word.get("punctuated_word") or word.get("word") or "")
        speaker = _speaker(word)
        last = last if speaker is None else speaker  # whoever spoke before; at the beginning, who speaks first
        if text:
            start = _milliseconds(word.get("start"), number)
            end = max(start, _milliseconds(word.get("end"), number))
            found.append(Spoken(text, start, end, voices.setdefault(last, Voice(number, last))))
    if any(before.start > after.start for before, after in pairwise(found)):
        found.sort(key=lambda word: word.start)
    return tuple(found)


def _speaker(word: Any) -> int | None:
    speaker = word.get("speaker") if isinstance(word, Mapping) else None
    return speaker if isinstance(speaker, int) and not isinstance(speaker, bool) else None


def _milliseconds(value: Any, channel: int) -> int:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return max(0, round(value * 1000))
    raise NotAResult(f"this is not a Deepgram result: a word of channel {channel} has no start or end", _HINT)


def clean(text: object) -> str:
    """One line of characters that can be written: white space becomes single spaces, control characters and halves of
    surrogate pairs go.
    """
    if not isinstance(text, str):
        return ""
    if text.isascii() and text.isprintable() and " " not in text:
        return text
    return " ".join("".join(_writable(text)).split())


def _writable(text: str) -> Iterator[str]:
    for sign in text:
        if sign.isspace() or unicodedata.category(sign) not in ("Cc", "Cs"):
            yield sign


def runs(words: Sequence[Spoken], pause: int) -> Iterator[Sequence[Spoken]]:
    """Neighbours of one voice, without a silence of ``pause`` milliseconds or more between them."""
    first, until = 0, 0
    for place, word in enumerate(words):
        until = max(until, word.end)
        after = words[place + 1] if place + 1 < len(words) else None
        if after is None or after.voice != word.voice or after.start - until >= pause:
            yield words[first : place + 1]
            first = place + 1


def voices(channels: Channels) -> list[Voice]:
    """All that speak, in order of their numbers."""
    found = {word.voice for words in channels for word in words}
    return sorted(found, key=lambda voice: (voice.channel, -1 if voice.speaker is None else voice.speaker))


def labels(channels: Channels, names: Mapping[str, str] | None) -> Labels:
    """What each voice is called; None for the only voice of a recording in which nobody told speakers apart.

    ``names``: by speaker (``"0"``) where there is one channel; by channel and speaker (``"1:0"``) where there are
    several, and by channel alone (``"1"``) where a channel has but one voice.
    """
    names, several = names or {}, len(channels) > 1
    speakers = [{word.voice.speaker for word in words} for words in channels]

    def label(voice: Voice) -> Label | None:
        channel, speaker = voice
        if not several and speaker is None:
            return None
        alone = several and len(speakers[channel]) <= 1
        keys = [f"{channel}:{speaker}"]
        keys += [str(channel)] if alone else []
        keys += [] if several else [str(speaker)]
        for key in keys:
            if name := clean(names.get(key, "")):
                return Label(name, given=True)
        parts = [f"Channel {channel}"] if several else []
        parts += [] if alone else [f"Speaker {speaker}"]
        return Label(" ".join(parts), given=False)

    return label
