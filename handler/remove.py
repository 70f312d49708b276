"""Remove what the worker made of one recording, or for one batch: its outputs, and with ``purge`` what the cache keeps
for it alone. Of a batch's members those with options have outputs that are the batch's; the others' are their own.

Takes a store and a key; says what went. The recording itself is the user's and stays; while it is there, so does its
settled marker, or it would be transcribed again. The order is that of references before data: the manifest before the
result that it names, a cache reference before its blob. Killed in between, it can be given again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from pydantic import ValidationError

from handler.batches.again import own_members
from handler.cache import Reference
from handler.errors import NotFound, Usage
from handler.job import EXPIRY_SLACK, Jobs
from handler.layout import batch_of, is_batch, member_key
from handler.overview import READERS, read_batch_manifest, read_manifest
from handler.settled import read_marker
from handler.store.base import Info
from handler.types import BatchManifest, JobRecord, Manifest, SettledMarker, Source
from pipeline.types import Frozen

CAPTIONS = (".srt", ".vtt", ".txt", ".rttm")  # a result's other forms, when asked for

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Removed(Frozen):
    """``removed``: keys in the bucket, in the order in which they went. ``recording``: whether that is still there.

    ``settled``: whether it will not be transcribed again by itself. ``shared``: artifacts that somebody else uses.
    """

    key: str
    recording: bool
    settled: bool
    removed: tuple[str, ...]
    shared: int = 0


@dataclass(frozen=True, slots=True)
class _Known:
    """``sids`` and ``jids`` of a key; the settled ``markers`` of these, and of its earlier versions if all were read:
    ``every``.
    """

    sids: set[str]
    jids: set[str]
    markers: dict[str, SettledMarker]
    every: dict[str, SettledMarker]


class Remove:
    """``jobs``: only to read records; nothing is claimed."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._store = jobs.store
        self._layout = jobs.layout

    def exists(self, key: str) -> bool:
        """Whether there is a recording with this key (relative to the input prefix), or anything made of it."""
        return self._source(key) is not None or any(True for _ in self._outputs(key))

    def key(self, key: str, *, purge: bool) -> Removed:
        """`Usage` while a worker has it, or is going to: cancel it first. With ``purge`` every settled marker, job's
        record and cache reference is read.
        """
        source = self._source(key)
        known = self._known(key, source, purge)
        gone = [info.key for info in self._outputs(key)]
        self._delete(gone)
        shared = 0
        if purge:
            others = {sid: other for sid, other in known.every.items() if sid not in known.markers}
            for jid in sorted(known.jids):
                went, kept = self._purge(jid, others, known.sids)
                gone += went
                shared += kept
        # A marker names the job: it goes after what is found through it.
        present = source.sid if source is not None else ""
        gone += self._forget(key, sorted((known.sids | set(known.markers)) - {present}), purge)
        settled = source is not None and source.sid in known.markers
        return Removed(key=key, recording=source is not None, settled=settled, removed=tuple(gone), shared=shared)

    def _known(self, key: str, source: Source | None, purge: bool) -> _Known:
        """What the bucket knows of a key. `Usage` while a worker has it, or is going to."""
        manifest = self._manifest(key)
        sids = {source.sid} if source is not None else set()
        if manifest is not None and (source is None or manifest.source_id == source.sid):
            sids.add(manifest.source_id)
        ours = manifest if isinstance(manifest, Manifest) and manifest.source_id in sids else None
        every = self._markers() if purge else {}
        markers = self._markers_of(sids)
        self._refuse_unfinished(key, ours, settled=bool(markers))
        if is_batch(key):
            members = own_members(self._store, self._layout, key)
            markers |= self._markers_of(member.source_id for member in members)
        # Versions that were replaced; and their members, if it is a batch.
        markers |= {sid: one for sid, one in every.items() if one.key == key or batch_of(one.key) == key}
        jids = {marker.jid for marker in markers.values() if marker.jid is not None}
        if ours is not None and ours.jid is not None:
            jids.add(ours.jid)
        return _Known(sids, jids, markers, every)

    def _source(self, key: str) -> Source | None:
        try:
            return self._layout.source(self._store.head(self._layout.input_key(key)))
        except NotFound:
            return None

    def _outputs(self, key: str) -> Iterator[Info]:
        result = self._layout.result_key(key)
        others = [result.removesuffix(".json") + suffix for suffix in CAPTIONS]
        for output in (self._layout.progress_key(key), self._layout.error_key(key), result, *others):
            try:
                yield self._store.head(output)
            except NotFound:
                continue
        if is_batch(key):
            for prefix in (self._layout.progress, self._layout.errors, self._layout.results):
                yield from self._store.list(prefix + member_key(key, ""))

    def _manifest(self, key: str) -> Manifest | BatchManifest | None:
        return (read_batch_manifest if is_batch(key) else read_manifest)(self._store, self._layout, key)

    def _markers_of(self, sids: Iterable[str]) -> dict[str, SettledMarker]:
        asked = sorted(sids)
        found = self._map(lambda sid: read_marker(self._store, self._layout, sid), asked)
        return {sid: marker for sid, marker in zip(asked, found, strict=True) if marker is not None}

    def _refuse_unfinished(self, key: str, manifest: Manifest | None, *, settled: bool) -> None:
        batch = key if is_batch(key) else batch_of(key)
        if batch is not None:
            self._refuse_open(batch)
        if manifest is None or manifest.terminal or settled or manifest.jid is None:
            return
        try:
            record, found = self._jobs.read(manifest.jid)
        except (NotFound, ValueError):
            return
        waits = any(waiting.sid == manifest.source_id for waiting in record.subscribers)
        alive = record.state != "running" or record.lease_age + found.age <= record.lease_seconds + EXPIRY_SLACK
        if waits and alive and record.state in ("running", "waiting"):
            raise Usage(f"{key} is being worked on", f"Run `dropscribe cancel BUCKET {key}` first.")

    def _refuse_open(self, batch: str) -> None:
        """`Usage` while workers are at a batch: what goes would be made again."""
        source = self._source(batch)
        if source is None or read_marker(self._store, self._layout, source.sid) is not None:
            return
        if self._is_there(self._layout.plan_key(source.sid)):
            raise Usage(f"the batch {batch} is being worked on", f"Run `dropscribe cancel BUCKET {batch}` first.")

    def _forget(self, key: str, sids: Iterable[str], purge: bool) -> list[str]:
        """What is known of recordings that are not there any more; and which members of a batch are done with, so that
        a retry of it does not tell of results that are gone.
        """
        keys = [self._layout.source_key(sid) for sid in sids] if purge else []
        keys += [self._layout.plan_key(sid) for sid in sids] if is_batch(key) else []
        there = [key for key in [*keys, *(self._layout.settled_key(sid) for sid in sids)] if self._is_there(key)]
        return self._delete(there)

    # ── the cache ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _purge(self, jid: str, others: dict[str, SettledMarker], sids: set[str]) -> tuple[list[str], int]:
        """(what went, how many artifacts stay because somebody else uses them). ``others``: markers of other keys."""
        try:
            record, _ = self._jobs.read(jid)
        except (NotFound, ValueError):
            return [], 0
        digests = set(record.stages.values())
        if record.state in ("running", "waiting") or self._others_have(record, others, sids):
            return [], len(digests)
        used = {digest for other in self._records() if other.jid != jid for digest in other.stages.values()}
        mine = [key for digest in sorted(digests - used) if self._is_there(key := self._layout.stage_key(digest))]
        blobs = {blob for blob in map(self._blob_of, mine) if blob is not None}
        gone = self._delete(mine)
        if blobs:
            prefix = self._layout.stage_key("").removesuffix(".json")
            blobs -= set(self._map(self._blob_of, [info.key for info in self._store.list(prefix)]))
            gone += self._delete(key for blob in sorted(blobs) if self._is_there(key := self._layout.blob_key(blob)))
        gone += self._delete(key for key in [self._layout.dead_key(jid)] if self._is_there(key))
        return gone, len(digests & used)

    def _others_have(self, record: JobRecord, others: dict[str, SettledMarker], sids: set[str]) -> bool:
        """Whether another recording that is still there is this same job. A batch's member counts as long as its marker
        does: its sid is in no listing.
        """
        present = {self._layout.source(info).sid for info in self._store.list(self._layout.input)} - sids
        if any(waiting.sid in present for waiting in record.subscribers):
            return True
        members = {waiting.sid for waiting in record.subscribers if waiting.member is not None}
        same = {sid for sid, marker in others.items() if marker.jid == record.jid}
        return bool(same & (present | members))

    def _markers(self) -> dict[str, SettledMarker]:
        prefix = self._layout.settled_key("")
        return self._markers_of(info.key.removeprefix(prefix) for info in self._store.list(prefix))

    def _records(self) -> Iterator[JobRecord]:
        prefix = self._layout.job_key("").removesuffix(".json")
        for record in self._map(self._record, [info.key for info in self._store.list(prefix)]):
            if record is not None:
                yield record

    def _record(self, key: str) -> JobRecord | None:
        try:
            return JobRecord.model_validate_json(self._store.get(key).body)
        except (NotFound, ValidationError):
            return None

    def _blob_of(self, key: str) -> str | None:
        """The blob that a reference names; None if it holds its artifact itself, or cannot be read."""
        try:
            reference = Reference.model_validate_json(self._store.get(key).body)
        except (NotFound, ValidationError):
            return None
        return reference.sha256 if reference.inline is None else None

    # ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _is_there(self, key: str) -> bool:
        try:
            self._store.head(key)
        except NotFound:
            return False
        return True

    def _delete(self, keys: Iterable[str]) -> list[str]:
        gone = list(keys)
        for key in gone:
            self._store.delete(key)
        return gone

    def _map(self, act: Callable[[Item], Answer], items: Iterable[Item]) -> list[Answer]:
        with ThreadPoolExecutor(READERS) as readers:
            return list(readers.map(act, items))
