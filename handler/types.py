"""The handler's data: what an input is, who waits for a job, and the job's record. Frozen, versioned, deterministic
JSON.

Knows nothing of stores: how a record is claimed and swapped is `handler.job`.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field

from pipeline.errors import ErrorDetail
from pipeline.types import Facts, Frozen, Warning

State = Literal["running", "waiting", "done", "dead", "cancelled"]
Status = Literal["queued", "processing", "completed", "failed", "cancelled"]
Outcome = Literal["completed", "failed", "cancelled"]


def canonical_json(value: Any) -> bytes:
    """Sorted keys, fixed separators, UTF-8: equal values give equal bytes. ValueError for NaN and infinities."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


class Source(Frozen):
    """One version of one input. ``key`` is relative to the input prefix; ``modified`` in whole epoch seconds."""

    sid: str
    key: str
    size: int
    version: str
    modified: int


class Content(Frozen):
    """The bytes themselves."""

    sha256: str
    size: int


class Member(Frozen):
    """Where an input comes from that a batch asks for under options of its own: which version of which recording, and
    which version of which batch. Keys are relative to the input prefix.
    """

    source_key: str
    source_sid: str
    batch_key: str
    batch_sid: str


class Subscriber(Frozen):
    """An input that waits for a job, with the options that shape only its own copy of the result.

    ``key`` says where its outputs lie; it is the recording's own, but for a batch's member with options.
    """

    sid: str
    key: str
    member: Member | None = None
    tag: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()  # forms of the result beside the JSON
    extra: dict[str, str] = {}
    warnings: tuple[Warning, ...] = ()
    callback: str | None = None  # may hold a password: for no log, no error, no manifest
    callback_method: Literal["POST", "PUT"] = "POST"
    queued_at: str


class Failure(Frozen):
    """One failed attempt."""

    attempt: int
    at: str
    worker: str
    error: ErrorDetail


class JobRecord(Frozen):
    """``jobs/<jid>.json``: the one mutable record. Written by compare-and-swap only, never deleted as a protocol step.

    ``token`` rises with every claim. ``lease_age`` is the part of the lease, in seconds, that was already used up when
    somebody other than the holder last wrote the record (a subscriber must not renew a dead worker's lease).
    ``not_before`` is epoch seconds on the store's clock. ``companions``: a `pipeline.companions.Companions`, what the
    job was planned with, without folders. ``stages`` maps kept stages to the digests of their recipes.
    """

    format: Literal[1] = 1
    jid: str
    content: Content
    options: dict[str, Any]
    model: dict[str, Any]
    companions: dict[str, Any] = {}
    state: State
    token: int
    worker: str
    lease_seconds: float
    lease_age: float = 0.0
    attempts: int = 0
    takeovers: int = 0
    not_before: float | None = None
    stage: str = "queued"
    percent: float = 0.0
    stages: dict[str, str] = {}
    degraded: dict[str, str] = {}
    subscribers: tuple[Subscriber, ...]
    failures: tuple[Failure, ...] = ()
    queued_at: str
    started_at: str
    committed_at: float | None = None  # epoch seconds, store's clock
    result: str | None = None  # digest under stages/ of the results part
    facts: Facts | None = None
    timings: dict[str, float] = {}  # seconds of each stage that was run for it
    error: ErrorDetail | None = None
    nonce: str = ""


class SettledMarker(Frozen):
    """``settled/<sid>``: this version of this input is done with."""

    format: Literal[1] = 1
    key: str
    sid: str
    outcome: Outcome
    jid: str | None = None
    job_id: str
    reason: str = ""
    settled_at: str
    nonce: str = ""


class Manifest(Frozen):
    """``progress/<key>.json``: the one object a person polls. Percent is 0…100 and never goes back within a token."""

    format: Literal[1] = 1
    job_id: str
    jid: str | None = None  # of the job's record; None while no worker has begun, and where there is no job
    source_id: str
    key: str
    status: Status
    stage: str
    percent: float = Field(ge=0, le=100)
    message: str
    eta_seconds: float | None = None
    attempt: int = 1
    token: int
    stages: dict[str, float] = {}
    cached_stages: tuple[str, ...] = ()
    partial: dict[str, Any] | None = None
    queued_at: str
    started_at: str | None = None
    updated_at: str
    finished_at: str | None = None
    timings: dict[str, float] = {}
    worker: str
    result: str | None = None
    outputs: dict[str, str] = {}  # a result's other forms: srt, vtt, txt, rttm → key
    error: ErrorDetail | None = None

    @property
    def terminal(self) -> bool:
        return self.status in _TERMINAL


_TERMINAL = ("completed", "failed", "cancelled")


class BatchCounts(Frozen):
    """A batch's members by how far they are; ``queued`` are all that are not settled. The four add up to ``total``."""

    total: int
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    queued: int = 0

    @property
    def settled(self) -> int:
        return self.total - self.queued


class BatchManifest(Frozen):
    """``progress/<batch key>.json``: one object to poll for all members. Fields that `Manifest` has mean the same.

    ``updated_at`` is the moment of the listings that the counts were made from. ``counts`` is None of a batch that
    failed as a whole.
    """

    format: Literal[1] = 1
    kind: Literal["batch"] = "batch"
    job_id: str
    source_id: str
    key: str
    status: Status
    stage: str
    percent: float = Field(ge=0, le=100)
    message: str
    eta_seconds: float | None = None
    counts: BatchCounts | None = None
    queued_at: str
    started_at: str | None = None
    updated_at: str
    finished_at: str | None = None
    worker: str
    result: str | None = None
    error: ErrorDetail | None = None

    @property
    def terminal(self) -> bool:
        return self.status in _TERMINAL


class BatchMember(Frozen):
    """How one member ended. ``options``: the line's own. ``result`` and ``error`` are keys relative to the bucket."""

    key: str
    options: dict[str, Any] | None = None
    status: Outcome
    job_id: str | None = None
    result: str | None = None
    error: str | None = None
    message: str = ""


class BatchResult(Frozen):
    """``results/<batch key>.json``: every member of a finished batch, in the order of their keys."""

    format: Literal[1] = 1
    kind: Literal["batch"] = "batch"
    job_id: str
    source_id: str
    key: str
    status: Literal["completed"] = "completed"
    counts: BatchCounts
    queued_at: str
    started_at: str
    finished_at: str
    members: tuple[BatchMember, ...]
