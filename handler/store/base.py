"""The store: the few promises of object storage that the protocol rests on.

Three implementations (`s3`, `folder`, `memory`) pass one contract suite, ``tests/handler/store/test_contract.py``.
Knows nothing of jobs, leases or layouts. Keys are what the bucket's user sees: no leading slash, any Unicode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

PAGE = 1000  # keys of a listing in one request, on S3

Listing = Literal["free", "own", "paid"]
"""What a listing of 1,000 keys costs: next to nothing (a folder), a request to a server that is somebody's own, or a
request that is on a bill, as on AWS.
"""


@dataclass(frozen=True, slots=True)
class Info:
    """One version of one object, as a listing or a HEAD shows it.

    ``version`` tells this version from any other one under the key (S3: the unquoted ETag; folder: size, mtime_ns,
    inode). It is *not* what conditional writes take: that is `Found.etag`. ``modified`` and ``store_time`` are epoch
    seconds on the *store's* clock; ``modified`` is whole seconds, because a HEAD gives no more. ``store_time`` is 0
    and ``metadata`` and ``sha256`` are empty in a listing. ``ready`` is False while a writer may still be at work
    (folder only), and ``ready_in`` the seconds until it is if nobody writes any more.
    """

    key: str
    size: int
    version: str
    modified: int
    store_time: float = 0.0
    metadata: Mapping[str, str] = field(default_factory=dict)
    sha256: str | None = None  # hex, of the whole object; only where the store vouches for it
    ready: bool = True
    ready_in: float = 0.0


@dataclass(frozen=True, slots=True)
class Found:
    """A small object read whole. ``age``: seconds since it was last written, by the store's own clock."""

    body: bytes
    etag: str
    age: float
    store_time: float


class Store(Protocol):
    """Every method may raise `Unavailable` (no answer after this method's own retries) and `AccessDenied`."""

    @property
    def url(self) -> str:
        """What a person would type to name this store; no credentials in it."""

    @property
    def listing(self) -> Listing:
        """How dear it is to look at what lies here: whoever looks again and again goes by it."""

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[Info]:
        """All objects under ``prefix`` with a key > ``start_after``, in the order of their keys' UTF-8 bytes.

        Not atomic: an object written or deleted meanwhile may or may not be seen; one that was there throughout is.
        One request for each 1,000 keys.
        """

    def head(self, key: str) -> Info:
        """The present version. Atomic. `NotFound`."""

    def get(self, key: str) -> Found:
        """The whole object in memory: for records and results, not for recordings. Atomic: never a torn body.
        `NotFound`.
        """

    def put(self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        """Write the whole object; readers see the old or the new one. Returns the new ETag.

        With ``if_absent`` or ``if_match`` (a `Found.etag` or an earlier return value) the condition is checked and the
        object written in one atomic step, by at most one of any number of racing writers; otherwise `Refused`. A
        conditional write is sent exactly once: after `Unavailable` it may or may not have been applied (see
        `handler.store.swap`). An unconditional one is retried.
        """

    def upload(self, key: str, path: Path) -> None:
        """Write a file's bytes, of any size, unconditionally; idempotent, so for objects named by their digest.
        Retried.
        """

    def download(self, info: Info, path: Path, *, check: Callable[[], None] = lambda: None) -> str:
        """Stream that version into ``path`` (replaced if it exists); returns the SHA-256 of the bytes, in hex.

        `Changed` if the key now holds another version, `NotFound` if none. A torn or corrupted transfer is retried,
        never returned. OSError (ENOSPC) of the local disk passes through. ``check`` is called before each piece is
        written; what it raises ends the download, passes through, and leaves no file.
        """

    def delete(self, key: str) -> None:
        """Remove the object if it is there. Idempotent; never conditional, because servers ignore conditions here."""


@runtime_checkable
class KeepsMetadata(Protocol):
    """A store whose objects carry metadata, so that a recording and its options are one write. A folder cannot."""

    def upload_described(
        self, key: str, path: Path, metadata: Mapping[str, str], sent: Callable[[int], None] | None = None
    ) -> None:
        """As `Store.upload`, with ``metadata``: ASCII, names in lower case without ``x-amz-meta-``, 2 KB in all.

        ``sent`` is told the bytes that went out, from any thread; a negative number when a part is sent again.
        """


@runtime_checkable
class GivesRanges(Store, Protocol):
    """A store that gives parts of an object, so that several can come at once and none twice. A folder need not."""

    def pieces(self, info: Info, first: int, last: int) -> Iterator[bytes]:
        """The bytes from ``first`` to before ``last``, 0 ≤ first < last ≤ size, of that version, in small pieces.

        `Changed`, `NotFound`; `Unavailable` also where it ends early: what came until then is right. A short answer
        may also just end.
        """
