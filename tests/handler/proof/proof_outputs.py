"""The ledger's part for what people read: results, manifests, settled markers; and the messages that are acknowledged.

Each function says what is wrong with one write, in words; none when it keeps every promise. Reads the ledger's books,
writes none but the set of what was settled.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from handler.layout import is_batch, job_id_of

if TYPE_CHECKING:
    from proof_ledger import Ledger

Peek = Callable[[str], bytes | None]
TERMINAL = ("completed", "failed", "cancelled")


def result_parts(body: bytes) -> tuple[dict[str, Any], bytes]:
    """A result's metadata, and the bytes of its part ``results``."""
    head, _, rest = body.partition(b'"results":')
    metadata: dict[str, Any] = json.loads(head.rstrip(b",") + b"}")["metadata"]
    return metadata, rest.rstrip()[:-1]


def result(ledger: Ledger, key: str, old: bytes | None, body: bytes) -> Iterator[str]:
    """``results/…``: of a committed job, as its artifact is stored; and never an older one in a newer one's place."""
    if is_batch(key.removesuffix(".json")):
        yield from _batch_result(ledger, key, old, body)
        return
    metadata, part = result_parts(body)
    known = job_of(ledger, metadata["request_id"])
    if known is None:
        yield f"published {key} for a job that there is not"
        return
    jid, sid = known
    if not ledger.commits[jid]:
        yield f"published {key} before anything was committed"
        return
    kept = [ledger.artifacts[ledger.layout.stage_key(commit.result)] for commit in ledger.commits[jid]]
    if not any(part in bodies for bodies in kept):
        yield f"published {key} with another results part than the stored artifact"
    if old is None:
        return
    before, _ = result_parts(old)
    earlier = job_of(ledger, before["request_id"])
    if earlier is None:
        return
    if (earlier, before["created"]) == (known, metadata["created"]) and old != body:
        yield f"published {key} again, of the same commit, and not the same"
    was, now = ledger.versions.number(earlier[1]), ledger.versions.number(sid)
    if now < was or (now == was and metadata["created"] < before["created"]):
        yield f"replaced {key} by an older result"


def _batch_result(ledger: Ledger, key: str, old: bytes | None, body: bytes) -> Iterator[str]:
    sid = json.loads(body)["source_id"]
    if sid not in ledger.versions.of:
        yield f"published {key} for a batch that there is not"
    if old is None:
        return
    before = json.loads(old)["source_id"]
    if before == sid:
        yield f"replaced {key}, which was this batch's result"
    elif ledger.versions.number(sid) < ledger.versions.number(before):
        yield f"replaced {key} by an older batch's"


def job_of(ledger: Ledger, job_id: str) -> tuple[str, str] | None:
    """(jid, sid). A finished job's result is published for inputs that never subscribed to it, too."""
    known = ledger.jobs_of.get(job_id)
    if known is not None:
        return known
    for jid in ledger.commits:
        for sid in ledger.versions.of:
            if job_id_of(jid, sid) == job_id:
                ledger.jobs_of[job_id] = (jid, sid)
                return jid, sid
    return None


def manifest(ledger: Ledger, key: str, old: bytes, body: bytes) -> Iterator[str]:
    """``progress/…``: a lower token, an older version and a lesser percent never replace what is there."""
    new, before = json.loads(body), json.loads(old)
    if ledger.versions.number(new["source_id"]) < ledger.versions.number(before["source_id"]):
        yield f"replaced the manifest {key} by one of an older version"
    same_job = before["job_id"] == new["job_id"]
    if new.get("kind") == "batch":
        if same_job and before["status"] in TERMINAL:
            yield f"replaced the last manifest {key} of its batch"
        return
    token, was = new["token"], before["token"]
    over_a_cancel = before["status"] == "cancelled" and new["status"] in ("completed", "failed")
    if same_job and (token < was or (token == was and before["status"] in TERMINAL and not over_a_cancel)):
        yield f"replaced the manifest {key} by an older one of the same job"
    back = token == was and new["percent"] < before["percent"]
    if same_job and back and new["status"] not in ("failed", "cancelled"):
        yield f"let the percent of {key} go back"


def settled(ledger: Ledger, body: bytes, peek: Peek) -> Iterator[str]:
    """``settled/…``: written last, so that what it tells of is there."""
    marker, versions = json.loads(body), ledger.versions
    key, sid = marker["key"], marker["sid"]
    ledger.settled.add(sid)
    if not versions.is_current(sid):
        return  # deleted or replaced: whatever is told, nobody waits for it
    if marker["outcome"] == "completed":
        there = peek(ledger.layout.result_key(key))
        if there is None or _id_of_result(key, there) != marker["job_id"]:
            yield f"settled {key} before its result was there"
    elif marker["outcome"] == "failed":
        if peek(ledger.layout.error_key(key)) is None:
            yield f"settled {key} before its error was there"
    elif versions.wanted(sid):
        yield f"settled {key} as cancelled, which is there and wanted"


def _id_of_result(key: str, body: bytes) -> object:
    return json.loads(body)["job_id"] if is_batch(key) else result_parts(body)[0]["request_id"]


def acknowledged(ledger: Ledger, key: str, sid: str) -> Iterator[str]:
    """A message was taken off the queue that was sent when ``key`` held the version ``sid``."""
    if ledger.versions.current.get(key) == sid and sid not in ledger.settled:
        yield f"acknowledged the message of {key} before it was settled"
