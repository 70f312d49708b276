"""``replace``: words and phrases found and replaced, in any language.

Takes what is to be found as a person wrote it; compares bare words, so case, the punctuation around a word and the
kind of its apostrophes do not matter. A sign that what is to be found begins with (".net") has to be there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pipeline.formats.text import bare
from pipeline.types import Word
from pipeline.wording.tokens import Token, edges, merged, tokens, without

_QUOTES = "\"'“‘«([{„‚"


class _Phrase(NamedTuple):
    """Bare words, and the signs that have to stand before them."""

    words: tuple[str, ...]
    lead: str


class Replacing:
    """The longest phrase that begins at a word is taken; of two for the same phrase the later counts."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._phrases: dict[str, dict[_Phrase, list[str]]] = {}
        for find, replacement in pairs:
            words = find.split()
            if words:
                lead = edges(words[0])[0].lstrip(_QUOTES)
                phrase = _Phrase(tuple(map(_plain, words)), lead)
                self._phrases.setdefault(phrase.words[0], {})[phrase] = replacement.split()
        for first, phrases in self._phrases.items():
            longest = sorted(phrases.items(), key=lambda item: (-len(item[0].words), -len(item[0].lead)))
            self._phrases[first] = dict(longest)

    def __call__(self, words: Sequence[Word], utt_split: float) -> list[Word]:
        """A phrase is never found across two speakers, a pause of ``utt_split`` seconds, or punctuation."""
        parts = tokens(words, utt_split)
        lows = [_plain(word.text.strip()) for word in words]
        made: list[Word] = []
        gone: set[int] = set()
        place = 0
        while place < len(words):
            phrase = self._at(lows, parts, place)
            if phrase is None:
                made.append(words[place])
                place += 1
                continue
            stop = place + len(phrase.words)
            text = self._phrases[lows[place]][phrase]
            if text:
                latest = words[stop].start if stop < len(words) else float("inf")
                lead = parts[place].lead.removesuffix(phrase.lead)
                made += _spread(words[place:stop], lead, parts[stop - 1].trail, text, latest)
            else:
                gone.update(range(len(made), len(made) + len(phrase.words)))
                made += words[place:stop]
            place = stop
        return without(made, gone)

    def _at(self, lows: Sequence[str], parts: Sequence[Token], place: int) -> _Phrase | None:
        for phrase in self._phrases.get(lows[place], ()):
            stop = place + len(phrase.words)
            same = tuple(lows[place:stop]) == phrase.words and parts[place].lead.endswith(phrase.lead)
            if same and not any(part.apart for part in parts[place + 1 : stop]):
                return phrase
        return None


def _plain(text: str) -> str:
    return bare(text).replace("’", "'")


def _spread(words: Sequence[Word], lead: str, trail: str, text: Sequence[str], latest: float) -> list[Word]:
    """The new words in the old ones' times: one by one while both last, then the rest shares what is left.

    None begins after ``latest``, where the next word does: words may overlap, but they stay in order.
    """
    new = [*text]
    new[0] = lead + new[0]
    new[-1] += trail
    even = min(len(words), len(new)) - 1
    made = [merged([word], own) for word, own in zip(words[:even], new, strict=False)]
    made += _shared(merged(words[even:], ""), new[even:], latest)
    return made


def _shared(whole: Word, text: Sequence[str], latest: float) -> list[Word]:
    """One word's time over several texts, in proportion to their length."""
    total, done = sum(map(len, text)), 0
    length = max(0.0, whole.end - whole.start)
    made = []
    for own in text:
        start = min(whole.start + length * done / total, max(whole.start, latest))
        done += len(own)
        end = whole.end if done == total else whole.start + length * done / total
        made.append(whole.model_copy(update={"text": own, "start": start, "end": end}))
    return made
