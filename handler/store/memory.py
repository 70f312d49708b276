"""A store in memory: atomic, with a call log, fault hooks and a clock that tests own.

Takes a `Clock`, which is the *server's*; gives the `Store` protocol and a view of every request made. `client` hands
out further connections to the same objects, each with its own log and hook, so that several workers can share one
bucket. Knows nothing of disks or networks; nothing outlives the instance.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from handler.clock import Clock
from handler.errors import Changed, NotFound, Refused, StoreError
from handler.store.base import PAGE, Found, Info, Listing
from handler.store.files import receive
from handler.store.keys import encoded, one_condition

Verb = Literal["GET", "HEAD", "PUT", "LIST", "DELETE"]
Phase = Literal["before", "after"]


@dataclass(frozen=True, slots=True)
class Call:
    """One request: the `Store` method, the HTTP verb it would be billed as, and the key (a LIST's prefix)."""

    method: str
    verb: Verb
    key: str


Hook = Callable[[Call, Phase], None]
"""Called around each request. Raising `before` it is applied is a crash or a lost request; raising `after` it, a lost
response. A hook may also advance the clock, or act on the store through another `MemoryStore.client`. It runs outside
the lock.
"""


@dataclass(frozen=True, slots=True)
class _Object:
    body: bytes
    written: float
    metadata: Mapping[str, str]

    @property
    def etag(self) -> str:
        # As on S3, equal bytes have equal ETags: what would fall for A→B→A there must fall for it here.
        return hashlib.sha256(self.body).hexdigest()[:32]


@dataclass(slots=True)
class _Bucket:
    """What clients share."""

    clock: Clock
    vouch_sha256: bool
    objects: dict[str, _Object] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    keys: list[bytes] | None = None  # sorted; None when an object came or went since it was made

    def sorted_keys(self) -> list[bytes]:
        if self.keys is None:
            self.keys = sorted(key.encode() for key in self.objects)
        return self.keys


class MemoryStore:
    """See `handler.store.base.Store`. ``vouch_sha256``: whether `head` fills ``Info.sha256``, as S3 does for some
    uploads.
    """

    def __init__(
        self, clock: Clock, url: str = "memory://test", *, hook: Hook | None = None, vouch_sha256: bool = False
    ) -> None:
        self._bucket = _Bucket(clock, vouch_sha256)
        self._url = url
        self.hook = hook
        self.calls: list[Call] = []

    @property
    def url(self) -> str:
        return self._url

    @property
    def listing(self) -> Listing:
        """As dear as what its URL makes it out to be."""
        return "paid" if self.url.startswith("s3://") else "free"

    @property
    def clock(self) -> Clock:
        return self._bucket.clock

    def client(self, hook: Hook | None = None) -> MemoryStore:
        """Another connection to the same objects, with an empty call log and its own ``hook``."""
        other = MemoryStore(self.clock, self._url, hook=hook)
        other._bucket = self._bucket
        return other

    # ── the protocol ─────────────────────────────────────────────────────────────────────────────────────────────────

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[Info]:
        more = True
        while more:
            with self._request("list", "LIST", prefix), self._bucket.lock:
                page, more = self._page(prefix.encode(), start_after.encode())
            yield from page
            start_after = page[-1].key if page else ""

    def head(self, key: str) -> Info:
        with self._request("head", "HEAD", key), self._bucket.lock:
            found = self._find(key)
            vouched = hashlib.sha256(found.body).hexdigest() if self._bucket.vouch_sha256 else None
            return _info(key, found, self.clock.time(), dict(found.metadata), vouched)

    def get(self, key: str) -> Found:
        with self._request("get", "GET", key), self._bucket.lock:
            found, now = self._find(key), self.clock.time()
            return Found(found.body, found.etag, max(0.0, now - found.written), now)

    def put(self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        one_condition(if_absent, if_match)
        encoded(key)
        with self._request("put", "PUT", key), self._bucket.lock:
            present = self._bucket.objects.get(key)
            if if_absent and present is not None:
                raise Refused(f"{key} exists already")
            if if_match is not None and (present is None or present.etag != if_match):
                raise Refused(f"{key} is not the version that was asked for")
            return self._store(key, body, {}).etag

    def upload(self, key: str, path: Path) -> None:
        encoded(key)
        body = path.read_bytes()
        with self._request("upload", "PUT", key), self._bucket.lock:
            self._store(key, body, {})

    def download(self, info: Info, path: Path, *, check: Callable[[], None] = lambda: None) -> str:
        with self._request("download", "GET", info.key), self._bucket.lock:
            found = self._find(info.key)
            if found.etag != info.version:
                raise Changed(f"{info.key} was replaced meanwhile")
        return receive(path, [found.body], check)

    def delete(self, key: str) -> None:
        with self._request("delete", "DELETE", key), self._bucket.lock:
            if self._bucket.objects.pop(key, None) is not None:
                self._bucket.keys = None

    # ── what tests use: neither logged nor hooked ────────────────────────────────────────────────────────────────────

    def drop(self, key: str, body: bytes, metadata: Mapping[str, str] | None = None) -> Info:
        """Put an input as a user would, with its metadata (names in lower case, without ``x-amz-meta-``)."""
        encoded(key)
        with self._bucket.lock:
            return _info(key, self._store(key, body, dict(metadata or {})))

    def peek(self, key: str) -> bytes | None:
        """The body under ``key``, None if there is none."""
        with self._bucket.lock:
            found = self._bucket.objects.get(key)
        return None if found is None else found.body

    def keys(self, prefix: str = "") -> tuple[str, ...]:
        """All keys under ``prefix``, in the order of a listing."""
        with self._bucket.lock:
            return tuple(key.decode() for key in self._bucket.sorted_keys() if key.startswith(prefix.encode()))

    def counts(self) -> Counter[Verb]:
        """How many requests of each kind this client has made."""
        return Counter(call.verb for call in self.calls)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def _request(self, method: str, verb: Verb, key: str) -> Iterator[None]:
        """Log it and call the hook around it. A refusal is an answer, too, and can be lost like any other."""
        call = Call(method, verb, key)
        self.calls.append(call)  # atomic under the interpreter's lock
        self._interrupt(call, "before")
        try:
            yield
        except StoreError:
            self._interrupt(call, "after")
            raise
        self._interrupt(call, "after")

    def _interrupt(self, call: Call, phase: Phase) -> None:
        if self.hook is not None:
            self.hook(call, phase)

    def _find(self, key: str) -> _Object:
        found = self._bucket.objects.get(key)
        if found is None:
            raise NotFound(f"no object {key} in {self._url}")
        return found

    def _store(self, key: str, body: bytes, metadata: Mapping[str, str]) -> _Object:
        if key not in self._bucket.objects:
            self._bucket.keys = None
        written = _Object(bytes(body), self.clock.time(), metadata)
        self._bucket.objects[key] = written
        return written

    def _page(self, prefix: bytes, after: bytes) -> tuple[tuple[Info, ...], bool]:
        keys = self._bucket.sorted_keys()
        first = max(bisect_left(keys, prefix), bisect_right(keys, after))
        page = []
        for raw in keys[first : first + PAGE + 1]:
            if not raw.startswith(prefix):
                break
            key = raw.decode()
            page.append(_info(key, self._bucket.objects[key]))
        return tuple(page[:PAGE]), len(page) > PAGE


def _info(
    key: str,
    found: _Object,
    store_time: float = 0.0,
    metadata: Mapping[str, str] | None = None,
    sha256: str | None = None,
) -> Info:
    return Info(
        key, len(found.body), found.etag, int(found.written), store_time, {} if metadata is None else metadata, sha256
    )
