"""Bits that flip on the way from a server without checksums: no record is believed that is not what the server has."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from faults_rig import FaultRig, every
from faulty_proxy import Call

from handler.answers import Busy, Identity
from handler.errors import Unavailable
from handler.job import Jobs
from handler.layout import Layout
from handler.lease import Lease
from handler.store.s3 import S3Store
from handler.store.s3_digest import Md5Etags
from handler.types import Content, Subscriber

pytestmark = pytest.mark.proof

JOB = Identity("a" * 64, Content(sha256="b" * 64, size=1), {"model": None}, {"name": "sphinx"})
BODY = b"the recording"
MD5 = hashlib.md5(BODY, usedforsecurity=False).hexdigest()


@pytest.fixture
def bare(faulty: FaultRig) -> FaultRig:
    """Behind a proxy that takes the server's checksums away."""
    faulty.proxy.strip = ("x-amz-checksum",)
    return faulty


def jobs_of(rig: FaultRig, store: S3Store, name: str) -> Jobs:
    return Jobs(store, Layout.of(store.url, rig.settings), store._clock, rig.settings, name)


def waiting(sid: str) -> Subscriber:
    return Subscriber(sid=sid * 64, key=f"{sid}.wav", queued_at="2026-11-21T06:36:35.000Z")


def object_reads(call: Call) -> bool:
    return call.method == "GET" and not call.listing


def test_jobs_end_right(bare: FaultRig) -> None:
    """With a flipped bit in every second body, recordings and records alike, the results are those of the recordings,
    each content is run once, and nothing is charged.
    """
    bare.drop(b"one", b"two", b"one", b"three" * 10_000)
    bare.drain(plan=every(2, "flip", object_reads))
    bare.check()
    bare.check_work()
    assert len(bare.proxy.faults()) >= 5


def test_reads_are_right_or_none(bare: FaultRig, tmp_path: Path) -> None:
    """Whatever bit flips: `get` and `download` give the object, or nothing; never another one."""
    store = bare.behind()
    store.put("a", BODY)
    info = store.head("a")
    bare.proxy.plan = every(2, "flip", object_reads)
    for _ in range(8):
        assert store.get("a").body == BODY
        assert store.download(info, tmp_path / "a") == hashlib.sha256(BODY).hexdigest()
        assert (tmp_path / "a").read_bytes() == BODY
    bare.proxy.plan = every(1, "flip", object_reads)
    with pytest.raises(Unavailable):
        store.get("a")
    with pytest.raises(Unavailable):
        store.download(info, tmp_path / "b")
    assert not (tmp_path / "b").exists()
    store.close()


def test_a_live_record_is_not_written_anew(bare: FaultRig) -> None:
    """A running job's record that arrives damaged is somebody's, not unreadable: its holder keeps the job and commits,
    and the other joins.
    """
    mine, theirs = bare.behind(), bare.behind()
    lease = jobs_of(bare, mine, "one").claim(JOB, waiting("c"), 1.0)
    assert isinstance(lease, Lease)
    for number in range(20):
        bare.proxy.plan = every(2, "flip", object_reads)
        answer = jobs_of(bare, theirs, "two").claim(JOB, waiting(f"{number % 6}"), 1.0)
        assert isinstance(answer, Busy)
        lease.beat()
    assert (lease.record.token, lease.record.attempts, len(lease.record.subscribers)) == (1, 0, 7)
    mine.close()
    theirs.close()


def test_a_record_is_read_twice_before_it_is_given_up(faulty: FaultRig) -> None:
    """Where nothing vouches for a body, neither a checksum nor an ETag that is an MD5, an unreadable record is read
    once more before it is written anew.
    """
    faulty.proxy.strip = ("x-amz-checksum",)
    mine, theirs = faulty.behind(), faulty.behind()
    theirs._etags._other = True  # as if this server's ETags were no MD5s
    lease = jobs_of(faulty, mine, "one").claim(JOB, waiting("c"), 1.0)
    assert isinstance(lease, Lease)
    # Every second read is of half a record, whole as far as HTTP can tell.
    faulty.proxy.plan = every(2, "cut", object_reads)
    for _ in range(4):
        assert isinstance(jobs_of(faulty, theirs, "two").claim(JOB, waiting("d"), 1.0), Busy)
    assert len(faulty.proxy.faults()) >= 2
    faulty.proxy.plan = lambda call: None
    assert lease.beat().token == 1
    mine.close()
    theirs.close()


def test_what_an_etag_is() -> None:
    """An ETag that is an MD5 is held against the body; one that may be something else is asked twice, and where the
    same bytes come again, believed no more; one of a multipart or an encrypted object is not asked at all.
    """
    etags = Md5Etags()
    assert etags.md5({"ETag": f'"{MD5}"'}) == MD5
    assert etags.md5({"ETag": f'"{MD5}"', "ServerSideEncryption": "AES256"}) == MD5
    assert etags.md5({"ETag": f'"{MD5}-2"'}) is None
    assert etags.md5({"ETag": f'"{MD5}"', "ServerSideEncryption": "aws:kms"}) is None
    assert etags.md5({"ETag": f'"{MD5}"', "SSECustomerAlgorithm": "AES256"}) is None
    assert not etags.fits(MD5, b"damaged", None)
    assert not etags.fits(MD5, b"otherwise", b"damaged")
    assert etags.md5({"ETag": MD5}) == MD5
    assert etags.fits("0" * 32, b"whole", b"whole")
    assert etags.md5({"ETag": MD5}) is None

    surely = Md5Etags()
    assert surely.fits(MD5, BODY, None)
    assert surely.fits("0" * 32, b"whole", b"whole")  # this one object is something else
    assert surely.md5({"ETag": MD5}) == MD5
