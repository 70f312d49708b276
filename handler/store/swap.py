"""The one conditional-write helper: create-if-absent and compare-and-swap whose outcome is known.

Takes a store, a key, what to write and the ETag expected there; gives what was written, or says who was faster. A
store's own answer is not enough: after a lost response it says `Refused` of a write that won, or nothing at all. So
what is under the key is read back and compared before anything is concluded. Knows nothing of what the records mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from handler.clock import Clock
from handler.errors import NotFound, Refused, Unavailable
from handler.store.base import Found, Store
from handler.types import canonical_json

ATTEMPTS = 6
BASE_SECONDS = 0.1  # the first wait is at most this, each further one twice the last
CAP_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Written:
    """A conditional write that won: the bytes under the key, and the ETag for the next compare-and-swap."""

    etag: str
    body: bytes


class Conflict(Refused):
    """Somebody else's bytes are under the key, or (``found`` is None) the object that was to be replaced is gone."""

    def __init__(self, key: str, found: Found | None) -> None:
        super().__init__(f"{key} was {'deleted' if found is None else 'written by somebody else'} meanwhile")
        self.key = key
        self.found = found


def put_record(store: Store, key: str, fields: Mapping[str, Any], *, etag: str | None, clock: Clock) -> Written:
    """Write ``fields`` and a fresh ``nonce`` as JSON, in place of the version ``etag`` (None: only if nothing is
    there).

    A nonce in ``fields`` (of the record that was read) is replaced: without a new one, A→B→A would let a stale writer
    win.

    `Conflict` (a `Refused`) if the key holds anything else by now. That may be a successor of *this* write, when the
    response was lost and another writer was quick: the caller finds its own mark in ``found``, or not. `Unavailable`
    after the last retry: the write may or may not have been applied.
    """
    return _swap(store, key, canonical_json({**fields, "nonce": clock.new_id()}), etag, clock)


def put_bytes(store: Store, key: str, body: bytes, *, etag: str | None, clock: Clock) -> Written:
    """As `put_record`, for outputs that carry no nonce: equal bytes under the key count as having won."""
    return _swap(store, key, body, etag, clock)


def _swap(store: Store, key: str, body: bytes, etag: str | None, clock: Clock) -> Written:
    def wait(state: RetryCallState) -> float:
        return min(CAP_SECONDS, BASE_SECONDS * 2.0 ** (state.attempt_number - 1)) * clock.random()

    # The body, nonce included, stays the same: a request that was thought lost may still arrive between two attempts.
    retrying = Retrying(
        sleep=clock.sleep,
        wait=wait,
        stop=stop_after_attempt(ATTEMPTS),
        retry=retry_if_exception_type(Unavailable),
        reraise=True,
    )
    return retrying(_once, store, key, body, etag)


def _once(store: Store, key: str, body: bytes, etag: str | None) -> Written:
    try:
        return Written(store.put(key, body, if_absent=etag is None, if_match=etag), body)
    except (Refused, Unavailable) as error:
        found = _read(store, key)
        if found is not None and found.body == body:
            return Written(found.etag, body)
        if (None if found is None else found.etag) != etag:
            raise Conflict(key, found) from error
        if isinstance(error, Unavailable):
            raise
        # Refused although the condition holds: another writer was in flight (409) and did not make it.
        raise Unavailable(
            f"{store.url} refuses to write {key} although nobody else has",
            "Run `dropscribe doctor` on this bucket: the store may not understand its own ETags.",
        ) from error


def _read(store: Store, key: str) -> Found | None:
    try:
        return store.get(key)
    except NotFound:
        return None
