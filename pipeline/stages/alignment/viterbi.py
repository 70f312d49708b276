"""Forced alignment: which frames of a CTC model's output each token of a known text was said in.

Takes log-probabilities and token ids, gives frames. The path is the likeliest of all that spell the tokens, with blanks
anywhere and at least one between two equal tokens (Graves et al., ICML 2006), the same path as NeMo's
`viterbi_decoding` finds. Knows nothing of texts, words or seconds.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.stages.alignment.sweep import Scores, Sweep, Tokens, best

ROOM = 64 * 2**20  # bytes of back-pointers kept at once


def viterbi(
    emissions: ArrayLike, tokens: ArrayLike, blank: int, *, sweep: Sweep | None = None, room: int = ROOM
) -> Tokens | None:
    """The frames [start, stop) of each token: shape (N, 2), in order and apart, none without a frame.

    ``emissions``: log-probabilities, shape (T, V), taken as float32. ``tokens``: ids in [0, V), shape (N,), none of
    them ``blank``; ValueError otherwise. None where no path is possible: fewer frames than `needed`, or emissions that
    are not numbers or allow none.

    Memory is T x N bytes up to ``room``; for longer texts it grows with the root of T, and the work doubles: scores are
    kept at the edges of blocks of frames, and a block's pointers are made again when the path is traced through it.
    """
    scores = np.ascontiguousarray(emissions, dtype=np.float32)
    wanted = np.ascontiguousarray(tokens, dtype=np.int32)
    _check(scores, wanted, blank)
    if not len(wanted):
        return np.empty((0, 2), dtype=np.int32)
    if len(scores) < needed(wanted) or not scores.max() < np.inf:
        return None
    path = _path(scores, wanted, blank, sweep or best(), room)
    if path is None:
        return None
    states = 2 * np.arange(len(wanted), dtype=np.int32) + 1
    edges = [np.searchsorted(path, states, side) for side in ("left", "right")]
    return np.stack(edges, axis=1).astype(np.int32)


def needed(tokens: Tokens) -> int:
    """The least frames that these tokens can be said in: one each, and a blank between equal ones."""
    return len(tokens) + int(np.count_nonzero(tokens[1:] == tokens[:-1]))


def _path(scores: Scores, tokens: Tokens, blank: int, sweep: Sweep, room: int) -> Tokens | None:
    """The state of every frame, shape (T,): 2k in blank k, 2k + 1 in token k."""
    frames, count = len(scores), len(tokens)
    block = _block(frames, count, room)
    skips = np.zeros(count, dtype=np.float32)
    skips[1:][tokens[1:] == tokens[:-1]] = -np.inf
    letters = np.full(count + 1, -np.inf, dtype=np.float32)
    blanks = letters.copy()
    blanks[0] = 0.0  # before the first frame: a blank that costs nothing
    pointers: NDArray[np.int8] = np.empty((min(block, frames), count + 1), dtype=np.int8)
    edges = []
    for first in range(0, frames, block):
        edges.append((letters.copy(), blanks.copy()))
        sweep.forward(scores, tokens, skips, blank, first, min(first + block, frames), letters, blanks, pointers)
    if not max(letters[count], blanks[count]) > -np.inf:
        return None
    state = 2 * count - 1 if letters[count] >= blanks[count] else 2 * count
    path = np.empty(frames, dtype=np.int32)
    for at in range(len(edges) - 1, -1, -1):
        first, stop = at * block, min((at + 1) * block, frames)
        if stop < frames:
            sweep.forward(scores, tokens, skips, blank, first, stop, *edges[at], pointers)
        state = int(sweep.back(pointers, first, stop, state, path))
    return path


def _block(frames: int, count: int, room: int) -> int:
    """Frames whose pointers are kept at once. One block if there is room, else as many as make the memory least: a
    frame of pointers takes N + 1 bytes, an edge eight times as many.
    """
    return frames if frames * (count + 1) <= room else max(1, math.isqrt(8 * frames))


def _check(scores: Scores, tokens: Tokens, blank: int) -> None:
    if scores.ndim != 2 or tokens.ndim != 1:
        raise ValueError(f"emissions are (frames, tokens) and a text is (tokens,), not {scores.shape}, {tokens.shape}")
    size = scores.shape[1]
    if not 0 <= blank < size:
        raise ValueError(f"the blank is {blank}, but there are {size} columns")
    if len(tokens) and not (tokens.min() >= 0 and tokens.max() < size and not np.any(tokens == blank)):
        raise ValueError(f"a text's tokens are in 0…{size - 1}, without the blank ({blank})")
