"""What a person sees of a job's end: the result or the error, the last manifest, and then the settled marker.

A result's other forms go before it: whoever sees the JSON sees them all. Every output is written so: take what lies
there (at first: nothing), ask whether the source still is the version this is about, write on condition that nothing
changed; refused ⇒ start over. So an older result never replaces a newer one, and publishing again after a crash gives
the same bytes. Where a later claim already speaks for the same version of the input, that claim settles it, or the next
scan finds it unsettled. Knows nothing of leases: only committed or dead jobs
come here.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence, Set
from functools import partial
from typing import Literal, Protocol

from handler.clock import Clock
from handler.ending import Ending
from handler.errors import AccessDenied, BadKey, NotFound, StoreError
from handler.exports import Exporter, Exports
from handler.layout import Layout
from handler.progress import ManifestWriter, parse_manifest
from handler.settled import settle
from handler.store.base import Store
from handler.store.swap import Conflict, put_bytes
from handler.types import JobRecord, Manifest, Outcome, Subscriber, canonical_json
from pipeline.errors import ErrorDetail, sentence
from pipeline.formats.deepgram import assemble, error_part, metadata_part
from pipeline.options import OUTPUTS

log = logging.getLogger(__name__)

WRITE_TRIES = 10
_SLOW_SECONDS = 1.0  # between the last manifest and the marker

GONE = "the recording was deleted or replaced by another version"

Verdict = Literal["written", "superseded", "older", "unpublishable"]


class Herald(Protocol):
    """Is told of each ending that has an output, before the input is settled, so that nothing it writes is lost."""

    def ended(self, ending: Ending, output: str, body: bytes) -> None:
        """``output``: the key of the result or the error, which holds ``body``. Store errors pass through."""


class Publisher:
    """``exporter``: makes a result's other forms; ``herald``: sends callbacks. Who publishes results needs both."""

    def __init__(
        self,
        store: Store,
        layout: Layout,
        clock: Clock,
        exporter: Exporter | None = None,
        herald: Herald | None = None,
    ) -> None:
        self._store = store
        self._layout = layout
        self._clock = clock
        self._exporter = exporter
        self._herald = herald

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
        made = self._exporter.make(subscriber, results) if self._exporter is not None else Exports()
        outputs = {kind: self._layout.output_key(subscriber.key, kind) for kind, _ in made.files}
        metadata = metadata_part(
            record.facts,
            request_id=ending.job_id,
            sha256=record.content.sha256,
            created=record.committed_at,
            tags=subscriber.tag,
            extra=subscriber.extra,
            warnings=(*subscriber.warnings, *made.warnings),
        )
        key, result = self._layout.result_key(subscriber.key), assemble(metadata, results)
        bodies = [*((outputs[kind], body) for kind, body in made.files), (key, result)]
        try:
            verdict = self._all(bodies, ending)
            began = self._clock.monotonic()
            if verdict == "written":
                manifest = ending.manifest(record.committed_at, status="completed", result=key, outputs=outputs)
                verdict = self._shown(ending, manifest, record, writer)
        except BadKey as error:
            return self._unpublishable(ending, error)
        if verdict == "written":
            self._tell(ending, key, result)
            return self._settled(ending, "completed", "", began)
        if verdict == "superseded":
            self.cancelled(ending, writer)
        return verdict

    def _shown(self, ending: Ending, manifest: Manifest, record: JobRecord, writer: ManifestWriter | None) -> Verdict:
        """The outputs lie there: the last manifest says so, and what earlier ends left beside them goes."""
        told = self._last_manifest(ending, manifest, writer)
        if told.newer is not None and ending.is_before(told.newer):
            return "older"
        if told.newer is not None and told.newer.source_id != ending.subscriber.sid:  # what lies there is not ours
            return "superseded"
        # An input that was never reported on has no error; of any other, one may lie there from before.
        reported = told.replaced is not None or told.newer is not None
        if record.failures or reported:
            self._store.delete(self._layout.error_key(ending.subscriber.key))
        if record.failures:  # it may have been dead, until the same bytes were dropped again
            self._store.delete(self._layout.dead_key(record.jid))
        return "written" if not reported or self._tidied(ending, set(manifest.outputs.values())) else "older"

    def failed(
        self, ending: Ending, error: ErrorDetail, *, dead: JobRecord | None = None, writer: ManifestWriter | None = None
    ) -> Verdict:
        """Publish why one input has no result. With ``dead``, the job's record also lies under ``dead/`` afterwards."""
        subscriber = ending.subscriber
        key = self._layout.error_key(subscriber.key)
        failures = [failure.model_dump(mode="json") for failure in dead.failures] if dead is not None else []
        body = error_part(
            error, request_id=ending.job_id, key=subscriber.key, attempts=ending.attempts, failures=failures
        )
        try:
            if self._is_older(ending):
                return "older"
            if dead is not None:
                self._store.put(self._layout.dead_key(dead.jid), letter_of(dead))
            verdict = self._output(key, body, ending)
            began = self._clock.monotonic()
            if verdict == "written":
                self._last_manifest(ending, ending.manifest(ending.store_time, status="failed", error=error), writer)
        except BadKey as bad:
            return self._unpublishable(ending, bad)
        if verdict == "written":
            self._tell(ending, key, body)
            return self._settled(ending, "failed", error.message, began)
        if verdict == "superseded":
            self.cancelled(ending, writer)
        return verdict

    def cancelled(self, ending: Ending, writer: ManifestWriter | None, reason: str = GONE) -> None:
        """The input was deleted or overwritten before its job ended, or somebody cancelled it. Its manifest must not
        say for ever that it is being worked on; where another version's lies by now, the writer leaves that alone.
        """
        if writer is not None:
            manifest = ending.manifest(ending.store_time, status="cancelled")
            writer.write(manifest.model_copy(update={"message": f"Cancelled: {reason}."}), force=True)
        self._settle(ending, "cancelled", reason)

    def _all(self, bodies: Sequence[tuple[str, bytes]], ending: Ending) -> Verdict:
        """Written in this order; the first that may not be written is the last."""
        for key, body in bodies:
            verdict = self._output(key, body, ending)
            if verdict != "written":
                return verdict
        return "written"

    def _tidied(self, ending: Ending, kept: Set[str]) -> bool:
        """Forms of an earlier result that this one does not have would go on telling what it said: they go. False when
        the input changed hands while they went.
        """
        subscriber = ending.subscriber
        every = {self._layout.output_key(subscriber.key, kind) for kind in OUTPUTS}
        listed = self._store.list(f"{self._layout.results}{subscriber.key}.")
        stale = [info.key for info in listed if info.key in every - kept]
        for key in stale:
            self._store.delete(key)
        if not stale or (self.is_current(subscriber) and not self._is_older(ending)):
            return True
        # What went may have been a newer result's, written in these moments. Without its marker it is published again.
        log.warning("%s: changed while old outputs were removed; it is published again", subscriber.key)
        with contextlib.suppress(NotFound):
            sid = self._layout.source(self._store.head(self._layout.input_key(subscriber.key))).sid
            self._store.delete(self._layout.settled_key(sid if subscriber.member is None else subscriber.sid))
        return False

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
        manifest = self._lies_there(ending)
        return manifest is not None and ending.is_before(manifest)

    def _lies_there(self, ending: Ending) -> Manifest | None:
        try:
            return parse_manifest(self._store.get(self._layout.progress_key(ending.subscriber.key)).body)
        except NotFound:
            return None

    def _last_manifest(self, ending: Ending, manifest: Manifest, writer: ManifestWriter | None) -> ManifestWriter:
        if writer is None:
            is_current = partial(self.is_current, ending.subscriber)  # again: the output took its time
            writer = ManifestWriter(self._store, self._layout, self._clock, least_seconds=0.0, is_current=is_current)
        writer.write(manifest, force=True)
        return writer

    def _tell(self, ending: Ending, key: str, body: bytes) -> None:
        if self._herald is not None:
            self._herald.ended(ending, key, body)

    def _settled(self, ending: Ending, outcome: Literal["completed", "failed"], reason: str, began: float) -> Verdict:
        """``began``: monotonic seconds of the last manifest. Where the marker took so long that somebody found none,
        and claimed the job anew, the end is theirs: with our marker nobody would take over from them.
        """
        self._settle(ending, outcome, reason)
        if self._clock.monotonic() - began <= _SLOW_SECONDS:
            return "written"
        there = self._lies_there(ending)
        if there is None or there.terminal or not ending.is_before(there):
            return "written"
        self._store.delete(self._layout.settled_key(ending.subscriber.sid))
        return "older"

    def _settle(self, ending: Ending, outcome: Outcome, reason: str) -> None:
        settle(self._store, self._layout, self._clock, ending.marker(outcome, reason))

    def _unpublishable(self, ending: Ending, error: BadKey) -> Verdict:
        """The store cannot hold an output under this name. Said in the log and in the marker: there is nowhere else."""
        log.error("%s: %s", ending.subscriber.key, sentence(error.message, error.hint))
        self._settle(ending, "failed", sentence(error.message, error.hint))
        return "unpublishable"


def letter_of(record: JobRecord) -> bytes:
    """``dead/<jid>.json``: a dead job's record, without what may hold a password."""
    return canonical_json(record.model_dump(mode="json", exclude={"subscribers": {"__all__": {"callback"}}}))
