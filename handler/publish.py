"""What a person sees of a job's end: the result or the error, the last manifest, and then the settled marker.

Every output is written so: take what lies there (at first: nothing), ask whether the source still is the version this
is about, write on condition that nothing changed; refused ⇒ start over. So an older result never replaces a newer one,
and publishing again after a crash gives the same bytes. Where a later claim already speaks for the same version of the
input, that claim settles it, or the next scan finds it unsettled. Knows nothing of leases: only committed or dead jobs
come here.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import Literal

from handler.clock import Clock
from handler.errors import AccessDenied, BadKey, NotFound, StoreError
from handler.layout import Layout, job_id_of
from handler.progress import ManifestWriter, parse_manifest
from handler.settled import settle
from handler.store.base import Store
from handler.store.swap import Conflict, put_bytes
from handler.types import JobRecord, Manifest, SettledMarker, Subscriber, canonical_json
from pipeline.errors import ErrorDetail, sentence
from pipeline.formats.deepgram import assemble, error_part, metadata_part
from pipeline.formats.times import iso_time

log = logging.getLogger(__name__)

WRITE_TRIES = 10

GONE = "the recording was deleted or replaced by another version"

Verdict = Literal["written", "superseded", "older", "unpublishable"]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ended, for one of its inputs. ``token``: of the claim; where a finished job was met, one below that of
    any claim since.
    """

    subscriber: Subscriber
    token: int
    store_time: float
    worker: str
    jid: str | None = None
    attempts: int = 0
    cached_stages: tuple[str, ...] = ()
    timings: tuple[tuple[str, float], ...] = ()
    started_at: str | None = None

    @property
    def job_id(self) -> str:
        return job_id_of(self.jid, self.subscriber.sid)


class Publisher:
    def __init__(self, store: Store, layout: Layout, clock: Clock) -> None:
        self._store = store
        self._layout = layout
        self._clock = clock

    def is_current(self, subscriber: Subscriber) -> bool:
        """Whether the key still holds the version of the recording that this is about. One HEAD; a LIST, too, where it
        may not be read. For a batch's member one more: the batch must still be the one that asked.
        """
        member = subscriber.member
        if member is None:
            return self.holds(subscriber.key, subscriber.sid)
        return self.holds(member.source_key, member.source_sid) and self.holds(member.batch_key, member.batch_sid)

    def holds(self, key: str, sid: str) -> bool:
        """Whether a key, relative to the input prefix, holds that version now."""
        key = self._layout.input_key(key)
        try:
            info = self._store.head(key)
        except NotFound:
            return False
        except AccessDenied:  # an input that cannot be read ends in an error, too, and that must be told
            listed = next(self._store.list(key), None)
            if listed is None or listed.key != key:
                return False
            info = listed
        return self._layout.source(info).sid == sid

    def completed(
        self, ending: Ending, record: JobRecord, results: bytes, writer: ManifestWriter | None = None
    ) -> Verdict:
        """Publish a committed job's result for one input. ``results``: the value of ``"results"``, as stored.

        A result under a name that the store cannot hold settles the input as failed; the marker says why.
        """
        assert record.facts is not None
        assert record.committed_at is not None
        subscriber = ending.subscriber
        metadata = metadata_part(
            record.facts,
            request_id=ending.job_id,
            sha256=record.content.sha256,
            created=record.committed_at,
            tags=subscriber.tag,
            extra=subscriber.extra,
            warnings=subscriber.warnings,
        )
        key = self._layout.result_key(subscriber.key)
        try:
            verdict = self._output(key, assemble(metadata, results), ending)
            if verdict == "written":
                manifest = _manifest(ending, record.committed_at, status="completed", result=key)
                told = self._last_manifest(ending, manifest, writer)
                if told.newer is not None and _speaks_later(told.newer, ending):
                    return "older"
                # An input that was never reported on has no error; of any other, one may lie there from before.
                if record.failures or told.replaced is not None:
                    self._store.delete(self._layout.error_key(subscriber.key))
        except BadKey as error:
            return self._unpublishable(ending, error)
        if verdict == "written":
            self._settle(ending, "completed", "")
        elif verdict == "superseded":
            self.cancelled(ending, writer)
        return verdict

    def failed(
        self, ending: Ending, error: ErrorDetail, *, dead: JobRecord | None = None, writer: ManifestWriter | None = None
    ) -> Verdict:
        """Publish why one input has no result. With ``dead``, the job's record also lies under ``dead/`` afterwards."""
        subscriber = ending.subscriber
        failures = [failure.model_dump(mode="json") for failure in dead.failures] if dead is not None else []
        body = error_part(
            error, request_id=ending.job_id, key=subscriber.key, attempts=ending.attempts, failures=failures
        )
        try:
            if self._is_older(ending):
                return "older"
            if dead is not None:
                self._store.put(self._layout.dead_key(dead.jid), canonical_json(dead.model_dump(mode="json")))
            verdict = self._output(self._layout.error_key(subscriber.key), body, ending)
            if verdict == "written":
                self._last_manifest(ending, _manifest(ending, ending.store_time, status="failed", error=error), writer)
        except BadKey as bad:
            return self._unpublishable(ending, bad)
        if verdict == "written":
            self._settle(ending, "failed", error.message)
        elif verdict == "superseded":
            self.cancelled(ending, writer)
        return verdict

    def cancelled(self, ending: Ending, writer: ManifestWriter | None, reason: str = GONE) -> None:
        """The input was deleted or overwritten before its job ended, or somebody cancelled it. Its manifest must not
        say for ever that it is being worked on; where another version's lies by now, the writer leaves that alone.
        """
        if writer is not None:
            manifest = _manifest(ending, ending.store_time, status="cancelled")
            writer.write(manifest.model_copy(update={"message": f"Cancelled: {reason}."}), force=True)
        self._settle(ending, "cancelled", reason)

    def _output(self, key: str, body: bytes, ending: Ending) -> Verdict:
        etag: str | None = None
        for _ in range(WRITE_TRIES):
            if not self.is_current(ending.subscriber):
                return "superseded"
            try:
                put_bytes(self._store, key, body, etag=etag, clock=self._clock)
                return "written"
            except Conflict as conflict:
                found = conflict.found
            if found is not None and self._is_older(ending):
                return "older"
            etag = found.etag if found is not None else None
        raise StoreError(
            f"{key} changed {WRITE_TRIES} times while it was being written", "Is another program writing there?"
        )

    def _is_older(self, ending: Ending) -> bool:
        """Whether a later claim (a `retry`, other options) already speaks for this same version of the input."""
        try:
            found = self._store.get(self._layout.progress_key(ending.subscriber.key))
        except NotFound:
            return False
        manifest = parse_manifest(found.body)
        return manifest is not None and _speaks_later(manifest, ending)

    def _last_manifest(self, ending: Ending, manifest: Manifest, writer: ManifestWriter | None) -> ManifestWriter:
        if writer is None:
            is_current = partial(self.is_current, ending.subscriber)  # again: the output took its time
            writer = ManifestWriter(self._store, self._layout, self._clock, least_seconds=0.0, is_current=is_current)
        writer.write(manifest, force=True)
        return writer

    def _settle(self, ending: Ending, outcome: Literal["completed", "failed", "cancelled"], reason: str) -> None:
        marker = SettledMarker(
            key=ending.subscriber.key,
            sid=ending.subscriber.sid,
            outcome=outcome,
            jid=ending.jid,
            job_id=ending.job_id,
            reason=reason,
            settled_at=iso_time(ending.store_time),
        )
        settle(self._store, self._layout, self._clock, marker)

    def _unpublishable(self, ending: Ending, error: BadKey) -> Verdict:
        """The store cannot hold an output under this name. Said in the log and in the marker: there is nowhere else."""
        log.error("%s: %s", ending.subscriber.key, sentence(error.message, error.hint))
        self._settle(ending, "failed", sentence(error.message, error.hint))
        return "unpublishable"


def _speaks_later(manifest: Manifest, ending: Ending) -> bool:
    return manifest.source_id == ending.subscriber.sid and manifest.token > ending.token


def _manifest(
    ending: Ending,
    finished: float,
    *,
    status: Literal["completed", "failed", "cancelled"],
    result: str | None = None,
    error: ErrorDetail | None = None,
) -> Manifest:
    return Manifest(
        job_id=ending.job_id,
        jid=ending.jid,
        source_id=ending.subscriber.sid,
        key=ending.subscriber.key,
        status=status,
        stage=status,
        percent=100.0 if status == "completed" else 0.0,
        message="Completed" if error is None else sentence(error.message, error.hint),
        attempt=max(1, ending.attempts),
        token=ending.token,
        cached_stages=ending.cached_stages,
        queued_at=ending.subscriber.queued_at,
        started_at=ending.started_at,
        updated_at=iso_time(ending.store_time),
        finished_at=iso_time(finished),
        timings=dict(ending.timings),
        worker=ending.worker,
        result=result,
        error=error,
    )
