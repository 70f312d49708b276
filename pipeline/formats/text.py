"""Words as text: Deepgram's bare ``word``, and words joined into a transcript.

Takes words as a backend wrote them. Knows nothing of times or speakers.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

# Signs that belong to the word they stand at: 50%, AT&T, C#, a masked f***.
_KEPT = "%‰&#@*"


def _edge_signs() -> str:
    """White space and all punctuation but `_KEPT`, in the ranges where living scripts have theirs."""
    ranges = (range(0x09, 0x3200), range(0xA600, 0xAC00), range(0xFE00, 0x10000))
    signs = (chr(code) for codes in ranges for code in codes)
    return "".join(s for s in signs if s.isspace() or (unicodedata.category(s).startswith("P") and s not in _KEPT))


EDGE = _edge_signs()  # what `bare` takes off

# Scripts that are written without spaces (Thai, Lao, Myanmar, Khmer, kana, Han, full-width forms) and their
# punctuation.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
    "\u3000-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef"
)
_UNSPACED_GAP = re.compile(f"(?<=[{_UNSPACED}]) | (?=[{_UNSPACED}])")


def bare(text: str) -> str:
    """``word``: lower-cased, without the punctuation at its edges; inner signs (``i'll``, ``all-female``, ``3.5``)
    stay.

    What is nothing but punctuation stays as it is: a word is never empty.
    """
    lowered = text.lower()
    return lowered.strip(EDGE) or lowered


def join(words: Iterable[str]) -> str:
    """A transcript: words with one space between them, and none beside a script that is written without."""
    text = " ".join(words)
    return text if text.isascii() else _UNSPACED_GAP.sub("", text)
