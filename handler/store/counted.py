"""A store whose requests are counted: takes another store, and whom to tell of each request and of its answer.

A listing counts once for each 1,000 keys, an upload or a download once, however many parts it takes. Knows nothing of
metrics.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from handler.errors import AccessDenied, Changed, NotFound, Refused, StoreError, Unavailable
from handler.store.base import PAGE, Found, Info, Listing, Store

Tell = Callable[[str, str], None]
"""Of a verb (get, head, list, put, delete) and an answer (ok, not_found, refused, denied, unavailable, error)."""


class CountedStore:
    """See `handler.store.base.Store`; everything is passed on to ``store``, errors included."""

    def __init__(self, store: Store, tell: Tell) -> None:
        self._store = store
        self._tell = tell

    @property
    def url(self) -> str:
        return self._store.url

    @property
    def listing(self) -> Listing:
        return self._store.listing

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[Info]:
        with self._counted("list"):
            for place, info in enumerate(self._store.list(prefix, start_after=start_after)):
                if place and place % PAGE == 0:
                    self._tell("list", "ok")
                yield info

    def head(self, key: str) -> Info:
        with self._counted("head"):
            return self._store.head(key)

    def get(self, key: str) -> Found:
        with self._counted("get"):
            return self._store.get(key)

    def put(self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        with self._counted("put"):
            return self._store.put(key, body, if_absent=if_absent, if_match=if_match)

    def upload(self, key: str, path: Path) -> None:
        with self._counted("put"):
            self._store.upload(key, path)

    def download(self, info: Info, path: Path, *, check: Callable[[], None] = lambda: None) -> str:
        with self._counted("get"):
            return self._store.download(info, path, check=check)

    def delete(self, key: str) -> None:
        with self._counted("delete"):
            self._store.delete(key)

    @contextlib.contextmanager
    def _counted(self, verb: str) -> Iterator[None]:
        try:
            yield
        except StoreError as error:
            self._tell(verb, _answer(error))
            raise
        except GeneratorExit:  # whoever listed had seen enough
            self._tell(verb, "ok")
            raise
        except Exception:  # the disk is full; whoever waited for a download wants it no more
            self._tell(verb, "error")
            raise
        self._tell(verb, "ok")


def _answer(error: StoreError) -> str:
    match error:
        case NotFound():
            return "not_found"
        case Refused() | Changed():
            return "refused"
        case AccessDenied():
            return "denied"
        case Unavailable():
            return "unavailable"
    return "error"
