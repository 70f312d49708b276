"""CTC's Viterbi as slowly and plainly as it can be written, to hold the fast ones against; and made-up emissions."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Emissions = NDArray[np.float32]


def reference(emissions: Emissions, tokens: list[int], blank: int) -> list[tuple[int, int]] | None:
    """The frames [start, stop) of each token. A table of scores over all states, in float32, and ties decided as NeMo
    decides them: stay, else the state before, else the one before that; a last token, else the blank behind it.
    """
    states = [blank]
    for token in tokens:
        states += [token, blank]
    frames, impossible = len(emissions), np.float32(-np.inf)
    if not tokens:
        return []
    table = [[impossible] * len(states) for _ in range(frames)]
    came = [[0] * len(states) for _ in range(frames)]
    for t in range(frames):
        for s, label in enumerate(states):
            own = np.float32(emissions[t, label])
            if t == 0:
                table[t][s] = own if s < 2 else impossible
                continue
            ways = [table[t - 1][s]]
            if s >= 1:
                ways.append(table[t - 1][s - 1])
            if s >= 2 and label not in (blank, states[s - 2]):
                ways.append(table[t - 1][s - 2])
            scores = [np.float32(way + own) for way in ways]
            came[t][s] = scores.index(max(scores))
            table[t][s] = max(scores)
    if not frames or max(table[-1][-2:]) == impossible:
        return None
    state = len(states) - 2 if table[-1][-2] >= table[-1][-1] else len(states) - 1
    path = []
    for t in range(frames - 1, -1, -1):
        path.append(state)
        state -= came[t][state]
    path.reverse()
    return [(path.index(2 * k + 1), frames - path[::-1].index(2 * k + 1)) for k in range(len(tokens))]


def score(emissions: Emissions, tokens: list[int], blank: int, spans: list[tuple[int, int]]) -> float:
    """The log-probability of that path."""
    said = [blank] * len(emissions)
    for token, (start, stop) in zip(tokens, spans, strict=True):
        said[start:stop] = [token] * (stop - start)
    return float(sum(float(emissions[t, label]) for t, label in enumerate(said)))


def best_of_all(emissions: Emissions, tokens: list[int], blank: int) -> float | None:
    """The highest log-probability of every path there is, one after another: for a handful of frames."""
    frames, found = len(emissions), None
    for edges in combinations(range(2 * frames + 1), 2 * len(tokens)):
        # Edges may meet, so each is shifted by its place: a stop and the next start fall on one frame.
        spans = [(edges[2 * k] - k, edges[2 * k + 1] - k) for k in range(len(tokens))]
        if any(start >= stop or stop > frames for start, stop in spans):
            continue
        pairs = zip(tokens, tokens[1:], spans, spans[1:], strict=False)
        if any(one == other and a[1] == b[0] for one, other, a, b in pairs):
            continue
        worth = score(emissions, tokens, blank, spans)
        found = worth if found is None else max(found, worth)
    return found


def random_emissions(rng: np.random.Generator, frames: int, columns: int) -> Emissions:
    """Log-probabilities as a CTC model gives them: sure of most frames, unsure of some."""
    raw = rng.normal(size=(frames, columns)) * rng.choice([0.5, 2.0, 6.0], size=(frames, 1))
    return np.asarray(raw - np.log(np.exp(raw).sum(axis=1, keepdims=True)), dtype=np.float32)


def spoken(frames: int, peaks: dict[int, int], columns: int, blank: int) -> Emissions:
    """A peaky model's output: column ``peaks[t]`` at frame t, and the blank everywhere else."""
    odds = np.full((frames, columns), 0.05 / (columns - 1))
    odds[:, blank] = 0.95
    for frame, column in peaks.items():
        odds[frame] = 0.05 / (columns - 1)
        odds[frame, column] = 0.95
    return np.asarray(np.log(odds), dtype=np.float32)
