"""Retention: what may go from the stage cache and from the outputs, and its going. Costs reruns at most, never a job.

Takes a store, a layout and limits; gives counts and sizes. Nothing younger than a day goes. Recordings, settled
markers, sources and jobs' records are never touched, but for the marker of a recording whose fresh result may have been
removed (`handler.sweep.outputs`).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from handler.layout import Layout
from handler.store.base import Info, Store
from handler.sweep import outputs, references
from handler.sweep.hands import Hands, SweepStopped, delete_unchanged
from handler.sweep.limits import GRACE_SECONDS, Limits
from pipeline.types import Frozen

__all__ = ["GRACE_SECONDS", "Limits", "Sweep", "SweepStopped", "Swept"]

SIDE_BY_SIDE = 8  # requests


class Swept(Frozen):
    """What went, or with ``dry_run`` would go. Bytes as the bucket counts them; ``left_`` is of the cache."""

    dry_run: bool
    references: int
    blobs: int
    cache_bytes: int
    outputs: int
    output_bytes: int
    left_references: int
    left_blobs: int
    left_bytes: int


class Sweep:
    """``side_by_side``: requests; with 1, no threads. ``stop``: set it, and `run` ends early with `SweepStopped`."""

    def __init__(
        self, store: Store, layout: Layout, *, side_by_side: int = SIDE_BY_SIDE, stop: threading.Event | None = None
    ) -> None:
        self._store = store
        self._layout = layout
        self._hands = Hands(side_by_side, stop)

    def run(self, limits: Limits, *, dry_run: bool = False) -> Swept:
        """One pass. Store errors pass through; what went until then is gone, and the next pass goes on."""
        shelves = references.look(self._store, self._layout, self._hands)
        if dry_run:
            gone = references.would_go(shelves, limits)
        else:
            gone = references.clear_out(self._store, shelves, limits, self._hands)
        removed: list[Info] = []
        if limits.results_ttl is not None:
            removed = self._outputs(limits.results_ttl, dry_run) + self._delivered(limits.results_ttl, dry_run)
        return Swept(
            dry_run=dry_run,
            references=len(gone.references),
            blobs=len(gone.blobs),
            cache_bytes=_bytes(gone.references) + _bytes(gone.blobs),
            outputs=len(removed),
            output_bytes=_bytes(removed),
            left_references=len(shelves.entries) - len(gone.references),
            left_blobs=len(shelves.blobs) - len(gone.blobs),
            left_bytes=shelves.bytes - _bytes(gone.references) - _bytes(gone.blobs),
        )

    def _outputs(self, ttl: float, dry_run: bool) -> list[Info]:
        owners = outputs.find(self._store, self._layout, ttl, self._hands)
        if dry_run:
            return [info for owner in owners for info in owner.outputs]
        removed = self._hands.map(lambda owner: outputs.remove(self._store, self._layout, owner), owners)
        return [info for infos in removed for info in infos]

    def _delivered(self, ttl: float, dry_run: bool) -> list[Info]:
        """What tells of callbacks that ended so long ago."""
        old = outputs.delivered(self._store, self._layout, ttl)
        if dry_run:
            return old
        went = self._hands.map(lambda info: delete_unchanged(self._store, info), old)
        return [info for info, gone in zip(old, went, strict=True) if gone]


def _bytes(infos: Sequence[Info]) -> int:
    return sum(info.size for info in infos)
