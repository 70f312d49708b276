"""What the cache keeps of an input's content, and who else has use for it: for ``dropscribe delete --purge``.

Takes a store and the inputs that are purged; deletes the artifacts that no other input needs which is still there, a
reference before its blob. Whose an artifact is, is known in three ways: a record names it, its recipe follows from the
record (an attempt that never committed named nothing), or the reference says which job made it. Knows nothing of
outputs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from pydantic import ValidationError

from handler.batches.plan import member_sid
from handler.cache import Reference
from handler.errors import NotFound
from handler.job import EXPIRY_SLACK, Jobs
from handler.layout import batch_of, member_key
from handler.overview import READERS
from handler.settled import read_marker
from handler.store.base import Found
from handler.types import JobRecord, SettledMarker, Source, Subscriber
from pipeline.catalog import Model
from pipeline.companions import Companions
from pipeline.errors import PipelineError
from pipeline.options import Options
from pipeline.plan import stage_plans

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Cleared:
    """``removed``: keys, in the order in which they went. ``jids``: jobs of the same content that nobody needs.
    ``shared``: artifacts of the purged inputs that others do.
    """

    removed: tuple[str, ...]
    jids: tuple[str, ...]
    shared: int


@dataclass(frozen=True, slots=True)
class _Job:
    """What is kept in memory of each record; ``waiting``: (sid, key) of its subscribers."""

    jid: str
    sha256: str
    waiting: tuple[tuple[str, str], ...]


class Purge:
    """Reads every settled marker and every record, each once, when they are first needed: one for each purge."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._store = jobs.store
        self._layout = jobs.layout

    @cached_property
    def markers(self) -> Mapping[str, SettledMarker]:
        """All, by sid."""
        prefix = self._layout.settled_key("")
        sids = [info.key.removeprefix(prefix) for info in self._store.list(prefix)]
        found = _map(lambda sid: read_marker(self._store, self._layout, sid), sids)
        return {sid: marker for sid, marker in zip(sids, found, strict=True) if marker is not None}

    @cached_property
    def _all(self) -> tuple[_Job, ...]:
        prefix = self._layout.job_key("").removesuffix(".json")
        names = [info.key.removeprefix(prefix).removesuffix(".json") for info in self._store.list(prefix)]
        return tuple(_kept(_map(self._job, names)))

    @cached_property
    def _settled(self) -> Mapping[str, list[tuple[str, str]]]:
        """(sid, key) of the inputs that ended with a job."""
        found = dict[str, list[tuple[str, str]]]()
        for sid, marker in self.markers.items():
            if marker.jid is not None:
                found.setdefault(marker.jid, []).append((sid, marker.key))
        return found

    def sids_of(self, key: str) -> set[str]:
        """The versions of this input, its batch's members included, that markers and records tell of; where none does,
        those whose content somebody learned: then every source's record is read, too.
        """
        named = [(sid, marker.key) for sid, marker in self.markers.items()]
        named += [waiting for job in self._all for waiting in job.waiting]
        found = {sid for sid, name in named if name == key or batch_of(name) == key}
        if found:
            return found
        prefix = self._layout.source_key("").removesuffix(".json")
        sids = [info.key.removeprefix(prefix).removesuffix(".json") for info in self._store.list(prefix)]
        return {sid for sid, told in zip(sids, _map(self._source, sids), strict=True) if told and told[0] == key}

    def clear(self, sids: Set[str], jids: Set[str]) -> Cleared:
        """Delete what only these inputs, of these jobs, have use for: ``sids`` and ``jids``."""
        own = {job.jid for job in self._all if job.jid in jids or any(sid in sids for sid, _ in job.waiting)}
        contents = {job.sha256 for job in self._all if job.jid in own}
        contents |= {told[1] for told in _kept(_map(self._source, sorted(sids)))}
        same = [job.jid for job in self._all if job.sha256 in contents]
        references = self._references()
        made = dict[str, set[str]]()
        for digest, reference in references.items():
            if reference is not None and reference.jid is not None:
                made.setdefault(reference.jid, set()).add(digest)
        present = {source.key: source for source in map(self._layout.source, self._store.list(self._layout.input))}
        needed, unneeded, asked, free = set[str](), set[str](), set[str](), list[str]()
        for jid in same:
            read = self._read(jid)
            if read is None:
                continue
            digests = _digests(read[0]) | made.get(jid, set())
            if self._is_needed(*read, sids, present):
                needed |= digests
            else:
                unneeded |= digests
                free.append(jid)
            asked |= digests if jid in own else set()
        gone = self._delete(references, unneeded - needed)
        return Cleared(gone, tuple(free), len(asked & needed & references.keys()))

    # ── whose ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _is_needed(self, record: JobRecord, found: Found, sids: Set[str], present: Mapping[str, Source]) -> bool:
        """Whether a worker is at it, or it is the job of an input that is still there, other than ``sids``."""
        if record.state == "running" and record.lease_age + found.age <= record.lease_seconds + EXPIRY_SLACK:
            return True
        if any(one.sid not in sids and self._is_there(one, present) for one in record.subscribers):
            return True
        return any(
            sid not in sids and self._is_present(sid, key, present) for sid, key in self._settled.get(record.jid, ())
        )

    def _is_there(self, subscriber: Subscriber, present: Mapping[str, Source]) -> bool:
        member = subscriber.member
        if member is None:
            return _holds(present, subscriber.key, subscriber.sid)
        recording = _holds(present, member.source_key, member.source_sid)
        return recording and _holds(present, member.batch_key, member.batch_sid)

    def _is_present(self, sid: str, key: str, present: Mapping[str, Source]) -> bool:
        """As `_is_there`, of an input that no record tells of: a member's sid follows from its batch's plan."""
        batch_key = batch_of(key)
        if batch_key is None:
            return _holds(present, key, sid)
        batch, recording = present.get(batch_key), present.get(key.removeprefix(member_key(batch_key, "")))
        if batch is None or recording is None:
            return False
        return member_sid(self._store, self._layout, batch, recording) == sid

    # ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _read(self, jid: str) -> tuple[JobRecord, Found] | None:
        try:
            return self._jobs.read(jid)
        except (NotFound, ValueError):
            return None

    def _job(self, jid: str) -> _Job | None:
        read = self._read(jid)
        if read is None:
            return None
        waiting = tuple((one.sid, one.key) for one in read[0].subscribers)
        return _Job(jid, read[0].content.sha256, waiting)

    def _source(self, sid: str) -> tuple[str, str] | None:
        """(key, SHA-256 of the content) of a version of a recording, as somebody learned it."""
        try:
            told = json.loads(self._store.get(self._layout.source_key(sid)).body)
            return str(told["key"]), str(told["sha256"])
        except (NotFound, ValueError, KeyError, TypeError, RecursionError):
            return None

    def _references(self, known: Mapping[str, Reference | None] | None = None) -> dict[str, Reference | None]:
        """What the cache has, by digest; None where that cannot be read. ``known`` are not read again."""
        known = known or {}
        prefix = self._layout.stage_key("").removesuffix(".json")
        listed = [info.key.removeprefix(prefix).removesuffix(".json") for info in self._store.list(prefix)]
        new = [digest for digest in listed if digest not in known]
        read = dict(zip(new, _map(self._reference, new), strict=True))
        return {digest: read[digest] if digest in read else known[digest] for digest in listed}

    def _reference(self, digest: str) -> Reference | None:
        try:
            return Reference.model_validate_json(self._store.get(self._layout.stage_key(digest)).body)
        except (NotFound, ValidationError):
            return None

    def _delete(self, references: Mapping[str, Reference | None], digests: Set[str]) -> tuple[str, ...]:
        """References, and then the blobs that no other names by now."""
        mine = sorted(digests & references.keys())
        gone = [self._layout.stage_key(digest) for digest in mine]
        for key in gone:
            self._store.delete(key)
        blobs = _blobs(references[digest] for digest in mine)
        if blobs:
            blobs -= _blobs(self._references(references).values())
        for key in sorted(map(self._layout.blob_key, blobs)):
            try:
                self._store.head(key)
            except NotFound:
                continue
            self._store.delete(key)
            gone.append(key)
        return tuple(gone)


def _digests(record: JobRecord) -> set[str]:
    """What the record names, and what its attempts made whether they committed or not."""
    named = set(record.stages.values())
    try:
        options, model = Options.model_validate(record.options), Model.model_validate(record.model)
        companions = Companions.model_validate(record.companions)
        plans = stage_plans(record.content.sha256, options, model, record.jid, companions)
        return named | {plan.digest for plan in plans}
    except (ValueError, PipelineError):  # of another version of this program
        return named


def _blobs(references: Iterable[Reference | None]) -> set[str]:
    return {one.sha256 for one in references if one is not None and one.inline is None}


def _holds(present: Mapping[str, Source], key: str, sid: str) -> bool:
    return key in present and present[key].sid == sid


def _kept(items: Iterable[Item | None]) -> list[Item]:
    return [item for item in items if item is not None]


def _map(act: Callable[[Item], Answer], items: Iterable[Item]) -> list[Answer]:
    with ThreadPoolExecutor(READERS) as readers:
        return list(readers.map(act, items))
