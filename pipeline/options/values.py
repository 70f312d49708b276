"""One value of one option: from what a person wrote to what the field holds.

Takes JSON values and strings out of a query alike (``true``, ``"true"``, ``1``; a list, or one value in its place).
Raises `BadValue`, whose text goes after the option's name: "needs true or false, not 'maybe'". Does not know which
option it reads.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MAX_TEXT = 8_000  # characters; a prompt longer than this is a mistake, and no backend reads that far
MAX_TERMS = 100
MAX_TAG = 128  # characters, Deepgram's limit
MAX_BATCH = 1_024
MAX_SPLIT = 86_400.0  # seconds

_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")


class BadValue(ValueError):
    """The value cannot be; the message says what can."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How values are written (``words``, for the table of options) and read (``read``, raises `BadValue`)."""

    words: str
    read: Callable[[object], Any]


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, (str, int)):
        known = {"true": True, "1": True, "false": False, "0": False}.get(str(value).strip().lower())
        if known is not None:
            return known
    raise BadValue(f"needs true or false, not {_shown(value)}")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise BadValue(f"takes one text, not {_shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadValue("holds half of a surrogate pair, which is no character") from None
    text = value.strip()
    if not text:
        raise BadValue("is empty; leave it out, or give it a value")
    if len(text) > MAX_TEXT:
        raise BadValue(f"is {len(text):,} characters long; at most {MAX_TEXT:,} are taken")
    return text


def _seconds(value: object) -> float:
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        try:
            seconds = float(value)
        except (ValueError, OverflowError):
            seconds = math.nan
        if 0 < seconds <= MAX_SPLIT:
            return seconds
    raise BadValue(f"needs seconds above 0 and up to {MAX_SPLIT:g}, not {_shown(value)}")


def _count(value: object) -> int:
    if isinstance(value, (str, int)) and not isinstance(value, bool) and re.fullmatch(r"\d{1,6}", str(value).strip()):
        count = int(value)
        if 1 <= count <= MAX_BATCH:
            return count
    raise BadValue(f"needs a whole number from 1 to {MAX_BATCH:,}, not {_shown(value)}")


def _language(value: object) -> str:
    text = _text(value)
    if text.lower() == "multi":
        raise BadValue(
            "cannot be multi: that is not built yet. Leave it out, and the model finds the one language spoken"
        )
    if not _LANGUAGE.fullmatch(text):
        raise BadValue(f"needs a language code such as en, en-US or zh-Hans, not {_shown(value)}")
    primary, *rest = text.split("-")
    # The usual spelling, so that EN-us and en-US are one job.
    return "-".join([primary.lower(), *(_subtag(part) for part in rest)])


def _subtag(part: str) -> str:
    return {2: part.upper(), 4: part.title()}.get(len(part), part.lower())


def _flag_or_languages(value: object) -> bool | tuple[str, ...]:
    try:
        return _flag(value)
    except BadValue:
        return tuple(dict.fromkeys(_language(entry) for entry in _entries(value)))


def _task(value: object) -> str:
    text = _text(value).lower()
    if text not in ("transcribe", "translate"):
        raise BadValue(f"needs transcribe or translate, not {_shown(value)}")
    return text


def _terms(value: object) -> tuple[str, ...]:
    terms = tuple(dict.fromkeys(_text(entry) for entry in _entries(value)))
    if len(terms) > MAX_TERMS:
        raise BadValue(f"has {len(terms)} terms; at most {MAX_TERMS} are taken")
    return terms


def _tags(value: object) -> tuple[str, ...]:
    tags = _terms(value)
    for tag in tags:
        if len(tag) > MAX_TAG:
            raise BadValue(f"has a tag of {len(tag)} characters; at most {MAX_TAG} are taken")
    return tags


def _pairs(value: object) -> dict[str, str]:
    if isinstance(value, Mapping):
        found = [(_text(key), _plain(entry)) for key, entry in value.items()]
    else:
        found = [_pair(_text(entry)) for entry in _entries(value)]
    if len(found) > MAX_TERMS:
        raise BadValue(f"has {len(found)} pairs; at most {MAX_TERMS} are taken")
    return dict(found)


def _pair(text: str) -> tuple[str, str]:
    key, colon, value = text.partition(":")
    if not colon or not key.strip():
        raise BadValue(f"needs key:value, not {_shown(text)}")
    return key.strip(), value.strip()


def _plain(value: object) -> str:
    """A value of ``extra``: it comes back as text, so a number may be written bare."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _text(value) if value != "" else ""


def _entries(value: object) -> list[object]:
    entries = list(value) if isinstance(value, (list, tuple)) else [value]
    if not entries:
        raise BadValue("is an empty list; leave it out, or give it a value")
    return entries


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


flag = Kind("true, false", _flag)
text = Kind("text", _text)
seconds = Kind("seconds", _seconds)
count = Kind("whole number", _count)
language = Kind("language code", _language)
flag_or_languages = Kind("true, false, language codes", _flag_or_languages)
task = Kind("transcribe, translate", _task)
terms = Kind("list of texts", _terms)
tags = Kind("list of texts", _tags)
pairs = Kind("key:value pairs", _pairs)
