"""Have a settled recording done again: its job's record is made claimable, its manifest says that it is queued, and its
settled marker goes, last of all.

A crash in between leaves a settled recording whose job may run again: nothing is lost, and a second retry finishes it.
Takes a store and keys; says what became of each. Knows nothing of how the worker runs what it then finds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from pydantic import ValidationError

from handler.batches.again import AnInput, members_again, take_back
from handler.callbacks.state import keys_of, over_by_input
from handler.errors import NotFound, Unavailable
from handler.job import Jobs
from handler.layout import is_batch, is_input
from handler.overview import READERS
from handler.progress import parse_manifest
from handler.settled import read_marker
from handler.store.swap import Conflict, put_bytes
from handler.types import Outcome, SettledMarker, Source, Subscriber, canonical_json
from pipeline.types import Frozen

_REVIVE_TRIES = 5


class Retried(Frozen):
    """``not_settled``: it is still queued or being worked on, and was left alone. ``was``: how it had ended."""

    key: str
    outcome: Literal["retried", "not_settled"]
    was: str | None = None


class Retry:
    """``jobs``: only to write records; nothing is claimed."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._store = jobs.store
        self._layout = jobs.layout
        self._over: Mapping[str, list[str]] | None = None  # by sid, when all were listed at once

    def key(self, key: str) -> Retried:
        """One recording, by its key relative to the input prefix. Of a batch the members that failed or were cancelled,
        and itself. `NotFound` if there is none.
        """
        source = self._layout.source(self._store.head(self._layout.input_key(key)))
        marker = read_marker(self._store, self._layout, source.sid)
        if marker is None:
            return Retried(key=key, outcome="not_settled")
        if is_batch(key):
            self._members(source, ("failed", "cancelled"))
            self._reopen(source)
        else:
            self._again(source, marker)
        return Retried(key=key, outcome="retried", was=marker.outcome)

    def failed(self, subscriber: Subscriber) -> Retried | None:
        """An input, if that version of it is still there, and failed; None otherwise. A batch that asks for it is open
        again afterwards.
        """
        member = subscriber.member
        if member is None:
            present, batch = self._present(subscriber.key, subscriber.sid), None
        else:
            present = self._present(member.source_key, member.source_sid)
            batch = self._present(member.batch_key, member.batch_sid)
        marker = read_marker(self._store, self._layout, subscriber.sid)
        if present is None or (member is not None and batch is None) or marker is None or marker.outcome != "failed":
            return None
        self._again(subscriber, marker)
        if batch is not None:
            self._reopen(batch)
        return Retried(key=subscriber.key, outcome="retried", was=marker.outcome)

    def all(self, *, failed_only: bool = False) -> Iterator[Retried]:
        """Every settled recording that is still there, and all that batches make of them under options of their own;
        with ``failed_only``, those that failed.
        """
        prefix = self._layout.settled_key("")
        self._over = over_by_input(self._store, self._layout)
        settled = {info.key.removeprefix(prefix) for info in self._store.list(prefix)}
        inputs = (self._layout.source(info) for info in self._store.list(self._layout.input))
        present = [source for source in inputs if source.sid in settled and is_input(source.key)]
        with ThreadPoolExecutor(READERS) as readers:
            markers = list(readers.map(lambda source: read_marker(self._store, self._layout, source.sid), present))
        ended: set[Outcome] = {"failed"} if failed_only else {"failed", "cancelled", "completed"}
        for source, marker in zip(present, markers, strict=True):
            if marker is None:
                continue
            if is_batch(source.key):
                if not self._members(source, ended) and marker.outcome not in ended:
                    continue
                self._reopen(source)
            elif marker.outcome in ended:
                self._again(source, marker)
            else:
                continue
            yield Retried(key=source.key, outcome="retried", was=marker.outcome)

    def _present(self, key: str, sid: str) -> Source | None:
        """What lies under the key, if it is that version."""
        try:
            source = self._layout.source(self._store.head(self._layout.input_key(key)))
        except NotFound:
            return None
        return source if source.sid == sid else None

    def _members(self, batch: Source, ended: Collection[Outcome]) -> int:
        """Have those of a batch's members done again that ended so; how many these are."""
        count = 0
        for member in members_again(self._store, self._layout, batch, ended):
            marker = read_marker(self._store, self._layout, member.sid)
            if marker is not None and marker.outcome in ended:
                self._again(member, marker)
                count += 1
        return count

    def _reopen(self, batch: Source) -> None:
        take_back(self._store, self._layout, batch)
        self._store.delete(self._layout.settled_key(batch.sid))

    def _again(self, source: Source | Subscriber | AnInput, marker: SettledMarker) -> None:
        if marker.jid is not None:
            self._revive(marker.jid)
            self._store.delete(self._layout.dead_key(marker.jid))
        self._requeue(source)
        for delivered in self._delivered(source.sid):
            self._store.delete(delivered)
        self._store.delete(self._layout.settled_key(source.sid))

    def _delivered(self, sid: str) -> list[str]:
        """Its callbacks that are over: with them gone, what the retry makes is delivered, even the same bytes again."""
        if self._over is not None:
            return self._over.get(sid, [])
        return keys_of(self._store, self._layout, sid, pending=False)

    def _requeue(self, source: Source | Subscriber | AnInput) -> None:
        """The manifest must not speak of the end that is taken back: with its token a terminal one would stay for ever,
        and whoever cancels the input would take it for one that has just ended.
        """
        key = self._layout.progress_key(source.key)
        try:
            found = self._store.get(key)
        except NotFound:
            return
        manifest = parse_manifest(found.body)
        if manifest is None or manifest.source_id != source.sid or not manifest.terminal:
            return
        queued = manifest.model_copy(
            update={
                "status": "queued", "stage": "queued", "percent": 0.0, "message": "Will be done again.",
                "finished_at": None, "result": None, "error": None,
            }
        )  # fmt: skip
        with contextlib.suppress(Conflict):  # somebody speaks for it already
            body = canonical_json(queued.model_dump(mode="json"))
            put_bytes(self._store, key, body, etag=found.etag, clock=self._jobs.clock)

    def _revive(self, jid: str) -> None:
        """Make a dead, cancelled or degraded job claimable.

        A healthy one stays: its result is published again, or the input is another job by now (new code, new options).
        """
        for _ in range(_REVIVE_TRIES):
            try:
                record, found = self._jobs.read(jid)
            except (NotFound, ValidationError):
                return  # the worker makes a new record
            if record.state not in ("dead", "cancelled") and not (record.state == "done" and record.degraded):
                return
            try:
                self._jobs.revive(record, found)
                return
            except Conflict:
                continue
        raise Unavailable(f"job {jid}: its record keeps changing", "Try again.")
