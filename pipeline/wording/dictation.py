"""Dictation: spoken punctuation becomes punctuation. English, and only where there is punctuation at all.

"new line" and "new paragraph" end the sentence: a result's words hold no line breaks, because captions are made of
them.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.types import Word
from pipeline.wording.tokens import Token, capitalised, merged, reworded, stopped, tokens

_BREAK = "\n"
COMMANDS: dict[tuple[str, ...], str] = {
    ("comma",): ",",
    ("period",): ".",
    ("full", "stop"): ".",
    ("colon",): ":",
    ("semicolon",): ";",
    ("semi", "colon"): ";",
    ("question", "mark"): "?",
    ("exclamation", "mark"): "!",
    ("exclamation", "point"): "!",
    ("ellipsis",): "…",
    ("hyphen",): "-",
    ("dash",): " –",
    ("open", "quote"): "“",
    ("close", "quote"): "”",
    ("open", "parenthesis"): "(",
    ("close", "parenthesis"): ")",
    ("new", "line"): _BREAK,
    ("new", "paragraph"): _BREAK,
}
_LONGEST = 80  # characters of a word that another is joined to
_OPENERS = "“("
_ENDS = (".", "?", "!", "…")


def dictated(words: Sequence[Word], utt_split: float) -> list[Word]:
    """The words less the commands, which stand as signs at their neighbours. ``utt_split``: seconds."""
    parts = tokens(words, utt_split)
    made: list[Word] = []
    opener, capital = "", False
    place = 0
    while place < len(words):
        command = _command(parts, place)
        sign = COMMANDS.get(command)
        stop = place + len(command)
        # a sign stands at a word of the one who said it; where there is none, it was no command
        behind = bool(made) and made[-1].speaker == words[place].speaker
        before = stop < len(words) and words[stop].speaker == words[place].speaker
        if sign is None or not (sign == _BREAK or (before if sign in _OPENERS else behind)):
            made.append(_opened(words[place], opener, capital))
            opener, capital = "", False
            place += 1
        elif sign in _OPENERS:
            opener += sign
            place = stop
        elif sign == "-" and len(made[-1].text) < _LONGEST and _joins(parts, place):
            text = f"{made[-1].text}-{words[stop].text}"
            made[-1] = merged([made[-1], words[stop]], text)
            place = stop + 1
        else:
            if behind:
                made[-1] = reworded(made[-1], _signed(made[-1].text, sign))
            capital = capital or sign == _BREAK or sign in _ENDS
            place = stop
    if opener and made:  # opened before a command: nothing to open, but nothing is lost either
        made[-1] = reworded(made[-1], made[-1].text + opener)
    return made


def _command(parts: Sequence[Token], place: int) -> tuple[str, ...]:
    """The command at a place, of two words if nothing is between them; or the word that is there."""
    pair = tuple(part.low for part in parts[place : place + 2])
    whole = len(pair) == 2 and pair in COMMANDS and not parts[place + 1].apart
    return pair if whole else pair[:1]


def _joins(parts: Sequence[Token], place: int) -> bool:
    """Whether a hyphen stands between two words that it makes one: ``well hyphen known``."""
    after = place + 1
    if after >= len(parts) or parts[place].apart or parts[after].apart:
        return False
    return _command(parts, after) not in COMMANDS


def _opened(word: Word, opener: str, capital: bool) -> Word:
    word = capitalised(word) if capital else word
    return reworded(word, opener + word.text) if opener else word


def _signed(text: str, sign: str) -> str:
    """A word with a sign behind it. The recogniser may have put one there by itself: the spoken one counts."""
    if sign == _BREAK:
        return text if text.endswith(_ENDS) else stopped(text, ".")
    if sign in "”)":
        return text + sign
    bare = text.rstrip(",;:.?!…-–— ") or text
    return bare + sign
