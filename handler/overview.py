"""How far every recording is: two listings and the progress manifests that exist. Reads only.

Takes a store and a layout; gives rows in the order of the keys. Knows nothing of jobs' records or of terminals.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from pydantic import ValidationError

from handler.errors import NotFound
from handler.layout import Layout, is_recording
from handler.progress import parse_manifest
from handler.store.base import Info, Store
from handler.types import Manifest, SettledMarker, Source, Status
from pipeline.types import Frozen

log = logging.getLogger(__name__)

READERS = 8  # requests side by side: manifests are small, and S3 answers each in tens of milliseconds


class Row(Frozen):
    """One recording as it lies in the bucket now. ``percent`` 0…100; ``position`` from 1, among those that wait.

    ``updated_at`` (ISO 8601) is the manifest's; None while there is none. ``modified``: epoch seconds of the recording.
    """

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


def overview(store: Store, layout: Layout) -> list[Row]:
    """Every recording under the input prefix. A GET for each one that has a manifest, a few at a time."""
    settled = {info.key for info in store.list(layout.settled_key(""))}
    told = {info.key for info in store.list(layout.progress)}
    inputs = [info for info in store.list(layout.input) if is_recording(info.key.removeprefix(layout.input))]

    def row(info: Info) -> Row:
        source = layout.source(info)
        manifest = read_manifest(store, layout, source.key) if layout.progress_key(source.key) in told else None
        return _row(store, layout, source, manifest, layout.settled_key(source.sid) in settled)

    with ThreadPoolExecutor(READERS) as readers:
        return _with_positions(readers.map(row, inputs))


def one(store: Store, layout: Layout, key: str) -> tuple[Row, Manifest | None]:
    """One recording, without its place in the queue, and its manifest if that speaks of this version. `NotFound`."""
    source = layout.source(store.head(layout.input_key(key)))
    manifest = read_manifest(store, layout, key)
    marker = read_marker(store, layout, source.sid)
    current = manifest if manifest is not None and manifest.source_id == source.sid else None
    return _row(store, layout, source, manifest, marker is not None), current


def read_manifest(store: Store, layout: Layout, key: str) -> Manifest | None:
    """What ``progress/<key>.json`` says, None if it is not there or not ours."""
    try:
        return parse_manifest(store.get(layout.progress_key(key)).body)
    except NotFound:
        return None


def read_marker(store: Store, layout: Layout, sid: str) -> SettledMarker | None:
    """The settled marker; None while that version is not settled. One that cannot be read is taken for a success."""
    try:
        body = store.get(layout.settled_key(sid)).body
    except NotFound:
        return None
    try:
        return SettledMarker.model_validate_json(body)
    except ValidationError:
        log.warning("settled/%s is unreadable", sid)
        return SettledMarker(key="", sid=sid, outcome="completed", job_id="", settled_at="")


def _row(store: Store, layout: Layout, source: Source, manifest: Manifest | None, settled: bool) -> Row:
    basic = Row(
        key=source.key, source_id=source.sid, size=source.size, modified=source.modified,
        status="queued", stage="queued", percent=0.0, settled=settled,
    )  # fmt: skip
    ours = manifest is not None and manifest.source_id == source.sid
    if manifest is not None and ours and manifest.terminal == settled:
        copied = ("status", "stage", "percent", "eta_seconds", "message", "job_id", "updated_at", "result")
        return basic.model_copy(update={name: getattr(manifest, name) for name in copied})
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
    waiting = sorted((row.modified, row.key) for row in found if row.status == "queued")
    places = {key: place for place, (_, key) in enumerate(waiting, start=1)}
    return [row.model_copy(update={"position": places.get(row.key)}) for row in found]
