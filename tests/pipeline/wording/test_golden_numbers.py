"""Every literal of Deepgram's real responses, spelled out and formatted again, is what Deepgram wrote."""

from __future__ import annotations

import re

import pytest

from pipeline.formats.text import bare
from pipeline.formats.words import ResultWord
from pipeline.options import Options
from pipeline.types import Word
from pipeline.wording import reword
from tests.pipeline.formats import real_responses
from tests.pipeline.formats.transcripts import transcript

_LITERAL = re.compile(r"\D*?(\d+)(\W*)")
_SMALL = [
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def _spelled(number: int) -> list[str]:
    if number < 20:
        return [_SMALL[number]]
    if number < 100:
        return [_TENS[number // 10 - 2], *([_SMALL[number % 10]] if number % 10 else [])]
    raise ValueError(f"{number} is in a response now: say how it is spelled")


def _said(word: ResultWord) -> list[Word]:
    """The words that Deepgram heard: a literal's, its time shared among them, its punctuation behind the last."""
    literal = _LITERAL.fullmatch(word.text)
    pieces = [word.text] if literal is None else _spelled(int(literal[1]))
    if literal is not None:
        pieces[-1] += literal[2]
    each = (word.end - word.start) / len(pieces)
    ends = [*(word.start + each * nth for nth in range(1, len(pieces))), word.end]
    starts = [word.start, *ends[:-1]]
    return [
        Word(text=text, start=start, end=end, confidence=word.confidence, speaker=word.speaker)
        for text, start, end in zip(pieces, starts, ends, strict=True)
    ]


@pytest.mark.parametrize("name", real_responses.NAMES)
@pytest.mark.parametrize("option", ["smart_format", "numerals"])
def test_golden_literals_come_back(name: str, option: str) -> None:
    """Each literal to the letter, with its time; and not one of the other words changes ("Two switches" stays)."""
    real = real_responses.words(name)
    heard = transcript(tuple(word for one in real for word in _said(one)))
    (channel,) = reword(heard, Options.model_validate({option: True})).channels
    assert [word.text for word in channel.words] == [word.text for word in real]
    assert [bare(word.text) for word in channel.words] == [word.word for word in real]
    assert [(word.start, word.end) for word in channel.words] == [(word.start, word.end) for word in real]


def test_golden_responses_have_literals() -> None:
    """So that the comparison is not one of nothing: 1, 2, 38 and 12, in two responses; and no other kind of literal."""
    found = [word.text for name in real_responses.NAMES for word in real_responses.words(name)]
    assert [text for text in found if re.search(r"[\d$%@]", text)] == ["1,", "2.", "38", "12"] * 2
