"""Which language a recording is in: a vote of windows spread over it.

Takes what a model heard in each window, gives a code and how sure the vote is. Pure; knows nothing of sound or models.
One window is not enough: recordings begin with music, a greeting in another language, or a name.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

MOST = 8  # windows that vote
FIRST = 3  # windows that may decide alone …
SURE = 0.8  # … if they agree, each with at least this

_CODES = {"nb": "no", "iw": "he", "fil": "tl", "jv": "jw"}  # other codes for languages that Whisper calls differently


@dataclass(frozen=True, slots=True)
class Ballot:
    """One window's vote. ``seconds`` of speech in it; ``languages``: (code, probability), likeliest first."""

    seconds: float
    languages: tuple[tuple[str, float], ...]


def code_of(language: str) -> str:
    """Whisper's code for what a person wrote: ``pt-BR`` is ``pt``."""
    base = language.strip().lower().replace("_", "-").split("-")[0]
    return _CODES.get(base, base)


def vote(ballots: Sequence[Ballot], among: Collection[str] = ()) -> tuple[str, float]:
    """The language with the most seconds times probability, and its share of all seconds, in [0, 1].

    ``among``: codes to choose from, all if empty. `ValueError` if nobody votes.
    """
    sums: dict[str, float] = {}
    for ballot in ballots:
        for code, probability in ballot.languages:
            if not among or code in among:
                sums[code] = sums.get(code, 0.0) + ballot.seconds * probability
    if not sums:
        raise ValueError("nobody voted")
    best = max(sums, key=lambda code: sums[code])  # of equals the one that the first window found likelier
    return best, min(1.0, sums[best] / sum(ballot.seconds for ballot in ballots))


def decided(ballots: Sequence[Ballot]) -> bool:
    """The first few agree and are sure: no more need to be asked."""
    tops = [ballot.languages[0] for ballot in ballots]
    return len(tops) >= FIRST and len({code for code, _ in tops}) == 1 and all(p >= SURE for _, p in tops)


def spread(count: int, most: int = MOST) -> list[int]:
    """The order in which windows are asked: the middles of ``most`` equal parts, the ends and the middle of the
    recording among the first; then all others, for where those have nothing to say.
    """
    parts = min(count, most)
    middles = [(2 * part + 1) * count // (2 * parts) for part in range(parts)] if parts else []
    first = [0, parts // 2, parts - 1] if parts >= FIRST else range(parts)
    order = [middles[part] for part in dict.fromkeys([*first, *range(parts)])]
    return list(dict.fromkeys([*order, *range(count)]))
