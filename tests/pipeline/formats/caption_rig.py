"""Results for tests of captions, by hand and by hypothesis; and what others read out of the files.

The parser is FFmpeg's, by way of PyAV: nobody here wrote it, and half of the world's players use it.
"""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import av
from hypothesis import strategies as st

_ENGLISH = "so ask not what your country can do for you, I said. Really? Yes! internationally it's a well-known truth"
_TEXTS = st.one_of(
    st.sampled_from(_ENGLISH.split()),
    st.sampled_from(["你", "好。", "世界", "ก็", "ภาษาไทย", "שלום", "مرحبا،", "😀", "👩‍👩‍👧", "한국어", "é", "x" * 50]),
    st.sampled_from(
        ["", " ", "a-->b", "-->", "<i>", "&amp;", "{\\an8}", "1", "ice cream", "a\n\nb", "\x00", "-", "--"]
    ),
    st.text(max_size=30),
)
_TIMES = st.one_of(st.floats(min_value=0, max_value=30), st.sampled_from([0.0, 1.0, 1.0004, 7.0, 3600.0]))


def word(text: str, start: float, end: float | None = None, speaker: int | None = None) -> dict[str, Any]:
    """As Deepgram writes it; a quarter of a second long unless said otherwise."""
    found: dict[str, Any] = {"word": text.lower(), "start": start, "end": start + 0.25 if end is None else end}
    found |= {"confidence": 0.9, "punctuated_word": text}
    return found if speaker is None else found | {"speaker": speaker}


def result(*channels: Sequence[dict[str, Any]]) -> dict[str, Any]:
    alternatives = [[{"transcript": "", "confidence": 0.9, "words": list(words)}] for words in channels]
    return {"metadata": {}, "results": {"channels": [{"alternatives": one} for one in alternatives]}}


def said(text: str, start: float = 0.0, each: float = 0.3, speaker: int | None = None) -> list[dict[str, Any]]:
    """A sentence, a word every ``each`` seconds, without silence between them."""
    return [
        word(part, round(start + place * each, 3), round(start + (place + 1) * each, 3), speaker)
        for place, part in enumerate(text.split())
    ]


@st.composite
def any_words(draw: st.DrawFn) -> list[dict[str, Any]]:
    """In any order, overlapping, at the same time, of no or of great length, with and without speakers."""
    speakers = draw(st.booleans())
    found = []
    for _ in range(draw(st.integers(0, 25))):
        start = draw(_TIMES)
        one = word(draw(_TEXTS), start, start + draw(st.one_of(st.floats(-1, 3), st.sampled_from([0.0, 20.0]))))
        if draw(st.booleans()):
            del one["punctuated_word"]
        if speakers and draw(st.integers(0, 9)):
            one["speaker"] = draw(st.integers(0, 2))
        found.append(one)
    return found


any_results = st.lists(any_words(), min_size=0, max_size=3).map(lambda channels: result(*channels))


def ordinary_talk(seed: int, words: int = 400) -> list[dict[str, Any]]:
    """English as people speak it: words in order, pauses between, no word that does not fit a line."""
    chance = random.Random(seed)
    vocabulary = [text for text in _ENGLISH.split() if len(text) < 40]
    at, found = 0.0, []
    for _ in range(words):
        text = chance.choice(vocabulary)
        length = 0.06 * len(text) + 0.1
        found.append(word(text, round(at, 3), round(at + length, 3)))
        at += length + chance.choice([0, 0, 0, 0.05, 0.3 if text[-1] in ".?!" else 0.1, 1.2])
    return found


class Parsed(NamedTuple):
    """A cue as a player has it. Milliseconds."""

    start: int
    end: int
    text: str


def parsed(text: str, kind: str) -> list[Parsed]:
    """What FFmpeg's demuxer for ``srt`` or ``webvtt`` makes of a file."""
    if not text.strip() or text == "WEBVTT\n":
        return []
    with av.open(io.BytesIO(text.encode()), format=kind) as container:
        scale = float(container.streams[0].time_base or 0) * 1000
        found = [
            (round((packet.pts or 0) * scale), round((packet.duration or 0) * scale), bytes(packet).decode())
            for packet in container.demux()
            if packet.size
        ]
    return [Parsed(start, start + length, text) for start, length, text in found]


def squeezed(text: str) -> str:
    """What stays of a text when white space does not matter, nor what cannot be written."""
    kept = "".join(sign for sign in text if sign.isspace() or sign.isprintable() or ord(sign) > 0x9F)
    return "".join(kept.encode("utf-8", "ignore").decode().split())
