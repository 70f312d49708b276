"""What a worker's cache saved, for ``dropscribe cache stats``: one small object per worker, written when it ends.

Counts are a worker's own since it started; the command adds the workers' objects up. Nothing depends on them.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Literal

from pydantic import ValidationError

from handler.clock import Clock
from handler.errors import NotFound
from handler.layout import Layout
from handler.store.base import Store
from handler.types import canonical_json
from pipeline.formats.times import iso_time
from pipeline.types import Frozen


class Snapshot(Frozen):
    """``stats/<worker>.json``. A hit is a stage that was not run because its artifact was there; seconds are the
    stages' own.
    """

    format: Literal[1] = 1
    worker: str
    at: str
    jobs: int = 0
    hits: int = 0
    misses: int = 0
    saved_seconds: float = 0.0
    stage_seconds: dict[str, float] = {}


class Stats:
    def __init__(self) -> None:
        self._jobs = self._hits = self._misses = 0
        self._saved = 0.0
        self._stages: defaultdict[str, float] = defaultdict(float)

    def job(self, *, hits: int, saved: float, stages: dict[str, float]) -> None:
        """One job came to its result: ``hits`` stages from the cache, which took ``saved`` seconds once; ``stages``
        were run.
        """
        self._jobs += 1
        self._hits += hits
        self._misses += len(stages)
        self._saved += saved
        for stage, seconds in stages.items():
            self._stages[stage] += seconds

    def save(self, store: Store, layout: Layout, clock: Clock, worker: str) -> None:
        """Write the snapshot, unless there is nothing to tell. The key is this worker's alone."""
        if not self._jobs:
            return
        snapshot = Snapshot(
            worker=worker,
            at=iso_time(clock.time()),
            jobs=self._jobs,
            hits=self._hits,
            misses=self._misses,
            saved_seconds=round(self._saved, 3),
            stage_seconds={stage: round(seconds, 3) for stage, seconds in sorted(self._stages.items())},
        )
        store.put(layout.stats_key(worker), canonical_json(snapshot.model_dump(mode="json")))


def read_stats(store: Store, layout: Layout) -> list[Snapshot]:
    """Every worker's snapshot; unreadable ones are left out."""
    snapshots = []
    for info in store.list(layout.stats_key("").removesuffix(".json")):
        try:
            snapshots.append(Snapshot.model_validate_json(store.get(info.key).body))
        except (NotFound, ValidationError):  # deleted since the listing; not ours
            continue
    return snapshots
