"""The stage cache as a whole: what lies in it, what it saved, and how it is emptied.

Takes a store and a layout. Touches only ``stages/`` and ``blobs/``: never inputs, results, settled markers or jobs.
Knows nothing of how artifacts get there (`handler.cache`).
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from pydantic import ValidationError

from handler.cache import Reference
from handler.errors import NotFound
from handler.layout import Layout
from handler.stats import read_stats
from handler.store.base import Store
from pipeline.types import Frozen

READERS = 8
UNREADABLE = "unreadable"  # what a reference is counted under whose stage cannot be read


class Shelf(Frozen):
    """``entries`` are references; bytes are those of the artifacts. ``hit_rate`` 0…1, None before the first stage.

    Hits, misses and seconds are sums over all workers that have ended, since the bucket's beginning.
    """

    entries: int
    bytes: int
    stages: dict[str, StageShare]
    blobs: int
    blob_bytes: int
    jobs: int
    hits: int
    misses: int
    hit_rate: float | None
    saved_seconds: float


class StageShare(Frozen):
    entries: int
    bytes: int


class Cleared(Frozen):
    """How many objects were deleted, and their bytes as the bucket counts them."""

    references: int
    blobs: int
    bytes: int


def survey(store: Store, layout: Layout) -> Shelf:
    """One GET for each reference (its stage stands inside), a few at a time; blobs and statistics from listings."""
    with ThreadPoolExecutor(READERS) as readers:
        keys = [info.key for info in store.list(_stages(layout))]
        references = [found for found in readers.map(lambda key: _read(store, key), keys) if found is not None]
    entries: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for stage, size in references:
        entries[stage] += 1
        sizes[stage] += size
    blobs = [info.size for info in store.list(layout.blob_key(""))]
    snapshots = read_stats(store, layout)
    hits, misses = sum(one.hits for one in snapshots), sum(one.misses for one in snapshots)
    return Shelf(
        entries=len(references),
        bytes=sum(sizes.values()),
        stages={stage: StageShare(entries=entries[stage], bytes=sizes[stage]) for stage in sorted(entries)},
        blobs=len(blobs),
        blob_bytes=sum(blobs),
        jobs=sum(one.jobs for one in snapshots),
        hits=hits,
        misses=misses,
        hit_rate=round(hits / (hits + misses), 4) if hits + misses else None,
        saved_seconds=round(sum(one.saved_seconds for one in snapshots), 3),
    )


def clear(store: Store, layout: Layout) -> Cleared:
    """Delete every reference, then every blob, so that no reference is left without its blob. Idempotent."""
    references, reference_bytes = _delete(store, _stages(layout))
    blobs, blob_bytes = _delete(store, layout.blob_key(""))
    return Cleared(references=references, blobs=blobs, bytes=reference_bytes + blob_bytes)


def _stages(layout: Layout) -> str:
    return layout.stage_key("").removesuffix(".json")


def _read(store: Store, key: str) -> tuple[str, int] | None:
    try:
        found = store.get(key)
    except NotFound:
        return None
    try:
        reference = Reference.model_validate_json(found.body)
    except ValidationError:
        return UNREADABLE, len(found.body)
    return reference.stage, reference.size


def _delete(store: Store, prefix: str) -> tuple[int, int]:
    found = list(store.list(prefix))
    with ThreadPoolExecutor(READERS) as writers:
        for _ in writers.map(lambda info: store.delete(info.key), found):
            pass
    return len(found), sum(info.size for info in found)
