"""Many small requests, a few side by side, for as long as nobody says stop. Knows nothing of what is asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from handler.errors import HandlerError, NotFound
from handler.store.base import Info, Store

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_CHUNK = 1000  # items in flight at most: a million futures would be a gigabyte


class SweepStopped(HandlerError):
    """Somebody said stop. What went is gone, the rest is as it was."""

    retryable = True


class Hands:
    """``count``: requests side by side; with 1, no thread is started. ``stop``: looked at before each item."""

    def __init__(self, count: int, stop: threading.Event | None = None) -> None:
        self._count = count
        self._stop = stop or threading.Event()

    def map(self, act: Callable[[Item], Answer], items: Iterable[Item]) -> Iterator[Answer]:
        """The answers in the items' order. `SweepStopped`, and whatever ``act`` raises."""

        def unless_stopped(item: Item) -> Answer:
            if self._stop.is_set():
                raise SweepStopped("the sweep was told to stop")
            return act(item)

        if self._count == 1:
            yield from map(unless_stopped, items)
            return
        rest = iter(items)
        with ThreadPoolExecutor(self._count) as pool:
            while chunk := list(islice(rest, _CHUNK)):
                yield from pool.map(unless_stopped, chunk)


def delete_unchanged(store: Store, info: Info) -> bool:
    """Delete what a listing showed, if it still is that; True if it went.

    Its time is compared, too: equal bytes written again have the same ETag, and somebody counts on them being young. A
    write between the look and the delete is lost: S3 has no conditional DELETE that servers honour.
    """
    try:
        found = store.head(info.key)
    except NotFound:
        return False
    if (found.version, found.modified) != (info.version, info.modified):
        return False
    store.delete(info.key)
    return True


def store_now(store: Store, infos: Iterable[Info]) -> float:
    """The store's epoch seconds, from a HEAD of one of these objects; 0, at which nothing is old, if all are gone."""
    for info in infos:
        try:
            return store.head(info.key).store_time
        except NotFound:
            continue
    return 0.0
