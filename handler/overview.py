"""How far every recording is: two listings and the progress manifests that exist. Reads only.

Takes a store and a layout; gives rows in the order of the keys. Knows nothing of jobs' records or of terminals.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from handler.errors import NotFound
from handler.layout import Layout, is_batch, is_input, is_recording
from handler.progress import parse_batch_manifest, parse_manifest
from handler.settled import read_marker
from handler.store.base import Info, Store
from handler.types import BatchCounts, BatchManifest, Manifest, Source, Status
from pipeline.types import Frozen

READERS = 8  # requests side by side: manifests are small, and S3 answers each in tens of milliseconds


class Row(Frozen):
    """One recording as it lies in the bucket now. ``percent`` 0…100; ``position`` from 1, among those that wait.

    ``updated_at`` (ISO 8601) is the manifest's; None while there is none. ``modified``: epoch seconds of the recording.
    Of a batch ``counts`` says how far its members are; it has no position.
    """

    kind: Literal["recording", "batch"] = "recording"

    key: str
    source_id: str
    size: int
    modified: int
    status: Status
    stage: str
    percent: float
    eta_seconds: float | None = None
    position: int | None = None
    message: str = ""
    job_id: str | None = None
    updated_at: str | None = None
    result: str | None = None
    settled: bool = False
    counts: BatchCounts | None = None


def overview(store: Store, layout: Layout) -> list[Row]:
    """Every recording and batch under the input prefix. A GET for each one that has a manifest, a few at a time."""
    settled = {info.key for info in store.list(layout.settled_key(""))}
    told = {info.key for info in store.list(layout.progress)}
    inputs = [info for info in store.list(layout.input) if is_input(info.key.removeprefix(layout.input))]

    def row(info: Info) -> Row:
        source = layout.source(info)
        read = read_batch_manifest if is_batch(source.key) else read_manifest
        manifest = read(store, layout, source.key) if layout.progress_key(source.key) in told else None
        return _row(store, layout, source, manifest, layout.settled_key(source.sid) in settled)

    with ThreadPoolExecutor(READERS) as readers:
        return _with_positions(readers.map(row, inputs))


def one(store: Store, layout: Layout, key: str) -> tuple[Row, Manifest | BatchManifest | None]:
    """One recording or batch, and its manifest if that speaks of this version. `NotFound`.

    For one that waits, the listings, and the manifests of those that have one and are before it in the queue.
    """
    source = layout.source(store.head(layout.input_key(key)))
    manifest = (read_batch_manifest if is_batch(key) else read_manifest)(store, layout, key)
    marker = read_marker(store, layout, source.sid)
    current = manifest if manifest is not None and manifest.source_id == source.sid else None
    row = _row(store, layout, source, manifest, marker is not None)
    if row.status == "queued" and not row.settled and row.kind == "recording":
        row = row.model_copy(update={"position": 1 + _waiting_before(store, layout, source)})
    return row, current


def _waiting_before(store: Store, layout: Layout, source: Source) -> int:
    """How many recordings wait that workers take before this one."""
    settled = {info.key for info in store.list(layout.settled_key(""))}
    told = {info.key for info in store.list(layout.progress)}
    before: list[Source] = []
    for info in store.list(layout.input):
        other = layout.source(info)
        earlier = (other.modified, other.key) < (source.modified, source.key)
        if earlier and is_recording(other.key) and layout.settled_key(other.sid) not in settled:
            before.append(other)

    def waits(other: Source) -> bool:
        manifest = read_manifest(store, layout, other.key) if layout.progress_key(other.key) in told else None
        return _row(store, layout, other, manifest, False).status == "queued"

    with ThreadPoolExecutor(READERS) as readers:
        return sum(readers.map(waits, before))


def read_manifest(store: Store, layout: Layout, key: str) -> Manifest | None:
    """What ``progress/<key>.json`` says, None if it is not there or not ours."""
    try:
        return parse_manifest(store.get(layout.progress_key(key)).body)
    except NotFound:
        return None


def read_batch_manifest(store: Store, layout: Layout, key: str) -> BatchManifest | None:
    """As `read_manifest`, of a batch."""
    try:
        return parse_batch_manifest(store.get(layout.progress_key(key)).body)
    except NotFound:
        return None


def _row(store: Store, layout: Layout, source: Source, manifest: Manifest | BatchManifest | None, settled: bool) -> Row:
    basic = Row(
        kind="batch" if is_batch(source.key) else "recording",
        key=source.key, source_id=source.sid, size=source.size, modified=source.modified,
        status="queued", stage="queued", percent=0.0, settled=settled,
    )  # fmt: skip
    ours = manifest is not None and manifest.source_id == source.sid
    if manifest is not None and ours and manifest.terminal == settled:
        copied = ("status", "stage", "percent", "eta_seconds", "message", "job_id", "updated_at", "result")
        counts = manifest.counts if isinstance(manifest, BatchManifest) else None
        return basic.model_copy(update={name: getattr(manifest, name) for name in copied} | {"counts": counts})
    if not settled:  # no manifest yet, an older version's, or one from before a retry
        return basic
    marker = read_marker(store, layout, source.sid)
    if marker is None:  # un-settled since the listing
        return basic
    percent = 100.0 if marker.outcome == "completed" else 0.0
    update = {"status": marker.outcome, "stage": marker.outcome, "percent": percent, "message": marker.reason}
    return basic.model_copy(update={**update, "job_id": marker.job_id})


def _with_positions(rows: Iterable[Row]) -> list[Row]:
    """Numbers those that wait, in the order in which workers take them: oldest first."""
    found = list(rows)
    waiting = sorted((row.modified, row.key) for row in found if row.status == "queued" and row.kind == "recording")
    places = {key: place for place, (_, key) in enumerate(waiting, start=1)}
    return [row.model_copy(update={"position": places.get(row.key)}) for row in found]
