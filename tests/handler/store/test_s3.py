"""What only the S3 store can get wrong: lost and torn responses, server errors, checksums, metadata, headers."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from handler.clock import SystemClock, VirtualClock
from handler.errors import (
    Changed,
    Unavailable,
)
from handler.store.s3 import S3Store
from handler.store.s3_body import ATTEMPTS as BODY_ATTEMPTS
from handler.store.swap import Conflict, put_bytes, put_record


@pytest.mark.parametrize("fault", ["lose", "drop", 500, "SlowDown"])
def test_conditional_writes_are_sent_once(faulty_store: S3Store, proxy: Any, fault: Any) -> None:
    """A conditional write without an answer is `Unavailable` after one request: a retry could be told 412 of its own
    win.
    """
    proxy.faults[:] = [fault]
    with pytest.raises(Unavailable):
        faulty_store.put("a", b"x", if_absent=True)
    assert proxy.methods() == ["PUT"]


def test_unconditional_writes_are_retried(faulty_store: S3Store, proxy: Any) -> None:
    """An unconditional write outlives a lost response and a server that asks to slow down."""
    proxy.faults[:] = ["lose", "SlowDown"]
    faulty_store.put("a", b"x")
    assert proxy.methods() == ["PUT", "PUT", "PUT"]
    assert faulty_store.get("a").body == b"x"


@pytest.mark.parametrize("fault", ["lose", 500])
def test_lost_response_after_a_win(faulty_store: S3Store, proxy: Any, virtual_clock: VirtualClock, fault: Any) -> None:
    """A record whose write won although its response was lost ends as won, with no second write, created or swapped."""
    proxy.faults[:] = [fault]
    first = put_record(faulty_store, "jobs/1", {"state": "RUNNING"}, etag=None, clock=virtual_clock)
    proxy.faults[:] = [fault]
    second = put_record(faulty_store, "jobs/1", {"state": "DONE"}, etag=first.etag, clock=virtual_clock)
    assert proxy.methods() == ["PUT", "GET", "PUT", "GET"]
    found = faulty_store.get("jobs/1")
    assert (found.body, found.etag) == (second.body, second.etag)
    assert json.loads(found.body)["state"] == "DONE"


def test_lost_request(faulty_store: S3Store, proxy: Any, virtual_clock: VirtualClock) -> None:
    """A record whose write never arrived, twice, is written by the third try."""
    proxy.faults[:] = ["drop", None, "ConditionalRequestConflict", None]
    written = put_record(faulty_store, "jobs/1", {"state": "RUNNING"}, etag=None, clock=virtual_clock)
    assert proxy.methods() == ["PUT", "GET", "PUT", "GET", "PUT"]
    assert faulty_store.get("jobs/1").body == written.body


def test_lost_race_behind_a_lost_response(faulty_store: S3Store, proxy: Any, virtual_clock: VirtualClock) -> None:
    """A request that was lost while somebody else created the record is a conflict that shows theirs."""
    theirs = put_bytes(faulty_store, "jobs/1", b"theirs", etag=None, clock=virtual_clock)
    proxy.faults[:] = ["drop"]
    with pytest.raises(Conflict) as raised:
        put_record(faulty_store, "jobs/1", {"state": "RUNNING"}, etag=None, clock=virtual_clock)
    assert raised.value.found is not None
    assert (raised.value.found.body, raised.value.found.etag) == (b"theirs", theirs.etag)


def test_torn_records_are_read_again(faulty_store: S3Store, proxy: Any) -> None:
    """`get` never gives half a body or a damaged one."""
    body = bytes(range(256)) * 50
    faulty_store.put("a", body)
    proxy.faults[:] = ["tear", "flip", "drop"]
    assert faulty_store.get("a").body == body
    proxy.faults[:] = ["tear"] * 10
    with pytest.raises(Unavailable):
        faulty_store.get("a")


def test_torn_downloads_are_continued(faulty_store: S3Store, proxy: Any, tmp_path: Path) -> None:
    """A download that breaks off goes on where it ended, of the same version, and its digest is that of the whole."""
    body = os.urandom(5 << 20)
    faulty_store.put("a", body)
    info = faulty_store.head("a")
    proxy.seen.clear()
    proxy.faults[:] = ["tear", "tear", "drop"]
    assert faulty_store.download(info, tmp_path / "a") == hashlib.sha256(body).hexdigest()
    assert (tmp_path / "a").read_bytes() == body
    assert [headers["if-match"] for _, _, headers in proxy.seen] == [f'"{info.version}"'] * 4
    starts = [headers.get("range", "bytes=0-") for _, _, headers in proxy.seen]
    offsets = [int(start[6:-1]) for start in starts]
    assert offsets == sorted(offsets)
    assert offsets[0] == 0 < offsets[1] < offsets[2] == offsets[3] < len(body)


def test_servers_without_range(faulty_store: S3Store, proxy: Any, tmp_path: Path) -> None:
    """A server that answers a continuation with the whole object is read from the start: no byte is there twice."""
    body = os.urandom(3 << 20)
    faulty_store.put("a", body)
    info = faulty_store.head("a")
    proxy.seen.clear()
    proxy.faults[:] = ["tear", "whole"]
    assert faulty_store.download(info, tmp_path / "a") == hashlib.sha256(body).hexdigest()
    assert (tmp_path / "a").read_bytes() == body
    assert proxy.methods() == ["GET", "GET"]


def test_vouched_digests_are_checked(faulty_store: S3Store, proxy: Any, tmp_path: Path) -> None:
    """A download that is not what the store's own SHA-256 says is never returned."""
    faulty_store.put("a", b"recording")
    info = replace(faulty_store.head("a"), sha256=hashlib.sha256(b"another").hexdigest())
    with pytest.raises(Unavailable):
        faulty_store.download(info, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_damaged_downloads_begin_again(faulty_store: S3Store, proxy: Any, tmp_path: Path) -> None:
    """A download with a flipped bit is thrown away, not continued; one that always is, is never returned."""
    body = os.urandom(3 << 20)
    faulty_store.put("a", body)
    info = faulty_store.head("a")
    proxy.seen.clear()
    proxy.faults[:] = ["flip"]
    assert faulty_store.download(info, tmp_path / "a") == hashlib.sha256(body).hexdigest()
    assert [headers.get("range") for _, _, headers in proxy.seen] == [None, None]
    proxy.faults[:] = ["flip"] * 100
    with pytest.raises(Unavailable):
        faulty_store.download(info, tmp_path / "b")
    assert not (tmp_path / "b").exists()
    assert 100 - len(proxy.faults) == BODY_ATTEMPTS


def test_replaced_between_two_parts(faulty_store: S3Store, proxy: Any, tmp_path: Path) -> None:
    """An object that is replaced while its download is torn is `Changed`: two versions are never joined."""
    faulty_store.put("a", os.urandom(3 << 20))
    info = faulty_store.head("a")
    other = os.urandom(3 << 20)

    class Replacing(VirtualClock):
        def sleep(self, seconds: float) -> None:
            faulty_store.put("a", other)

    faulty_store._clock = Replacing()
    proxy.faults[:] = ["tear"]
    with pytest.raises(Changed):
        faulty_store.download(info, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_large_uploads_are_multipart(faulty_store: S3Store, proxy: Any, tmp_path: Path) -> None:
    """A file of several parts arrives whole although one part's response is lost."""
    body = os.urandom(17 << 20)
    (tmp_path / "source").write_bytes(body)
    proxy.faults[:] = [None, "lose"]
    faulty_store.upload("blobs/x", tmp_path / "source")
    info = faulty_store.head("blobs/x")
    assert info.version.endswith("-2")
    assert faulty_store.download(info, tmp_path / "copy") == hashlib.sha256(body).hexdigest()


def test_age_is_the_servers(faulty_store: S3Store, proxy: Any) -> None:
    """`age` is Date − Last-Modified of the same response, and `store_time` is Date, whatever this machine's clock
    says.
    """
    faulty_store.put("a", b"x")
    proxy.headers = lambda headers: {
        **headers,
        "date": "Fri, 21 Nov 2025 10:01:40 GMT",
        "last-modified": "Fri, 21 Nov 2025 10:00:00 GMT",
    }
    found = faulty_store.get("a")
    assert (found.age, found.store_time) == (100.0, 1_763_719_300.0)
    info = faulty_store.head("a")
    assert (info.modified, info.store_time) == (1_763_719_200, 1_763_719_300.0)
    proxy.headers = lambda headers: {**headers, "date": "Fri, 21 Nov 2025 10:01:40 GMT"}
    assert faulty_store.get("a").age == 0.0


def test_age_without_a_date(faulty_store: S3Store, proxy: Any, virtual_clock: VirtualClock) -> None:
    """Where a server sends no Date, an object is as old as this store has seen the same ETag; a rewrite is new."""
    proxy.headers = lambda headers: {name: value for name, value in headers.items() if name != "date"}
    faulty_store.put("a", b"x")
    assert faulty_store.get("a").age == 0.0
    virtual_clock.advance(90)
    found = faulty_store.get("a")
    assert (found.age, found.store_time) == (90.0, virtual_clock.time())
    faulty_store.put("a", b"y")
    assert faulty_store.get("a").age == 0.0


def test_vouched_checksum(s3_store: S3Store, s3_client: Any, s3_bucket: str, proxy: Any) -> None:
    """`head` gives a stored SHA-256 in hex where it is of the whole object."""
    body = b"recording"
    digest = hashlib.sha256(body)
    s3_client.put_object(
        Bucket=s3_bucket,
        Key="some/prefix/a",
        Body=body,
        ChecksumAlgorithm="SHA256",
    )
    s3_store.put("b", body)
    reply = s3_client.head_object(Bucket=s3_bucket, Key="some/prefix/a", ChecksumMode="ENABLED")
    assert reply["ChecksumSHA256"] == base64.b64encode(digest.digest()).decode()
    expected = digest.hexdigest() if reply.get("ChecksumType") == "FULL_OBJECT" else None
    assert s3_store.head("a").sha256 == expected
    assert s3_store.head("b").sha256 is None


@pytest.mark.parametrize(
    ("kind", "value", "whole"),
    [
        ("FULL_OBJECT", base64.b64encode(hashlib.sha256(b"x").digest()).decode(), hashlib.sha256(b"x").hexdigest()),
        ("COMPOSITE", base64.b64encode(hashlib.sha256(b"x").digest()).decode(), None),
        (None, base64.b64encode(hashlib.sha256(b"x").digest()).decode(), None),
        ("FULL_OBJECT", base64.b64encode(hashlib.sha256(b"x").digest()).decode() + "-2", None),
        ("FULL_OBJECT", "", None),
    ],
)
def test_which_checksums_are_trusted(
    faulty_store: S3Store, proxy: Any, kind: str | None, value: str, whole: str | None
) -> None:
    """A digest of parts' digests, or one of unknown kind, never passes for the content's."""
    faulty_store.put("a", b"x")
    extra = {"x-amz-checksum-sha256": value} | ({"x-amz-checksum-type": kind} if kind else {})
    proxy.headers = lambda headers: {**headers, **extra}
    assert faulty_store.head("a").sha256 == whole
    assert proxy.seen[-1][2]["x-amz-checksum-mode"] == "ENABLED"


def test_metadata(faulty_store: S3Store, proxy: Any) -> None:
    """User metadata comes with lower-case names, its values decoded from RFC 2047 words or from UTF-8 bytes."""
    faulty_store.put("a", b"x")
    proxy.headers = lambda headers: {
        **headers,
        "X-Amz-Meta-Dropscribe": "diarize=true&language=en",
        "x-amz-meta-tag": "=?UTF-8?B?" + base64.b64encode("Gespräch".encode()).decode() + "?=",
        "x-amz-meta-raw": "Gespräch".encode().decode("latin-1"),
        "x-amz-meta-odd": "a=?b",
    }
    assert dict(faulty_store.head("a").metadata) == {
        "dropscribe": "diarize=true&language=en",
        "tag": "Gespräch",
        "raw": "Gespräch",
        "odd": "a=?b",
    }


def test_prefixes_are_apart(s3_bucket: str, s3_client: Any) -> None:
    """A store sees only what lies under its prefix, under keys without it, and no marker of its own folder."""
    one, whole = (S3Store(s3_bucket, prefix, clock=SystemClock()) for prefix in ("/one/", ""))
    for key in ("one/", "one/a", "one/b/c", "onely/a", "two/a"):
        s3_client.put_object(Bucket=s3_bucket, Key=key, Body=b"")
    assert [info.key for info in one.list("")] == ["a", "b/c"]
    assert [info.key for info in one.list("", start_after="a")] == ["b/c"]
    assert [info.key for info in whole.list("")] == ["one/", "one/a", "one/b/c", "onely/a", "two/a"]
    assert (one.url, whole.url) == (f"s3://{s3_bucket}/one", f"s3://{s3_bucket}")
    one.close()
    whole.close()


def test_handler_stays_light() -> None:
    """Opening a folder loads no boto3; an idle S3 store leaves most of the 120 MB for its user."""
    script = """
import resource, sys, tempfile
from handler.clock import SystemClock
from handler.store.opening import open_store
import handler.store.s3, handler.store.probe, handler.store.swap, handler.store.memory
open_store(tempfile.gettempdir(), SystemClock())
assert not {"boto3", "botocore", "s3transfer"} & set(sys.modules)
open_store("s3://bucket", SystemClock())
assert "boto3" in sys.modules
import psutil
print(psutil.Process().memory_info().rss >> 20)
"""
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1"}
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=root, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 100
    print(done.stdout)


def test_uploads_with_metadata(s3_store: S3Store, tmp_path: Path) -> None:
    """A described upload is one whose metadata `head` gives back, and tells how many bytes have gone."""
    body = os.urandom(1 << 20)
    (tmp_path / "source").write_bytes(body)
    sent: list[int] = []
    s3_store.upload_described("in/a", tmp_path / "source", {"dropscribe": "diarize=true"}, sent.append)
    info = s3_store.head("in/a")
    assert (info.size, info.metadata) == (len(body), {"dropscribe": "diarize=true"})
    assert sum(sent) == len(body)
