"""Remove what the worker made of one recording, or for one batch: its outputs, and with ``purge`` what the cache keeps
for it alone. Of a batch's members those with options have outputs that are the batch's; the others' are their own.

Takes a store and a key; says what went. The recording itself is the user's and stays; while it is there, so does its
settled marker, or it would be transcribed again. The order is that of references before data: the manifest before the
result that it names, a cache reference before its blob. Killed in between, it can be given again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pydantic import ValidationError

from handler.batches.again import own_members
from handler.callbacks.state import keys_of
from handler.errors import NotFound, Usage
from handler.job import EXPIRY_SLACK, Jobs
from handler.layout import batch_of, is_batch, member_key
from handler.overview import READERS, read_batch_manifest, read_manifest
from handler.publish import letter_of
from handler.purge import Purge
from handler.settled import read_marker
from handler.store.base import Info
from handler.types import BatchManifest, JobRecord, Manifest, SettledMarker, Source
from pipeline.options import OUTPUTS
from pipeline.types import Frozen


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
    """``sids`` and ``jids`` of a key, those of its members included if it is a batch; which of these are ``settled``.
    With a purge also those of its earlier versions.
    """

    sids: set[str]
    jids: set[str]
    settled: set[str]


class Remove:
    """``jobs``: only to read records; nothing is claimed."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._store = jobs.store
        self._layout = jobs.layout

    def exists(self, key: str, *, purge: bool = False) -> bool:
        """Whether there is a recording with this key (relative to the input prefix), or anything made of it; for a
        ``purge``, whether anything tells of one.
        """
        there = self._source(key) is not None or any(True for _ in self._outputs(key))
        return there or (purge and bool(Purge(self._jobs).sids_of(key)))

    def key(self, key: str, *, purge: bool) -> Removed:
        """`Usage` while a worker has it, or is going to: cancel it first. With ``purge`` every settled marker, job's
        record and cache reference is read.
        """
        source = self._source(key)
        everything = Purge(self._jobs) if purge else None
        known = self._known(key, source, everything)
        gone = [waits for sid in sorted(known.sids) for waits in keys_of(self._store, self._layout, sid)]
        gone += [info.key for info in self._outputs(key)]
        self._delete(gone)
        shared, jids = 0, known.jids
        if everything is not None:
            cleared = everything.clear(known.sids, known.jids)
            gone += cleared.removed
            shared, jids = cleared.shared, jids.union(cleared.jids)
        gone += self._strike(jids, known.sids)
        # Markers and sources lead to the job: they go after what is found through them.
        present = source.sid if source is not None else ""
        gone += self._forget(key, sorted(known.sids - {present}), purge)
        settled = source is not None and source.sid in known.settled
        return Removed(key=key, recording=source is not None, settled=settled, removed=tuple(gone), shared=shared)

    def _known(self, key: str, source: Source | None, everything: Purge | None) -> _Known:
        """What the bucket knows of a key. `Usage` while a worker has it, or is going to."""
        manifest = self._manifest(key)
        sids = {source.sid} if source is not None else set()
        if manifest is not None and (source is None or manifest.source_id == source.sid):
            sids.add(manifest.source_id)
        ours = manifest if isinstance(manifest, Manifest) and manifest.source_id in sids else None
        markers = self._markers_of(sids)
        self._refuse_unfinished(key, ours, settled=bool(markers), present=source is not None)
        if is_batch(key):
            members = own_members(self._store, self._layout, key)
            markers |= self._markers_of(member.source_id for member in members)
        if everything is not None:  # versions that were replaced; and their members, if it is a batch
            sids |= everything.sids_of(key)
            markers |= {sid: marker for sid, marker in everything.markers.items() if sid in sids}
        jids = {marker.jid for marker in markers.values() if marker.jid is not None}
        if ours is not None and ours.jid is not None:
            jids.add(ours.jid)
        return _Known(sids | markers.keys(), jids, set(markers))

    def _source(self, key: str) -> Source | None:
        try:
            return self._layout.source(self._store.head(self._layout.input_key(key)))
        except NotFound:
            return None

    def _outputs(self, key: str) -> Iterator[Info]:
        others = [self._layout.output_key(key, kind) for kind in OUTPUTS]
        told = (self._layout.progress_key(key), self._layout.error_key(key))
        for output in (*told, self._layout.result_key(key), *others):
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
        with ThreadPoolExecutor(READERS) as readers:
            found = list(readers.map(lambda sid: read_marker(self._store, self._layout, sid), asked))
        return {sid: marker for sid, marker in zip(asked, found, strict=True) if marker is not None}

    def _refuse_unfinished(self, key: str, manifest: Manifest | None, *, settled: bool, present: bool) -> None:
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
        if record.state == "running":
            alive = record.lease_age + found.age <= record.lease_seconds + EXPIRY_SLACK
        else:  # nobody comes back to a job whose recording has gone
            alive = record.state == "waiting" and present
        if waits and alive:
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

    def _strike(self, jids: Set[str], sids: Set[str]) -> list[str]:
        """No dead letter speaks of these inputs any more; those that spoke of nobody else go."""
        prefix = self._layout.dead_key("").removesuffix(".json")
        letters = {info.key for info in self._store.list(prefix)} if jids else set()
        gone = []
        for key in sorted(letters & {self._layout.dead_key(jid) for jid in jids}):
            try:
                letter = JobRecord.model_validate_json(self._store.get(key).body)
            except NotFound:
                continue
            except ValidationError:
                gone.append(key)
                continue
            left = tuple(waiting for waiting in letter.subscribers if waiting.sid not in sids)
            if not left:
                gone.append(key)
            elif left != letter.subscribers:
                self._store.put(key, letter_of(letter.model_copy(update={"subscribers": left})))
        return self._delete(gone)

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
