"""Does this store keep its promises? Asked once, when a worker starts.

Takes a store; gives nothing if create-if-absent and compare-and-swap are honoured, `UnsafeStore` if one is ignored.
Where a store takes ETags only without quotes (radosgw), it is told so. Cannot show atomicity: that is read in a
server's documents.
"""

from __future__ import annotations

import contextlib
from typing import Protocol, runtime_checkable

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from handler.clock import Clock
from handler.errors import Refused, StoreError, Unavailable, UnsafeStore
from handler.store.base import Store

PREFIX = ".dropscribe/probe/"
ATTEMPTS = 3


@runtime_checkable
class QuotesEtags(Protocol):
    """A store that can send If-Match with or without the quotes that the standard asks for."""

    quote_etags: bool


def probe(store: Store, clock: Clock, *, prefix: str = PREFIX) -> None:
    """Four conditional PUTs (one more for a store that wants no quotes) and a DELETE, on a fresh key under ``prefix``.

    `UnsafeStore` names the condition that was ignored. `Unavailable` after three tries, `AccessDenied` as from any
    write.
    """
    retrying = Retrying(
        sleep=clock.sleep,
        wait=lambda state: state.attempt_number * (0.5 + clock.random()),
        stop=stop_after_attempt(ATTEMPTS),
        retry=retry_if_exception_type(Unavailable),
        reraise=True,
    )
    retrying(_probe, store, clock, prefix)


def _probe(store: Store, clock: Clock, prefix: str) -> None:
    key = prefix + clock.new_id()  # a fresh one for each try: an earlier try's write may still be on its way
    try:
        _conditions(store, key)
    except BaseException:
        with contextlib.suppress(StoreError):  # the first error is the one to tell
            store.delete(key)
        raise
    store.delete(key)


def _conditions(store: Store, key: str) -> None:
    first = _accepted(store, key, b"first", None)
    if first is None:
        raise UnsafeStore(f"{store.url} refuses create-if-absent (If-None-Match: *) on a key that does not exist")
    if _accepted(store, key, b"second", None):
        raise UnsafeStore(f"{store.url} ignores create-if-absent: If-None-Match: * overwrote an existing object")
    second = _accepted(store, key, b"third", first)
    if second is None and isinstance(store, QuotesEtags):
        store.quote_etags = not store.quote_etags
        second = _accepted(store, key, b"third", first)
    if second is None:
        raise UnsafeStore(f"{store.url} refuses compare-and-swap (If-Match) on the right ETag, quoted or not")
    if _accepted(store, key, b"fourth", first):
        raise UnsafeStore(f"{store.url} ignores compare-and-swap: If-Match with a stale ETag overwrote the object")


def _accepted(store: Store, key: str, body: bytes, etag: str | None) -> str | None:
    """The new ETag, None if the write was refused."""
    try:
        return store.put(key, body, if_absent=etag is None, if_match=etag)
    except Refused:
        return None
