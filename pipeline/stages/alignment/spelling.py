"""A word's text to an aligner's tokens: what the alphabet has is spelt, what it lacks is a wildcard.

Takes texts and an alphabet, gives token ids. Punctuation is not said, so it is dropped; figures, signs that are read
out and letters of other scripts are said, but nobody knows how, so each run of them is one wildcard. Knows nothing of
emissions or times.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

WILDCARD = -1  # stands for any sound, of any length

_SPOKEN = frozenset("%&@#‰§°")  # punctuation and signs by Unicode's categories that are read out all the same
_SILENT = ("Z", "C", "P", "So", "Sk")  # Unicode's categories of what is not read out: emoji are in So
_APOSTROPHES = frozenset("'’ʼ＇")
# Letters that do not decompose into a letter and its marks.
_WRITTEN_AS = {
    "ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i", "ħ": "h", "ŋ": "ng",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Spelt:
    """One word. ``tokens``: never empty, runs of wildcards made one. ``letters``, ``figures``: how many the text has;
    ``unknown``: how many of its letters the alphabet lacks.
    """

    tokens: tuple[int, ...]
    letters: int
    figures: int
    unknown: int

    @property
    def wild(self) -> bool:
        """Nothing is known of its sound."""
        return self.tokens == (WILDCARD,)


@dataclass(frozen=True)
class Alphabet:
    """What an aligner can hear. ``labels``: its columns by their text, of one letter each; case matters only where
    there are columns of both. ``blank``: the blank's column. ``separator``: the column of the space between words, if
    there is one.

    ``pieces``: for a model of subwords, its tokenizer: a word (letters the alphabet has, nothing else) to columns.
    ``labels`` are then the letters that it knows, and their columns are not used.
    """

    labels: Mapping[str, int]
    blank: int
    separator: int | None = None
    pieces: Callable[[str], Sequence[int]] | None = None
    _folded: dict[str, str] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        for label in self.labels:
            for known in (label, label.lower()):
                if known == label or known not in self.labels:
                    self._folded[known] = label

    def spell(self, text: str) -> Spelt:
        """A word that is nothing but punctuation is a wildcard, too: it has no sound, but wants a place."""
        tokens: list[int] = []
        run = ""  # letters not yet made into tokens
        letters = figures = unknown = 0
        for written in unicodedata.normalize("NFC", text):
            found = self._letters(written)
            letters += written.isalpha()
            figures += written.isnumeric()
            if found is None:
                unknown += written.isalpha()
                tokens += self._tokens(run)
                run = ""
                if tokens[-1:] != [WILDCARD]:
                    tokens.append(WILDCARD)
            else:
                run += found
        tokens += self._tokens(run)
        return Spelt(tuple(tokens) or (WILDCARD,), letters, figures, unknown)

    def _letters(self, written: str) -> str | None:
        """The alphabet's letters for one character; none for what is not said, None for what has no letters."""
        if written in _APOSTROPHES:
            return self._folded.get("'", self._folded.get("’", ""))
        kind = unicodedata.category(written)
        if kind.startswith(_SILENT) and written not in _SPOKEN:
            return ""
        forms = [written, written.lower(), _WRITTEN_AS.get(written.lower(), "")]
        forms += [_plain(written), _plain(written).lower()]
        for form in forms:
            known = [self._folded[letter] for letter in form if letter in self._folded]
            if form and len(known) == len(form):
                return "".join(known)
        return "" if kind[0] == "M" else None

    def _tokens(self, run: str) -> Sequence[int]:
        if not run:
            return ()
        return self.pieces(run) if self.pieces else [self.labels[letter] for letter in run]


def _plain(written: str) -> str:
    """A character without its marks, in its ordinary form."""
    parts = unicodedata.normalize("NFKD", written)
    return "".join(part for part in parts if unicodedata.category(part)[0] != "M")
