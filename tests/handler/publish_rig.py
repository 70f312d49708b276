"""What tests of publishing share: jobs that have ended, their outputs, and claims that came later."""

from __future__ import annotations

from typing import Any

from protocol_rig import (
    JOB,
    claimed,
    commit,
    layout_of,
    trouble,
    worker,
)

from handler.clock import SystemClock, VirtualClock
from handler.ending import Ending
from handler.layout import job_id_of
from handler.progress import parse_manifest
from handler.publish import Publisher
from handler.store.base import Store
from handler.store.memory import MemoryStore
from handler.types import JobRecord, Manifest, SettledMarker, Subscriber, canonical_json

RESULTS = (
    b'{"channels":[{"alternatives":[{"transcript":"one two","confidence":0.5,"words":['
    b'{"word":"one","start":0.0,"end":0.5,"confidence":0.5},{"word":"two","start":0.5,"end":1.0,"confidence":0.5}]}]}]}'
)
RESULT, PROGRESS, ERROR = "results/a.wav.json", "progress/a.wav.json", "errors/a.wav.json"
TOKEN = 1_700_000_000


def publisher(store: Store) -> Publisher:
    return Publisher(store, layout_of(store), SystemClock() if not isinstance(store, MemoryStore) else store.clock)


def done(*waiting: Subscriber) -> JobRecord:
    """A committed job."""
    store = MemoryStore(VirtualClock())
    record = commit(claimed(worker(store, "one"), waiting[0]))
    return record.model_copy(update={"subscribers": waiting})


def dead(*waiting: Subscriber, retryable: bool = True) -> JobRecord:
    """A job that failed as often as it may."""
    store = MemoryStore(VirtualClock())
    record = claimed(worker(store, "one"), waiting[0]).fail(trouble(retryable=retryable))
    while record.state != "dead":
        store.clock.sleep(1000)
        record = claimed(worker(store, "one"), waiting[0]).fail(trouble())
    return record.model_copy(update={"subscribers": waiting})


def ending(subscriber: Subscriber, **fields: Any) -> Ending:
    base: dict[str, Any] = {"token": TOKEN, "store_time": TOKEN + 9.5, "worker": "one", "jid": JOB.jid, "attempts": 1}
    return Ending(subscriber=subscriber, **{**base, **fields})


def complete(store: Store, subscriber: Subscriber, results: bytes = RESULTS, **fields: Any) -> str:
    return publisher(store).completed(ending(subscriber, **fields), done(subscriber), results)


def fail(store: Store, subscriber: Subscriber, **fields: Any) -> str:
    record = dead(subscriber)
    return publisher(store).failed(ending(subscriber, attempts=3, **fields), trouble(), dead=record)


def marker(store: Store, subscriber: Subscriber) -> SettledMarker:
    return SettledMarker.model_validate_json(store.get(layout_of(store).settled_key(subscriber.sid)).body)


def manifest(store: Store) -> Manifest:
    found = parse_manifest(store.get(PROGRESS).body)
    assert found is not None
    return found


def outputs(store: Store) -> list[str]:
    """What a person sees; not what the worker keeps for itself."""
    return [info.key for prefix in ("errors/", "progress/", "results/") for info in store.list(prefix)]


def later_claim(store: MemoryStore, subscriber: Subscriber, **fields: Any) -> bytes:
    """The manifest of a claim that came after, of the same version of the input."""
    base: dict[str, Any] = {
        "job_id": job_id_of("other", subscriber.sid), "source_id": subscriber.sid, "key": subscriber.key,
        "status": "processing", "stage": "transcribing", "percent": 1.0, "message": "", "token": TOKEN + 1,
        "queued_at": "", "updated_at": "", "worker": "two",
    }  # fmt: skip
    body = canonical_json(Manifest(**{**base, **fields}).model_dump(mode="json"))
    store.drop(PROGRESS, body)
    return body
