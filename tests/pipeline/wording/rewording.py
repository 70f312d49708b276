"""Text in, text out: a sentence as a transcript of words half a second apart, reworded, and joined again."""

from __future__ import annotations

from typing import Any

from pipeline.options import Options
from pipeline.types import Transcript, Word
from pipeline.wording import reword
from tests.pipeline.formats.transcripts import transcript

STEP = 0.5  # seconds from one word's start to the next one's


def spoken(text: str, *, language: str | None = "en", punctuated: bool = True) -> Transcript:
    """Each word lasts 0.4 s; ``|`` is a pause of two seconds."""
    words, at = [], 0.0
    for piece in text.split():
        if piece == "|":
            at += 2.0
            continue
        words.append(Word(text=piece, start=at, end=at + 0.4, confidence=0.5))
        at += STEP
    return transcript(tuple(words), punctuated=punctuated, language=language)


def texts(heard: Transcript) -> str:
    return " ".join(word.text for channel in heard.channels for word in channel.words)


def said(text: str, *, language: str | None = "en", **options: Any) -> str:
    """``text`` reworded with ``options``."""
    return texts(reword(spoken(text, language=language), Options(**options)))


def smart(text: str) -> str:
    return said(text, smart_format=True)
