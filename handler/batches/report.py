"""What a person sees of a batch: its manifest while it is open; its result, or its error, and the settled marker at its
end.

Any number of workers may write the same at the same time: of manifests the later look wins, of results the first one
stays. Outputs of a batch that was replaced never take the place of the newer one's. Knows nothing of when.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from handler.batches.outputs import Outputs, is_result_of
from handler.batches.standing import Standing
from handler.clock import Clock
from handler.errors import NotFound, StoreError
from handler.layout import CALLBACK_OPTIONS, Layout, job_id_of, member_key
from handler.overview import READERS
from handler.progress import parse_manifest, write_manifest
from handler.publish import GONE, Publisher
from handler.settled import read_marker
from handler.store.base import Store
from handler.types import (
    BatchCounts,
    BatchManifest,
    BatchMember,
    BatchResult,
    Outcome,
    SettledMarker,
    Source,
    canonical_json,
)
from pipeline.errors import ErrorDetail, sentence
from pipeline.formats.deepgram import error_part
from pipeline.formats.times import iso_time

_LARGE = 100  # members
DELETED = "the recording was deleted"
BATCH_GONE = "the batch was deleted or replaced by another version"


class Reporter:
    def __init__(self, store: Store, layout: Layout, clock: Clock, publisher: Publisher, worker: str) -> None:
        self._store = store
        self._layout = layout
        self._clock = clock
        self._outputs = Outputs(store, layout, clock, publisher, worker)
        self._worker = worker

    # ── while it is open ─────────────────────────────────────────────────────────────────────────────────────────────

    def count(self, standing: Standing) -> BatchCounts:
        """Two or four listings, of no more than the members' keys have in common; none while no member is settled."""
        if not standing.settled:
            return BatchCounts(total=standing.queued, queued=standing.queued)
        prefixes = standing.prefixes()
        results = (info for one in prefixes for info in self._store.list(self._layout.results + one))
        errors = (info for one in prefixes for info in self._store.list(self._layout.errors + one))
        return standing.counts(results, errors)

    def progress(
        self, standing: Standing, counts: BatchCounts, looked_at: float, eta: float | None, etag: str | None
    ) -> str | None:
        """``looked_at``: the store's epoch seconds when the scan began; ``eta`` in seconds; ``etag``: of what lies
        there, as this gave it last time.
        """
        return self._outputs.tell(
            self._manifest(standing, "processing", looked_at).model_copy(
                update={
                    "percent": 1000 * counts.settled // counts.total / 10,
                    "message": ", ".join([f"{counts.settled:,} of {counts.total:,} done", *_bad(counts)]),
                    "eta_seconds": eta,
                    "counts": counts,
                }
            ),
            etag,
        )

    # ── its end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def finish(self, standing: Standing) -> bool:
        """Every member is settled or gone: the result, the last manifest, the settled marker. False when one is
        unsettled again by now, or the batch was replaced.
        """
        made = self._result(standing)
        if made is None:
            return False
        batch = standing.batch
        key = self._layout.result_key(batch.key)
        there = self._outputs.put(batch, key, canonical_json(made.model_dump(mode="json")), is_result_of(batch))
        if there is None:
            return False
        result = BatchResult.model_validate_json(there)
        counts = result.counts
        manifest = self._manifest(standing, "completed", 0.0).model_copy(
            update={
                "percent": 100.0,
                "message": ", ".join([f"{counts.completed:,} of {counts.total:,} completed", *_bad(counts)]),
                "counts": counts,
                "updated_at": result.finished_at,
                "finished_at": result.finished_at,
                "result": key,
            }
        )
        self._outputs.tell(manifest)
        self._store.delete(self._layout.error_key(batch.key))  # of an earlier version, or from before a retry
        self._outputs.settle(batch, "completed", "", result.finished_at)
        return True

    def fail(self, standing: Standing, error: ErrorDetail) -> bool:
        """The batch as a whole cannot be: why, the last manifest, the settled marker. False when it was replaced."""
        batch, at = standing.batch, standing.plan.planned_at
        job_id = job_id_of(None, batch.sid)
        body = error_part(error, request_id=job_id, key=batch.key, attempts=1)
        if self._outputs.put(batch, self._layout.error_key(batch.key), body, lambda there: there == body) is None:
            return False
        manifest = self._manifest(standing, "failed", 0.0).model_copy(
            update={
                "message": sentence(error.message, error.hint), "error": error, "updated_at": at, "finished_at": at
            }
        )  # fmt: skip
        self._outputs.tell(manifest)
        self._outputs.settle(batch, "failed", error.message, at)
        return True

    def unwritable(self, standing: Standing, error: StoreError) -> None:
        """The store cannot hold outputs under the batch's name: the marker says so."""
        self._outputs.settle(standing.batch, "failed", sentence(error.message, error.hint), standing.plan.planned_at)

    def cancel(self, standing: Standing, reason: str = BATCH_GONE) -> bool:
        """The batch is gone, replaced or cancelled: no manifest may say for ever that work goes on."""
        batch, at = standing.batch, standing.plan.planned_at
        for key, sid in self._unfinished(standing):
            self._cancel_member(key, sid)
        self._outputs.cancel_manifest(batch, reason, at)
        self._outputs.settle(batch, "cancelled", reason, at)
        return True

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _manifest(self, standing: Standing, status: Outcome | str, looked_at: float) -> BatchManifest:
        batch = standing.batch
        return BatchManifest.model_validate(
            {
                "job_id": job_id_of(None, batch.sid),
                "source_id": batch.sid,
                "key": batch.key,
                "status": status,
                "stage": status,
                "percent": 0.0,
                "message": "",
                "queued_at": iso_time(batch.modified),
                "started_at": standing.plan.planned_at,
                "updated_at": iso_time(looked_at),
                "worker": self._worker,
            }
        )

    def _result(self, standing: Standing) -> BatchResult | None:
        """Made of the plan and the members' markers alone, so that all who make it make the same."""
        members = list(standing.members())
        sids = [sid for _, _, sid in members]
        if len(members) > _LARGE:
            with ThreadPoolExecutor(READERS) as readers:
                markers = list(readers.map(self._marker, sids))
        else:
            markers = [self._marker(sid) for sid in sids]
        rows, times = [], [standing.plan.planned_at]
        for (key, options, sid), marker in zip(members, markers, strict=True):
            if sid is None:
                told = _without_callback(options)
                rows.append(BatchMember(key=key, options=told, status="cancelled", message=DELETED))
                continue
            if marker is None:
                return None
            times.append(marker.settled_at)
            rows.append(self._row(standing.batch, key, options, marker))
        by = {status: sum(row.status == status for row in rows) for status in ("completed", "failed", "cancelled")}
        return BatchResult(
            job_id=job_id_of(None, standing.batch.sid),
            source_id=standing.batch.sid,
            key=standing.batch.key,
            counts=BatchCounts(total=len(rows), **by),
            queued_at=iso_time(standing.batch.modified),
            started_at=standing.plan.planned_at,
            finished_at=max(times),
            members=tuple(rows),
        )

    def _marker(self, sid: str | None) -> SettledMarker | None:
        return read_marker(self._store, self._layout, sid) if sid is not None else None

    def _row(self, batch: Source, key: str, options: dict[str, object] | None, marker: SettledMarker) -> BatchMember:
        outputs = key if options is None else member_key(batch.key, key)
        return BatchMember(
            key=key,
            options=_without_callback(options),
            status=marker.outcome,
            job_id=marker.job_id or None,
            result=self._layout.result_key(outputs) if marker.outcome == "completed" else None,
            error=self._layout.error_key(outputs) if marker.outcome == "failed" else None,
            message=marker.reason,
        )

    def _unfinished(self, standing: Standing) -> list[tuple[str, str]]:
        """Those of the members with options that are not settled and have a manifest."""
        waiting = dict(standing.unfinished())
        if not waiting:
            return []
        listed = self._store.list(self._layout.progress + member_key(standing.batch.key, ""))
        keys = (info.key.removeprefix(self._layout.progress).removesuffix(".json") for info in listed)
        return [(key, waiting[key]) for key in keys if key in waiting]

    def _cancel_member(self, key: str, sid: str) -> None:
        try:
            found = self._store.get(self._layout.progress_key(key))
        except NotFound:
            return
        manifest, at = parse_manifest(found.body), iso_time(found.store_time)
        if manifest is None or manifest.source_id != sid or manifest.terminal:
            return
        end = {"status": "cancelled", "stage": "cancelled", "message": f"Cancelled: {GONE}."}
        rest = {"eta_seconds": None, "partial": None, "updated_at": at, "finished_at": at}
        write_manifest(
            self._store, self._layout, self._clock, manifest.model_copy(update={**end, **rest}), etag=None,
            is_current=lambda: False,
        )  # fmt: skip


def _bad(counts: BatchCounts) -> Iterator[str]:
    for number, what in ((counts.failed, "failed"), (counts.cancelled, "cancelled")):
        if number:
            yield f"{number:,} {what}"


def _without_callback(options: dict[str, object] | None) -> dict[str, object] | None:
    """A batch's result is for people to read; the address of a callback may hold a password."""
    if options is None:
        return None
    return {name: value for name, value in options.items() if name not in CALLBACK_OPTIONS}
