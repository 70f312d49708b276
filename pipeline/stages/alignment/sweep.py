"""The inner loops of CTC's Viterbi: forward over the frames, and back along the pointers.

Each comes twice with the same answer: `plain` for numpy alone, `compiled` by numba, about ten times as fast. Which one
is taken is `best`'s choice. Takes and gives arrays; knows nothing of words, texts or seconds.

States of N tokens: token k may be preceded by blank k; blank N follows the last token. Scores are sums of float32, as
in NeMo's `viterbi_decoding`, and ties are decided as there: stay, else come from the state before, else skip the blank.
``letters`` has shape (N + 1,), token k at k + 1, and -inf before them; ``blanks`` shape (N + 1,). A pointer is a byte
for token k and blank k together: 2 bits for the token (states to go back: 0, 1, 2), then 1 bit for the blank (0, 1).
"""

from __future__ import annotations

import functools
import importlib.util
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

Scores: TypeAlias = NDArray[np.float32]
Pointers: TypeAlias = NDArray[np.int8]
Tokens: TypeAlias = NDArray[np.int32]

Forward = Callable[[Scores, Tokens, Scores, int, int, int, Scores, Scores, Pointers], None]
Back = Callable[[Pointers, int, int, int, Tokens], int]


@dataclass(frozen=True, slots=True)
class Sweep:
    """``forward(emissions, tokens, skips, blank, first, stop, letters, blanks, pointers)`` takes the scores from before
    the frame ``first`` to after the frame ``stop - 1``, in place, and writes a row of pointers for each of them.

    ``skips``: 0 where a token may follow the one before it without a blank, else -inf. Tokens that no path can be at
    in a frame are left out, so their scores and pointers mean nothing.

    ``back(pointers, first, stop, state, path)`` goes from ``state`` in the frame ``stop - 1`` to the frame ``first``,
    writes the state of each frame into ``path``, and gives that of the frame before. State 2k is blank k, 2k + 1 is
    token k.
    """

    forward: Forward
    back: Back


def _forward_loops(
    emissions: Scores,
    tokens: Tokens,
    skips: Scores,
    blank: int,
    first: int,
    stop: int,
    letters: Scores,
    blanks: Scores,
    pointers: Pointers,
) -> None:
    """For numba. Two buffers in turns; an inner loop without branches, which compiles to vector instructions."""
    count, frames = len(tokens), len(emissions)
    token_scores = np.full((2, count + 1), -np.inf, dtype=np.float32)
    blank_scores = np.full((2, count + 1), -np.inf, dtype=np.float32)
    token_scores[0], blank_scores[0] = letters, blanks
    own = np.empty(count, dtype=np.float32)
    for t in range(first, stop):
        low, high = max(0, count - frames + t), min(count, t + 1)
        heard, nothing = emissions[t], emissions[t, blank]
        for k in range(low, high):
            own[k] = heard[tokens[k]]
        now, then = (t - first + 1) % 2, (t - first) % 2
        letter, silence, back = token_scores[then], blank_scores[then], pointers[t - first]
        new_letter, new_silence = token_scores[now], blank_scores[now]
        for k in range(low, high):
            before, between, here = letter[k], silence[k], own[k]
            stay, step, skip = letter[k + 1] + here, between + here, before + skips[k] + here
            pointer = np.int8(1) if step > stay else np.int8(0)
            reached = step if step > stay else stay
            pointer = np.int8(2) if skip > reached else pointer
            new_letter[k + 1] = skip if skip > reached else reached
            rest, ended = between + nothing, before + nothing
            new_silence[k] = ended if ended > rest else rest
            back[k] = pointer + (np.int8(4) if ended > rest else np.int8(0))
        if high == count:
            rest, ended = silence[count] + nothing, letter[count] + nothing
            new_silence[count] = max(rest, ended)
            back[count] = np.int8(4) if ended > rest else np.int8(0)
    letters[:], blanks[:] = token_scores[(stop - first) % 2], blank_scores[(stop - first) % 2]


def _forward_rows(
    emissions: Scores,
    tokens: Tokens,
    skips: Scores,
    blank: int,
    first: int,
    stop: int,
    letters: Scores,
    blanks: Scores,
    pointers: Pointers,
) -> None:
    """A frame at a time, in numpy; all tokens of each frame."""
    for t in range(first, stop):
        here, nothing = emissions[t, tokens], emissions[t, blank]
        stay, step, skip = letters[1:] + here, blanks[:-1] + here, letters[:-1] + skips + here
        reached, stepped = np.maximum(stay, step), step > stay
        rest, ended = blanks + nothing, letters + nothing
        row = pointers[t - first]
        row[:] = (ended > rest).view(np.int8) << 2
        row[:-1] |= np.where(skip > reached, np.int8(2), stepped.view(np.int8))
        letters[1:], blanks[:] = np.maximum(reached, skip), np.maximum(rest, ended)


def _back_loops(pointers: Pointers, first: int, stop: int, state: int, path: Tokens) -> int:
    for t in range(stop - 1, first - 1, -1):
        path[t] = state
        pointer = int(pointers[t - first, state // 2])
        state -= pointer & 3 if state % 2 else pointer >> 2
    return state


plain = Sweep(_forward_rows, _back_loops)


@functools.cache
def compiled() -> Sweep:
    """Compiled at the first call, and kept on disk for the next process. ImportError where there is no numba."""
    import numba

    def compile_(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(cache=True, nogil=True)(function)
        except RuntimeError:  # neither beside the source nor in the user's folder is a place to keep it
            return numba.njit(nogil=True)(function)

    return Sweep(compile_(_forward_loops), compile_(_back_loops))


@functools.cache
def best() -> Sweep:
    """`compiled` where numba is installed and works: one that was not made for this numpy does not import."""
    if importlib.util.find_spec("numba") is None:
        return plain
    try:
        return compiled()
    except ImportError as error:
        log.warning("numba cannot be used (%s): words are aligned without it, which takes longer", error)
        return plain
