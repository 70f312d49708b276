"""Have an input not transcribed after all: queued, waiting for its next attempt, or in the middle of a stage.

First the settled marker, which hides the input from scans; then the input leaves its job's record, by
compare-and-swap, which is what decides between a cancel and a commit; last the manifest says so. Killed in between, it
can be given again.
Takes claims' records and inputs; says what became of them. Does not know how a worker ends what is running: its next
heartbeat is refused, or finds that nobody waits (`handler.worker`).
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from handler.batches.again import own_members
from handler.batches.outputs import Outputs
from handler.errors import Unavailable
from handler.job import Jobs
from handler.layout import is_batch, job_id_of
from handler.overview import read_manifest
from handler.progress import write_manifest
from handler.publish import GONE, Publisher
from handler.settled import read_marker, settle, uncancel
from handler.types import JobRecord, Manifest, SettledMarker, Source, Subscriber
from pipeline.formats.times import iso_time
from pipeline.types import Frozen

ASKED = "somebody asked for it"

_TRIES = 20  # each further one means that a worker made progress in between


class Cancelled(Frozen):
    """``cancelled``; ``too_late``: it had ended before, or ends just now; ``settled``: it was done with before.

    ``was``: how far it was when it was cancelled, else how it ended. ``others``: inputs that still wait for the job.
    """

    key: str
    outcome: Literal["cancelled", "too_late", "settled"]
    was: str
    others: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class _Withdrawn:
    """``token``: no claim of that job which may still speak for the input has a higher one. ``ended``: too late."""

    token: int = 0
    attempts: int = 0
    others: int = 0
    ended: Literal["completed", "failed"] | None = None


class Cancel:
    """``jobs``: only to read and swap records; nothing is claimed."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._store = jobs.store
        self._layout = jobs.layout
        self._clock = jobs.clock
        self._publisher = Publisher(jobs.store, jobs.layout, jobs.clock)

    def key(self, key: str) -> Cancelled:
        """One recording or batch, by its key relative to the input prefix, in its present version. Of a batch what was
        begun for it under options of its own, too; its recordings' ordinary jobs go on. `NotFound`, `Unavailable`.
        """
        info = self._store.head(self._layout.input_key(key))
        source = self._layout.source(info)
        if is_batch(key):
            return self._batch(source, info.store_time)
        return self._cancel(_subscriber(source), info.store_time, ASKED)

    def gone(self, subscriber: Subscriber, store_time: float) -> Cancelled:
        """An input whose recording was deleted or replaced. ``store_time``: the store's epoch seconds."""
        return self._cancel(subscriber, store_time, GONE)

    def is_asked(self, subscriber: Subscriber) -> bool:
        """Whether this input was cancelled, or the batch that asked for it. One GET, of a batch's member two."""
        member = subscriber.member
        return any(
            (marker := read_marker(self._store, self._layout, sid)) is not None and marker.outcome == "cancelled"
            for sid in (subscriber.sid, *((member.batch_sid,) if member is not None else ()))
        )

    def _batch(self, batch: Source, store_time: float) -> Cancelled:
        """First the marker, so that nothing more is begun; then the members; last the manifest."""
        now, worker = iso_time(store_time), self._jobs.worker
        outputs = Outputs(self._store, self._layout, self._clock, self._publisher, worker)
        there = outputs.settle(batch, "cancelled", ASKED, now)
        if there is not None and there.outcome != "cancelled":
            return Cancelled(key=batch.key, outcome="settled", was=there.outcome)
        ended = outputs.ended(batch)
        if ended is not None:  # who ends it just now, or the next scan, settles it
            uncancel(self._store, self._layout, batch.sid)
            return Cancelled(key=batch.key, outcome="too_late", was=ended)
        for member in own_members(self._store, self._layout, batch.key):
            if not member.terminal:
                waiting = Subscriber(sid=member.source_id, key=member.key, queued_at=member.queued_at)
                self._cancel(waiting, store_time, ASKED)
        was = outputs.cancel_manifest(batch, ASKED, now, make=True)
        if there is not None:
            return Cancelled(key=batch.key, outcome="settled", was="cancelled")
        return Cancelled(key=batch.key, outcome="cancelled", was=was)

    def carry_out(self, subscriber: Subscriber, store_time: float, jid: str) -> Cancelled:
        """For an input that `is_asked` is true of, and that waits for this job by now, whatever its manifest says."""
        return self._cancel(subscriber, store_time, ASKED, jid)

    def _cancel(self, subscriber: Subscriber, store_time: float, reason: str, jid: str | None = None) -> Cancelled:
        before = self._manifest(subscriber)
        jid = before.jid if before is not None and before.jid is not None else jid
        mine = SettledMarker(
            key=subscriber.key, sid=subscriber.sid, outcome="cancelled", jid=jid, job_id=job_id_of(jid, subscriber.sid),
            reason=reason, settled_at=iso_time(store_time),
        )  # fmt: skip
        there = settle(self._store, self._layout, self._clock, mine)
        if there.outcome != "cancelled":
            return Cancelled(key=subscriber.key, outcome="settled", was=there.outcome)
        done = self._finish(subscriber, store_time, reason, jid)
        if there is mine or done.outcome != "cancelled":
            return done
        return Cancelled(key=subscriber.key, outcome="settled", was="cancelled")

    def _finish(self, subscriber: Subscriber, store_time: float, reason: str, jid: str | None) -> Cancelled:
        """What is left to do for an input whose marker says that it is cancelled. ``jid``: its job, where its manifest
        may not tell. `Unavailable`.
        """
        was = "queued"
        for _ in range(_TRIES):
            told = self._manifest(subscriber)
            if told is not None and told.status in ("completed", "failed"):
                return self._too_late(subscriber, told.status)
            if told is not None and told.status == "processing":
                was = told.status
            jid = told.jid if told is not None and told.jid is not None else jid
            withdrawn = self._withdraw(jid, subscriber.sid)
            if withdrawn.ended is not None:
                return self._too_late(subscriber, withdrawn.ended)
            newer = self._tell(subscriber, told, jid, withdrawn, store_time, reason)
            if newer is None or newer.source_id != subscriber.sid or newer.status == "cancelled":
                return Cancelled(key=subscriber.key, outcome="cancelled", was=was, others=withdrawn.others)
        raise Unavailable(f"the progress of {subscriber.key} keeps changing", "Try again.")

    def _withdraw(self, jid: str | None, sid: str) -> _Withdrawn:
        record = self._jobs.withdraw(jid, sid) if jid is not None else None
        if record is None:
            return _Withdrawn()
        others = len(record.subscribers) if record.state in ("running", "waiting") else 0
        return _Withdrawn(record.token, record.attempts, others, _ended(record, sid))

    def _too_late(self, subscriber: Subscriber, was: str) -> Cancelled:
        """The job ended before. Its outputs stand; who publishes them, or a later scan, settles the input."""
        uncancel(self._store, self._layout, subscriber.sid)
        return Cancelled(key=subscriber.key, outcome="too_late", was=was)

    def _tell(
        self,
        subscriber: Subscriber,
        told: Manifest | None,
        jid: str | None,
        withdrawn: _Withdrawn,
        store_time: float,
        reason: str,
    ) -> Manifest | None:
        """Write the last manifest; gives what lies there instead of it."""
        now = iso_time(store_time)
        basic = told or Manifest(
            job_id=job_id_of(jid, subscriber.sid), jid=jid, source_id=subscriber.sid, key=subscriber.key,
            status="cancelled", stage="cancelled", percent=0.0, message="", attempt=max(1, withdrawn.attempts),
            token=0, queued_at=subscriber.queued_at, updated_at=now, worker=self._jobs.worker,
        )  # fmt: skip
        changes = {
            "status": "cancelled", "stage": "cancelled", "message": f"Cancelled: {reason}.", "eta_seconds": None,
            "partial": None, "token": max(basic.token, withdrawn.token), "updated_at": now, "finished_at": now,
        }  # fmt: skip
        wrote = write_manifest(
            self._store, self._layout, self._clock, basic.model_copy(update=changes), etag=None,
            is_current=lambda: self._publisher.is_current(subscriber),
        )  # fmt: skip
        return wrote.newer

    def _manifest(self, subscriber: Subscriber) -> Manifest | None:
        """The manifest, if it speaks of this very version."""
        manifest = read_manifest(self._store, self._layout, subscriber.key)
        return manifest if manifest is not None and manifest.source_id == subscriber.sid else None


def _subscriber(source: Source) -> Subscriber:
    return Subscriber(sid=source.sid, key=source.key, queued_at=iso_time(source.modified))


def _ended(record: JobRecord, sid: str) -> Literal["completed", "failed"] | None:
    """How the job ended for this input; None if it has not."""
    if not any(waiting.sid == sid for waiting in record.subscribers):
        return None
    return {"done": "completed", "dead": "failed"}.get(record.state)  # type: ignore[return-value]
