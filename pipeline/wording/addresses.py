"""E-mail addresses and URLs that were spoken: ``jane dot doe at example dot com``, ``example dot com slash news``.

English. A domain needs an ending that is known; an address needs a word about mail before it, a known mail service,
or a name with a dot or an underscore in it: "look at example dot com" is no address.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.types import Word
from pipeline.wording.numbers import is_number_word
from pipeline.wording.tokens import Edit, Token, applied, tokens, wordset

_ENDINGS = wordset(
    "com org net edu gov mil int info biz io co ai app dev tv me us uk ca au nz ie de fr es it nl eu ch at in jp"
)
# Endings that are words, too: the red dot in the corner.
_WORDS = wordset("in at me it us de es app info live")
_NO_SITES = wordset("polka red green blue yellow black white big little small tiny last first single")
_SERVICES = wordset("gmail googlemail yahoo hotmail outlook icloud aol protonmail proton gmx fastmail msn live")
_SIGNS = {"dot": ".", "underscore": "_", "dash": "-", "hyphen": "-"}
_CUES = wordset("email e-mail emails emailed mail mailed address contact write")
_LONGEST = 8  # labels of a domain, or parts of a name
_CUE_REACH = 8  # words before an address in which one of mail may stand
_NO_NAMES = wordset(
    "a an the this that is it's and or at me us him her it them you i we they look looking find found visit "
    "available online site website page go going over out up here there"
)
_NAME = re.compile(r"[a-z0-9]+(?:[._+-][a-z0-9]+)*")
_DOMAIN = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)*\.([a-z]{2,})")
_LABEL = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


def addressed(words: Sequence[Word], utt_split: float) -> list[Word]:
    """Each address and URL as one word. ``utt_split``: seconds, the longest pause inside one."""
    parts = tokens(words, utt_split)
    edits: list[Edit] = []
    for place, part in enumerate(parts):
        if part.low not in ("at", "dot") and "." not in part.low:
            continue
        reached = edits[-1].stop if edits else 0
        edit = _email(parts, place, reached) if part.low == "at" else _url(parts, place, reached)
        if edit is not None:
            edits.append(edit)
    return applied(words, parts, edits)


def _email(parts: Sequence[Token], at: int, reached: int) -> Edit | None:
    """An address around the ``at`` at a place."""
    start, name = _local(parts, at, reached)
    domain = _domain(parts, at + 1) if at + 1 < len(parts) and not parts[at + 1].apart else None
    if not name or domain is None:
        return None
    stop, host = domain
    told = any(part.low in _CUES for part in parts[max(0, start - _CUE_REACH) : start])
    if not (told or host.split(".")[0] in _SERVICES or not name.isalpha()):
        return None
    return Edit(start, stop, f"{name}@{host}")


def _local(parts: Sequence[Token], at: int, reached: int) -> tuple[int, str]:
    """The name before an ``at``: where it begins, and its text; "" if there is none."""
    if at == 0 or parts[at].apart:
        return at, ""
    start = at - 1
    text = parts[start].low
    if start < reached or text in _NO_NAMES or text in _SIGNS or not _NAME.fullmatch(text):
        return at, ""
    while start > at - 2 * _LONGEST and start - 2 >= reached and not parts[start].apart and not parts[start - 1].apart:
        sign, before = _SIGNS.get(parts[start - 1].low), parts[start - 2].low
        if sign is None or not _NAME.fullmatch(before) or before in _SIGNS:
            break
        text = before + sign + text
        start -= 2
    return start, text


def _domain(parts: Sequence[Token], start: int) -> tuple[int, str] | None:
    """(stop, text) of a domain that begins at a place, spoken or written."""
    written = _DOMAIN.fullmatch(parts[start].low)
    if written is not None:
        return (start + 1, parts[start].low) if written[1] in _ENDINGS else None
    labels: list[str] = []
    stop = start
    while (
        len(labels) < _LONGEST
        and stop < len(parts)
        and (stop == start or not parts[stop].apart)
        and _LABEL.fullmatch(parts[stop].low)
    ):
        labels.append(parts[stop].low)
        stop += 1
        if stop + 1 >= len(parts) or parts[stop].apart or parts[stop].low != "dot" or parts[stop + 1].apart:
            break
        stop += 1
    if len(labels) < 2 or labels[0] in _NO_NAMES or labels[-1] not in _ENDINGS:
        return None
    if labels[-1] in _WORDS and not _is_site(parts, start, stop, labels):
        return None
    return stop, ".".join(labels)


def _is_site(parts: Sequence[Token], start: int, stop: int, labels: Sequence[str]) -> bool:
    """Whether a domain with an ending that is a word is one: said as such, at the end of a phrase, or with a path."""
    if labels[0] == "www":
        return True
    if len(labels) == 2 and (labels[0] in _NO_SITES or is_number_word(labels[0])):
        return False
    ends = stop >= len(parts) or parts[stop].apart
    return ends or parts[stop].low == "slash" or _after_at(parts, start)


def _after_at(parts: Sequence[Token], start: int) -> bool:
    """Whether the ``at`` before a domain has a name with a sign, or a word about mail, before it."""
    if start < 2 or parts[start].apart or parts[start - 1].low != "at" or parts[start - 1].apart:
        return False
    return parts[start - 2].low not in _NO_NAMES and any(
        part.low in _CUES or part.low in _SIGNS for part in parts[max(0, start - _CUE_REACH) : start - 2]
    )


def _url(parts: Sequence[Token], dot: int, reached: int) -> Edit | None:
    """A URL around the ``dot`` at a place, or with a domain that is written there already."""
    start = dot - 1 if parts[dot].low == "dot" else dot
    if start < reached or (start < dot and parts[dot].apart):
        return None
    domain = _domain(parts, start)
    if domain is None:
        return None
    stop, text = domain
    stop, path = _path(parts, stop)
    return Edit(start, stop, text + path) if stop - start > 1 else None


def _path(parts: Sequence[Token], stop: int) -> tuple[int, str]:
    text = ""
    while stop + 1 < len(parts) and not parts[stop].apart and not parts[stop + 1].apart and parts[stop].low == "slash":
        piece = parts[stop + 1].low
        if not _LABEL.fullmatch(piece):
            break
        text += f"/{piece}"
        stop += 2
    return stop, text
