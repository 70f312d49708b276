"""Speakers whom a diarizer made up, merged into those they are, until there are no more than the person says.

Takes words' evidence and the row of speakers found in it, gives a row of fewer. Knows nothing of frames or turns.

Somebody who was split in two shows as doubt (while one half is heard, so is the other, a little) or in changes of
speaker where nobody would change, inside a sentence and without a pause. Changes where people do take turns say that
the two are not one: a voice that drifts until the diarizer takes it for another still talks with the same partner.
"""

from __future__ import annotations

import numpy as np

from pipeline.stages.assignment.path import CHANGE, Row, likeliest
from pipeline.stages.assignment.presence import Floats

_EASED = (1.0, 0.3, 0.0)  # of the price of a change, until there are as many speakers as the person says


def rowed(evidence: Floats, prices: Floats, least: int) -> Row:
    """The likeliest row; where it has fewer than ``least`` speakers, the first with more of them once changes are
    cheap. Nobody is made up: it may still be fewer.
    """
    found = likeliest(evidence, prices)
    for ease in _EASED[1:]:
        if len(np.unique(found)) >= min(least, evidence.shape[1]):
            break
        easier = likeliest(evidence, prices * ease)
        if len(np.unique(easier)) > len(np.unique(found)):
            found = easier
    return found


def merged(evidence: Floats, prices: Floats, lengths: Floats, row: Row, most: int) -> tuple[Floats, Row]:
    """At most ``most`` speakers in the row: whoever speaks least is merged into the one that seems to be the same,
    again and again. ``lengths``: seconds of each word. The evidence comes back merged, too: the higher of the two, and
    0 for a speaker that is gone.
    """
    evidence, row = evidence.copy(), row.copy()
    spoken = np.bincount(row, lengths, evidence.shape[1])
    used = np.unique(row).tolist()
    while len(used) > most:
        ghost = min(used, key=lambda speaker: spoken[speaker])
        used.remove(ghost)
        near = _nearness(prices, row, ghost, evidence.shape[1])
        alike = np.round(_doubt(evidence, lengths, row, ghost) + near, 6).tolist()
        real = max(used, key=lambda speaker: (alike[speaker], spoken[speaker]))
        evidence[:, real] = np.maximum(evidence[:, real], evidence[:, ghost])
        evidence[:, ghost] = 0.0
        row[row == ghost] = real
        spoken[real] += spoken[ghost]
    return evidence, row


def _doubt(evidence: Floats, lengths: Floats, row: Row, ghost: int) -> Floats:
    """For each speaker, what is heard of them in the ghost's words, as far as the ghost itself leaves doubt: in [0, 1].
    Two who speak at once are both heard without doubt.
    """
    own = row == ghost
    shared = np.minimum(evidence[own], 1.0 - evidence[own, ghost][:, None])
    return np.asarray(lengths[own] @ shared / lengths[own].sum())


def _nearness(prices: Floats, row: Row, ghost: int, speakers: int) -> Floats:
    """For each speaker, how implausible their changes from and to the ghost are: in [-0.5, 0.5]."""
    at = np.flatnonzero((row[1:] != row[:-1]) & ((row[1:] == ghost) | (row[:-1] == ghost)))
    if not len(at):
        return np.zeros(speakers)
    partner = np.where(row[at] == ghost, row[at + 1], row[at])
    return np.asarray(np.bincount(partner, prices[at + 1] / CHANGE - 0.5, speakers) / len(at))
