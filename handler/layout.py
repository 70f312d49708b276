"""Where everything lies in the bucket, and how inputs and jobs are named. Pure: no requests are made here.

The normative description is docs/format.md.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handler.settings import Settings
from handler.store.base import Info
from handler.types import Member, Source, canonical_json

NAMESPACE = uuid.UUID("6f1b2ad1-4f0e-5d0b-9a52-3c8a9d1f7e60")  # of every UUIDv5 that names a job

OPTIONS_FILE = "options.json"
SIDECAR_SUFFIX = ".options.json"
BATCH_SUFFIX = ".batch.jsonl"
SPEAKERS_FILE = "speakers.json"
SPEAKERS_SUFFIX = ".speakers.json"
CALLBACK_OPTIONS = ("callback", "callback_method")  # may hold a password: for no id and no output
_NOT_RECORDINGS = (OPTIONS_FILE, SPEAKERS_FILE)
_SIDECARS = (SIDECAR_SUFFIX, SPEAKERS_SUFFIX, BATCH_SUFFIX)


def digest_of(*parts: Any) -> str:
    """SHA-256, in hex, of the parts' canonical JSON."""
    return hashlib.sha256(canonical_json(list(parts))).hexdigest()


def job_id_of(jid: str | None, sid: str) -> str:
    """The id a person sees: UUIDv5 of the job and the input's version. ``jid`` is None for inputs that never became a
    job.
    """
    return str(uuid.uuid5(NAMESPACE, f"{jid or 'none'}:{sid}"))


def is_recording(key: str) -> bool:
    """Whether an object under the input prefix is work. ``key`` is relative to the prefix.

    Folder markers, dot files (or anything in a dot folder), options and speaker names are not; a batch is not a
    recording, nor is what lies in a folder called like one.
    """
    name = key.rsplit("/", 1)[-1]
    return _is_work(key) and name not in _NOT_RECORDINGS and not name.endswith(_SIDECARS)


def is_batch(key: str) -> bool:
    """Whether an object under the input prefix asks for a batch."""
    return _is_work(key) and key.endswith(BATCH_SUFFIX)


def is_input(key: str) -> bool:
    """Whether an object under the input prefix is settled one day: a recording or a batch."""
    return is_recording(key) or is_batch(key)


def _is_work(key: str) -> bool:
    *folders, name = key.split("/")
    if not name or name.startswith("."):
        return False
    # What lay in a folder called like a batch would have the same outputs as that batch's members.
    return not any(folder.startswith(".") or folder.endswith(BATCH_SUFFIX) for folder in folders)


def common_start(keys: Sequence[str]) -> str:
    """What all the keys begin with, not caring where a folder ends."""
    least, greatest = min(keys, default=""), max(keys, default="")
    same = (place for place, (one, other) in enumerate(zip(least, greatest, strict=False)) if one != other)
    return least[: next(same, min(len(least), len(greatest)))]


def member_key(batch_key: str, key: str) -> str:
    """Under which the outputs of a batch's member with options lie."""
    return f"{batch_key}/{key}"


def batch_of(key: str) -> str | None:
    """The batch's key, if ``key`` is that of the outputs of a batch's member with options."""
    start, found, _ = key.partition(f"{BATCH_SUFFIX}/")
    return start + BATCH_SUFFIX if found else None


def is_options(key: str) -> bool:
    """Whether an object under the input prefix holds options for others."""
    name = key.rsplit("/", 1)[-1]
    return name == OPTIONS_FILE or name.endswith(SIDECAR_SUFFIX)


@dataclass(frozen=True, slots=True)
class Layout:
    """Object keys. ``bucket`` is part of every source id: the URL on S3, nothing on a folder, which may be mounted
    anywhere.
    """

    bucket: str
    input: str
    results: str
    progress: str
    errors: str
    state: str

    @classmethod
    def of(cls, bucket: str, settings: Settings) -> Layout:
        return cls(
            bucket=bucket if bucket.startswith("s3://") else "",
            input=settings.input_prefix,
            results=settings.results_prefix,
            progress=settings.progress_prefix,
            errors=settings.errors_prefix,
            state=settings.state_prefix,
        )

    def source(self, info: Info) -> Source:
        """The input's version as the protocol names it, from no more than what a listing shows."""
        sid = digest_of(self.bucket, info.key, info.version, info.modified)
        key = info.key.removeprefix(self.input)
        return Source(sid=sid, key=key, size=info.size, version=info.version, modified=info.modified)

    def input_key(self, key: str) -> str:
        return self.input + key

    def result_key(self, key: str) -> str:
        return f"{self.results}{key}.json"

    def output_key(self, key: str, kind: str) -> str:
        """A result's other forms: ``kind`` is srt, vtt, txt or rttm."""
        return f"{self.results}{key}.{kind}"

    def progress_key(self, key: str) -> str:
        return f"{self.progress}{key}.json"

    def error_key(self, key: str) -> str:
        return f"{self.errors}{key}.json"

    def source_key(self, sid: str) -> str:
        return f"{self.state}sources/{sid}.json"

    def job_key(self, jid: str) -> str:
        return f"{self.state}jobs/{jid}.json"

    def stage_key(self, digest: str) -> str:
        return f"{self.state}stages/{digest}.json"

    def blob_key(self, sha256: str) -> str:
        return f"{self.state}blobs/{sha256}"

    def settled_key(self, sid: str) -> str:
        return f"{self.state}settled/{sid}"

    def dead_key(self, jid: str) -> str:
        return f"{self.state}dead/{jid}.json"

    def pending_key(self, name: str) -> str:
        return f"{self.pending}{name}.json"

    def delivered_key(self, name: str) -> str:
        return f"{self.delivered}{name}.json"

    @property
    def pending(self) -> str:
        return f"{self.state}callbacks/pending/"

    @property
    def delivered(self) -> str:
        return f"{self.state}callbacks/done/"

    def sweep_key(self) -> str:
        return f"{self.state}sweep.json"

    def plan_key(self, batch_sid: str) -> str:
        return f"{self.batches}{batch_sid}/plan.json"

    @property
    def batches(self) -> str:
        return f"{self.state}batches/"

    def member(self, batch: Source, recording: Source, options: Mapping[str, Any]) -> tuple[str, Member]:
        """The sid and the origin of an input that ``batch`` asks for under ``options``. Where it is sent to is no part
        of what it is.
        """
        shaping = {name: value for name, value in options.items() if name not in CALLBACK_OPTIONS}
        member = Member(source_key=recording.key, source_sid=recording.sid, batch_key=batch.key, batch_sid=batch.sid)
        return digest_of(batch.sid, recording.sid, shaping), member

    def stats_key(self, worker: str) -> str:
        return f"{self.state}stats/{worker}.json"
