"""Filler words: the two sounds that are taken out of English speech unless ``filler_words`` asks for them.

Only what Deepgram takes out, "uh" and "um", however long they are drawn; "uh-huh", "mhm" and their like are answers
and stay. Takes words of one language, which must be English: "um" is a word in German and Portuguese.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.types import Word
from pipeline.wording.tokens import edges, without

_FILLER = re.compile(r"[\W_]*(?:u+h+|u+h*m+)[\W_]*", re.IGNORECASE)


def without_fillers(words: Sequence[Word]) -> list[Word]:
    """``UM``, all in capitals, is taken for an abbreviation."""
    gone = {place for place, word in enumerate(words) if _is_filler(word.text)}
    return without(words, gone)


def _is_filler(text: str) -> bool:
    if _FILLER.fullmatch(text) is None:
        return False
    core = edges(text)[1]
    return core.isalpha() and not (core.isupper() and len(core) > 1)
