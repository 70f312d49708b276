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
from urllib.parse import urlsplit

MAX_TEXT = 8_000  # characters; a prompt longer than this is a mistake, and no backend reads that far
MAX_TERMS = 100
MAX_TAG = 128  # characters, Deepgram's limit
MAX_BATCH = 1_024
MAX_SPLIT = 86_400.0  # seconds
MAX_SPEAKERS = 50
MAX_SEARCHED = 50  # terms
MAX_REPLACED = 200  # terms, Deepgram's limit
MAX_URL = 2_048  # characters

OUTPUTS = ("srt", "vtt", "txt", "rttm")
MULTI = "multi"  # the language of a recording that has several

# Why nothing beside numbers is redacted.
NOT_REDACTED = "finding it takes an entity model, which is not part of this; numbers is what can be redacted"

_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_WHOLE = re.compile(r"[0-9]{1,6}")
_NOT_IN_A_URL = re.compile(r"[\s\x00-\x20\x7f\\]")


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


def _count(value: object, most: int) -> int:
    if isinstance(value, (str, int)) and not isinstance(value, bool) and _WHOLE.fullmatch(str(value).strip()):
        count = int(value)
        if 1 <= count <= most:
            return count
    raise BadValue(f"needs a whole number from 1 to {most:,}, not {_shown(value)}")


def _language(value: object) -> str:
    text = _text(value)
    if text.lower() == MULTI:
        return MULTI
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
        pass
    languages = tuple(dict.fromkeys(_language(entry) for entry in _entries(value)))
    if MULTI in languages:
        raise BadValue("cannot hold multi; give language=multi, which detects languages by itself")
    return languages


def _one_of(value: object, *known: str) -> str:
    """One of a few words, however it is capitalised; as it stands in ``known``."""
    text = _text(value)
    found = {word.lower(): word for word in known}.get(text.lower())
    if found is None:
        raise BadValue(f"needs {_either(known)}, not {_shown(value)}")
    return found


def _either(known: tuple[str, ...]) -> str:
    return f"{', '.join(known[:-1])} or {known[-1]}"


def _stemming(value: object) -> str:
    if isinstance(value, str) and value.strip().lower() == "auto":
        return "auto"
    try:
        return "true" if _flag(value) else "false"
    except BadValue:
        raise BadValue(f"needs auto, true or false, not {_shown(value)}") from None


def _terms(value: object, most: int = MAX_TERMS) -> tuple[str, ...]:
    terms = tuple(dict.fromkeys(_text(entry) for entry in _entries(value)))
    if len(terms) > most:
        raise BadValue(f"has {len(terms)} terms; at most {most} are taken")
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


def _replacements(value: object) -> tuple[tuple[str, str], ...]:
    """``find:replacement``; ``find:`` and ``find`` take a term out. Of two for one term the later counts."""
    if isinstance(value, Mapping):
        found = [(_text(key), _plain(entry)) for key, entry in value.items()]
    else:
        found = [_replacement(entry) for entry in _entries(value)]
    pairs = tuple(dict(found).items())
    if len(pairs) > MAX_REPLACED:
        raise BadValue(f"has {len(pairs)} terms; at most {MAX_REPLACED} are taken")
    return pairs


def _replacement(entry: object) -> tuple[str, str]:
    if isinstance(entry, (list, tuple)) and len(entry) == 2:  # as `Options` themselves hold it
        return _text(entry[0]), _plain(entry[1])
    find, _, replacement = _text(entry).partition(":")
    if not find.strip():
        raise BadValue(f"needs find:replacement, not {_shown(entry)}")
    return find.strip(), replacement.strip()


def _redactions(value: object) -> tuple[str, ...]:
    if value is False or (isinstance(value, str) and value.strip().lower() == "false"):
        return ()
    for entry in _entries(value):
        if (text := _text(entry)).lower() != "numbers":
            raise BadValue(f"cannot be {_shown(text)}: {NOT_REDACTED}")
    return ("numbers",)


def _outputs(value: object) -> tuple[str, ...]:
    """One or several, in a list or with commas between them; in the order of the table, each once."""
    named = [part for entry in _entries(value) for part in _text(entry).split(",")]
    asked = {_one_of(part, *OUTPUTS) for part in named}
    return tuple(kind for kind in OUTPUTS if kind in asked)


def _url(value: object) -> str:
    """The message never shows the value: an address may hold a password."""
    text = value.strip() if isinstance(value, str) else ""
    try:
        parts = urlsplit(text)
        fit = parts.scheme.lower() in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none, brackets that do not close
        fit = False
    if not fit or len(text) > MAX_URL or _NOT_IN_A_URL.search(text):
        raise BadValue(f"needs one http or https URL of up to {MAX_URL:,} characters, with a host and no spaces")
    return _text(text)


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
count = Kind("whole number", lambda value: _count(value, MAX_BATCH))
speakers = Kind(f"whole number up to {MAX_SPEAKERS}", lambda value: _count(value, MAX_SPEAKERS))
language = Kind("language code, multi", _language)
flag_or_languages = Kind("true, false, language codes", _flag_or_languages)
task = Kind("transcribe, translate", lambda value: _one_of(value, "transcribe", "translate"))
stemming = Kind("auto, true, false", _stemming)
method = Kind("POST, PUT", lambda value: _one_of(value, "POST", "PUT"))
terms = Kind("list of texts", _terms)
searched = Kind(f"list of up to {MAX_SEARCHED} texts", lambda value: _terms(value, MAX_SEARCHED))
replacements = Kind("find:replacement, list", _replacements)
redactions = Kind("numbers", _redactions)
outputs = Kind(f"list of {', '.join(OUTPUTS)}", _outputs)
url = Kind("http or https URL", _url)
tags = Kind("list of texts", _tags)
pairs = Kind("key:value pairs", _pairs)
