"""The profanity filter: whole English words of a short list, masked. The list is profanity.txt beside this file."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from pipeline.types import Word
from pipeline.wording.tokens import MASK, edges, reworded

_LIST = Path(__file__).with_name("profanity.txt")


@cache
def listed() -> frozenset[str]:
    """The words of the list, in lower case."""
    lines = _LIST.read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def masked(words: Sequence[Word]) -> list[Word]:
    """Listed words become ``****``; their punctuation, and a possessive's ``'s``, stay."""
    found = listed()
    made = []
    for word in words:
        lead, core, trail = edges(word.text)
        low = core.lower().replace("’", "'")
        own = low.removesuffix("'s")
        if own in found:
            word = reworded(word, f"{lead}{MASK}{core[len(own) :]}{trail}")
        made.append(word)
    return made
