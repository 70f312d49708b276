"""How a batch's manifest, result, error and marker are written: never in the place of a newer version's, and never a
cancelled batch's as if it had ended by itself.

Takes what is to be written; says what lies there in the end. Knows nothing of members.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable
from typing import Literal

from pydantic import ValidationError

from handler.clock import Clock
from handler.errors import NotFound, StoreError
from handler.layout import Layout, job_id_of
from handler.progress import WRITE_TRIES, parse_batch_manifest
from handler.publish import Publisher
from handler.settled import read_marker, settle
from handler.store.base import Store
from handler.store.swap import Conflict, put_bytes
from handler.types import BatchManifest, BatchResult, Outcome, SettledMarker, Source, canonical_json
from pipeline.formats.times import iso_time

log = logging.getLogger(__name__)


class Outputs:
    def __init__(self, store: Store, layout: Layout, clock: Clock, publisher: Publisher, worker: str) -> None:
        self._store = store
        self._layout = layout
        self._clock = clock
        self._publisher = publisher
        self._worker = worker

    def put(self, batch: Source, key: str, body: bytes, stays: Callable[[bytes], bool]) -> bytes | None:
        """Write a result or an error unless what lies there ``stays``; what lies there in the end. None when the batch
        is gone, or was cancelled before: nothing of it lies there then.
        """
        there = self._put(batch, key, body, stays)
        # Whoever cancels sets the marker and then looks for this object; so one of the two sees the other.
        if there is not None and self._is_cancelled(batch):
            self._take_away(key, there)
            return None
        return there

    def tell(self, manifest: BatchManifest, etag: str | None = None) -> str | None:
        """Write it unless what lies there is later: a terminal one (but an end goes in the place of a cancelling that
        was taken back), another worker's later look, or that of a newer version of the batch. The ETag of what lies
        there then.
        """
        key, body = self._layout.progress_key(manifest.key), canonical_json(manifest.model_dump(mode="json"))
        for _ in range(WRITE_TRIES):
            try:
                return put_bytes(self._store, key, body, etag=etag, clock=self._clock).etag
            except Conflict as conflict:
                found = conflict.found
            theirs = parse_batch_manifest(found.body) if found is not None else None
            etag = found.etag if found is not None else None
            if theirs is not None and not self._may_replace(manifest, theirs):
                return etag
        log.warning("progress of %s: given up after %d refusals", manifest.key, WRITE_TRIES)
        return None

    def cancel_manifest(self, batch: Source, reason: str, at: str, *, make: bool = False) -> str:
        """The last manifest of a batch that is cancelled; how far it was. A newer version's stays, and so does a
        terminal one. ``at``: ISO 8601, where no manifest tells the store's time; ``make`` one if none lies there.
        """
        etag: str | None = None
        last = BatchManifest(
            job_id=job_id_of(None, batch.sid), source_id=batch.sid, key=batch.key, status="queued", stage="queued",
            percent=0.0, message="", queued_at=iso_time(batch.modified), updated_at=at, worker=self._worker,
        )  # fmt: skip
        try:
            found = self._store.get(self._layout.progress_key(batch.key))
        except NotFound:
            if not make:
                return last.status
        else:
            at = iso_time(found.store_time)
            theirs = parse_batch_manifest(found.body)
            if theirs is not None and theirs.source_id == batch.sid:
                last, etag = theirs, found.etag
        if not last.terminal:
            end = {"status": "cancelled", "stage": "cancelled", "message": f"Cancelled: {reason}."}
            times = {"eta_seconds": None, "updated_at": at, "finished_at": at, "worker": self._worker}
            self.tell(last.model_copy(update={**end, **times}), etag)
        return last.status

    def ended(self, batch: Source) -> Literal["completed", "failed"] | None:
        """Whether the result, or the error, of this very version lies there."""
        try:
            if is_result_of(batch)(self._store.get(self._layout.result_key(batch.key)).body):
                return "completed"
        except NotFound:
            pass
        try:
            told = json.loads(self._store.get(self._layout.error_key(batch.key)).body)
        except (NotFound, ValueError):
            return None
        ours = isinstance(told, dict) and told.get("job_id") == job_id_of(None, batch.sid)
        return "failed" if ours else None

    def settle(self, batch: Source, outcome: Outcome, reason: str, at: str) -> SettledMarker | None:
        """Put the marker there, as `handler.settled.settle` does; gives the one that lies there instead of it."""
        marker = SettledMarker(
            key=batch.key, sid=batch.sid, outcome=outcome, job_id=job_id_of(None, batch.sid), reason=reason,
            settled_at=at,
        )  # fmt: skip
        there = settle(self._store, self._layout, self._clock, marker)
        if there is not marker:
            return there
        log.info("%s: %s%s", batch.key, outcome, f": {reason}" if reason else "")
        return None

    def _put(self, batch: Source, key: str, body: bytes, stays: Callable[[bytes], bool]) -> bytes | None:
        etag: str | None = None
        for _ in range(WRITE_TRIES):
            if not self._publisher.holds(batch.key, batch.sid):
                return None
            try:
                put_bytes(self._store, key, body, etag=etag, clock=self._clock)
                return body
            except Conflict as conflict:
                found = conflict.found
            if found is not None and stays(found.body):
                return found.body
            etag = found.etag if found is not None else None
        raise StoreError(f"{key} changed {WRITE_TRIES} times while it was being written")

    def _take_away(self, key: str, body: bytes) -> None:
        with contextlib.suppress(NotFound):
            if self._store.get(key).body == body:
                self._store.delete(key)

    def _is_cancelled(self, batch: Source) -> bool:
        marker = read_marker(self._store, self._layout, batch.sid)
        return marker is not None and marker.outcome == "cancelled"

    def _may_replace(self, mine: BatchManifest, theirs: BatchManifest) -> bool:
        if mine.source_id != theirs.source_id:
            return self._publisher.holds(mine.key, mine.source_id)
        if theirs.status == "cancelled":  # and uncancelled since: a result or an error lies there, and no such marker
            return mine.status in ("completed", "failed")
        return not theirs.terminal and (mine.terminal or mine.updated_at >= theirs.updated_at)


def is_result_of(batch: Source) -> Callable[[bytes], bool]:
    """Whether bytes are a result of this very version of the batch."""

    def stays(body: bytes) -> bool:
        try:
            return BatchResult.model_validate_json(body).source_id == batch.sid
        except ValidationError:
            return False

    return stays
