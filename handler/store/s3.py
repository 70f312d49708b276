"""Any S3-compatible server as a store, through boto3.

Takes a bucket, a prefix and a clock; everything else (endpoint, region, credentials) comes from AWS's own variables
and files. Gives the `Store` protocol. Two clients: one that retries, and one for conditional writes that never does,
because a retry of a write that won is answered 412. boto3 is imported when the first client is made. Knows nothing of
records or nonces.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import email.errors
import email.header
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from handler.aws import boto_session, refuse_password
from handler.clock import Clock
from handler.errors import BadKey, Changed, NotFound, Refused, Unavailable
from handler.store import s3_body
from handler.store.base import Found, Info, Listing
from handler.store.keys import encoded, one_condition
from handler.store.s3_digest import Md5Etags
from handler.store.s3_errors import Request, misconfigured, translated

CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
ATTEMPTS = 4  # of the retrying client, the first one included
PART = 16 << 20  # bytes of one part of a multipart upload
_REMEMBERED = 4096
_NONE: Mapping[str, str] = {}

# Who has listings on a bill, dollars for a million of them: AWS 5, Google 5, Cloudflare 4.5, Backblaze 4.
_AWS = ("amazonaws.com", "amazonaws.com.cn", "api.aws")
_BILL = (*_AWS, "googleapis.com", "r2.cloudflarestorage.com", "backblazeb2.com")

ClientFactory = Callable[[int], Any]
"""Makes a boto3 S3 client that makes at most so many attempts at a request."""


def boto_clients() -> ClientFactory:
    """The factory used outside tests: one session, so that both clients share its credentials and its models."""
    try:
        from botocore.config import Config

        session = boto_session()
    except Exception as error:
        raise misconfigured(error) from error

    def make(attempts: int) -> Any:
        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": attempts},
            max_pool_connections=16,
            tcp_keepalive=True,
        )
        try:
            client = session.client("s3", config=config)
            refuse_password(client.meta.endpoint_url, "the endpoint")  # it may come from ~/.aws/config
            return client
        except Exception as error:
            raise misconfigured(error) from error

    return make


def bills_requests(endpoint: str) -> bool:
    """Whether the service behind this URL is known to take money for every listing."""
    host = urlsplit(endpoint).hostname or ""
    return any(host == one or host.endswith(f".{one}") for one in _BILL)


class S3Store:
    """See `handler.store.base.Store`. ``prefix`` is put before every key, with a ``/`` between if it has none at its
    end.

    ``quote_etags``: whether If-Match carries the quotes that the standard asks for; `handler.store.probe` finds out.
    """

    def __init__(
        self, bucket: str, prefix: str = "", *, clock: Clock, client_factory: ClientFactory | None = None
    ) -> None:
        self._bucket = bucket
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self._clock = clock
        self.quote_etags = True
        make = client_factory or boto_clients()
        self._client = make(ATTEMPTS)
        self._once = make(1)
        self._etags = Md5Etags()
        self._seen: OrderedDict[str, tuple[str, float]] = OrderedDict()  # key → ETag, monotonic time first seen
        self._seen_lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    @property
    def listing(self) -> Listing:
        return "paid" if bills_requests(self._client.meta.endpoint_url) else "own"

    def close(self) -> None:
        """Close the connections. Idempotent."""
        self._client.close()
        self._once.close()

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[Info]:
        asked: dict[str, Any] = {"Prefix": self._prefix + prefix}
        if start_after:
            asked["StartAfter"] = self._prefix + start_after
        while True:
            with self._errors("s3:ListBucket", prefix):
                page = self._client.list_objects_v2(Bucket=self._bucket, **asked)
            for entry in page.get("Contents", ()):
                key = entry["Key"][len(self._prefix) :]
                if key:  # a folder marker for our own prefix is not in the store
                    yield Info(key, entry["Size"], _bare(entry["ETag"]), int(entry["LastModified"].timestamp()))
            if not page.get("IsTruncated"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]

    def head(self, key: str) -> Info:
        with self._errors("s3:GetObject", key):
            reply = self._client.head_object(**self._readable(key), ChecksumMode="ENABLED")
        return Info(
            key=key,
            size=reply["ContentLength"],
            version=_bare(reply["ETag"]),
            modified=int(reply["LastModified"].timestamp()),
            store_time=self._store_time(reply),
            metadata=_metadata(reply.get("Metadata", {})),
            sha256=_sha256(reply),
        )

    def get(self, key: str) -> Found:
        doubted: bytes | None = None
        for attempt in range(ATTEMPTS):
            s3_body.pause(self._clock, attempt)
            with self._errors("s3:GetObject", key):
                reply = self._client.get_object(**self._readable(key))
            try:
                body = b"".join(s3_body.chunks(reply["Body"]))
            except s3_body.Torn as error:
                torn = error
                continue
            etag, now = _bare(reply["ETag"]), self._store_time(reply)
            md5 = self._etags.md5(reply)
            if md5 is not None and not self._etags.fits(md5, body, doubted):
                doubted, torn = body, s3_body.Torn("its MD5 is not its ETag")
                continue
            return Found(body, etag, self._age(key, etag, reply, now), now)
        raise Unavailable(f"{self.url}/{key} does not arrive whole in {ATTEMPTS} requests: {torn}") from torn

    def download(self, info: Info, path: Path, *, check: Callable[[], None] = lambda: None) -> str:
        def ask(offset: int) -> s3_body.Answer:
            condition = {"IfMatch": f'"{info.version}"'}
            if offset:
                condition["Range"] = f"bytes={offset}-"
            try:
                with self._errors("s3:GetObject", info.key):
                    reply = self._client.get_object(**self._readable(info.key), **condition)
            except Refused as error:
                raise Changed(f"{self.url}/{info.key} was replaced meanwhile") from error
            if _bare(reply["ETag"]) != info.version:  # a server that ignores If-Match
                reply["Body"].close()
                raise Changed(f"{self.url}/{info.key} was replaced meanwhile")
            partial = reply["ResponseMetadata"]["HTTPStatusCode"] == 206
            return s3_body.Answer(offset if partial else 0, reply["Body"], self._etags.md5(reply))

        return s3_body.download(ask, info, path, self._clock, self._etags, check)

    def pieces(self, info: Info, first: int, last: int) -> Iterator[bytes]:
        """See `handler.store.base.GivesRanges`."""
        wanted = {"IfMatch": f'"{info.version}"', "Range": f"bytes={first}-{last - 1}"}
        try:
            with self._errors("s3:GetObject", info.key):
                reply = self._client.get_object(**self._readable(info.key), **wanted)
        except Refused as error:
            raise Changed(f"{self.url}/{info.key} was replaced meanwhile") from error
        if _bare(reply["ETag"]) != info.version:  # a server that ignores If-Match
            reply["Body"].close()
            raise Changed(f"{self.url}/{info.key} was replaced meanwhile")
        at = first if reply["ResponseMetadata"]["HTTPStatusCode"] == 206 else 0  # a server may not know Range
        try:
            with contextlib.closing(s3_body.chunks(reply["Body"])) as chunks:
                for chunk in chunks:
                    if piece := chunk[max(0, first - at) : max(0, last - at)]:
                        yield piece
                    at += len(chunk)
                    if at >= last:
                        return
        except s3_body.Torn as error:
            raise Unavailable(f"{self.url}/{info.key} arrived in part: {error}") from error

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def put(self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        one_condition(if_absent, if_match)
        encoded(key, prefix=self._prefix)
        condition: dict[str, str] = {}
        if if_absent:
            condition["IfNoneMatch"] = "*"
        if if_match is not None:
            condition["IfMatch"] = f'"{if_match}"' if self.quote_etags else if_match
        client = self._once if condition else self._client
        with self._errors("s3:PutObject", key, condition):
            return _bare(client.put_object(**self._named(key), Body=body, **condition)["ETag"])

    def upload(self, key: str, path: Path) -> None:
        self.upload_described(key, path, {})

    def upload_described(
        self, key: str, path: Path, metadata: Mapping[str, str], sent: Callable[[int], None] | None = None
    ) -> None:
        """See `handler.store.base.KeepsMetadata`."""
        from s3transfer.manager import TransferConfig, TransferManager
        from s3transfer.subscribers import BaseSubscriber

        class Told(BaseSubscriber):  # type: ignore[misc]
            def on_progress(self, future: Any, bytes_transferred: int, **kwargs: Any) -> None:
                if sent is not None:
                    sent(bytes_transferred)

        encoded(key, prefix=self._prefix)
        config = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_request_concurrency=4)
        extra = {"Metadata": dict(metadata)} if metadata else None
        with self._errors("s3:PutObject", key), TransferManager(self._client, config) as manager:
            manager.upload(str(path), self._bucket, self._prefix + key, extra_args=extra, subscribers=[Told()]).result()

    def delete(self, key: str) -> None:
        with self._errors("s3:DeleteObject", key), contextlib.suppress(NotFound):
            self._client.delete_object(**self._readable(key))

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _named(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + key}

    def _readable(self, key: str) -> dict[str, str]:
        try:
            encoded(key, prefix=self._prefix)
        except BadKey as error:
            raise NotFound(f"no object {key!r} in {self.url}: {error}") from error
        return self._named(key)

    @contextlib.contextmanager
    def _errors(self, action: str, key: str, condition: Mapping[str, str] = _NONE) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            ours = translated(
                error, Request(action, self._bucket, self._prefix + key, bool(condition), "IfMatch" in condition)
            )
            if ours is error:
                raise
            raise ours from error

    def _store_time(self, reply: Mapping[str, Any]) -> float:
        """The server's clock, in whole seconds; this machine's where the server does not say."""
        date = _date(reply)
        return self._clock.time() if date is None else date

    def _age(self, key: str, etag: str, reply: Mapping[str, Any], now: float) -> float:
        """By one response's Date and Last-Modified. Without a Date, or with one that lags behind: how long this object
        has seen the same ETag, which no age can be less than.
        """
        dated = now - float(reply["LastModified"].timestamp()) if _date(reply) is not None else 0.0
        seen_at = self._clock.monotonic()
        with self._seen_lock:
            known, since = self._seen.pop(key, ("", seen_at))
            if known != etag:
                since = seen_at
            self._seen[key] = (etag, since)
            if len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
        return max(dated, seen_at - since)


def _bare(etag: str) -> str:
    return etag.strip('"')


def _date(reply: Mapping[str, Any]) -> float | None:
    try:
        return parsedate_to_datetime(reply["ResponseMetadata"]["HTTPHeaders"]["date"]).timestamp()
    except (KeyError, ValueError):
        return None


def _sha256(reply: Mapping[str, Any]) -> str | None:
    """Hex, only if the checksum is of the whole object: a multipart upload's may be a digest of its parts' digests."""
    value = reply.get("ChecksumSHA256")
    if reply.get("ChecksumType") != "FULL_OBJECT" or not value:
        return None
    try:
        raw = base64.b64decode(value, validate=True)
    except binascii.Error:
        return None
    return raw.hex() if len(raw) == hashlib.sha256().digest_size else None


def _metadata(raw: Mapping[str, str]) -> dict[str, str]:
    """User metadata by lower-case name. S3 sends what is not ASCII as RFC 2047 words, other servers as UTF-8 bytes."""
    return {name.lower(): _decoded(value) for name, value in raw.items()}


def _decoded(value: str) -> str:
    if "=?" in value:
        try:
            return str(email.header.make_header(email.header.decode_header(value)))
        except (email.errors.HeaderParseError, LookupError, UnicodeError):
            return value
    try:
        return value.encode("latin-1").decode()  # http.client reads header bytes as Latin-1
    except UnicodeError:
        return value
