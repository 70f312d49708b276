"""Servers, and proxies before them, whose Date is wrong: a lease may be taken over too early, which costs a run and
nothing else; never is it held for ever.
"""

from __future__ import annotations

import time

import pytest
from faults_rig import FaultRig, every
from faulty_proxy import Call

from handler.answers import Identity, Later
from handler.job import Jobs
from handler.layout import Layout
from handler.lease import Lease
from handler.types import Content, Subscriber

pytestmark = pytest.mark.proof

JOB = Identity("a" * 64, Content(sha256="b" * 64, size=1), {"model": None}, {"name": "sphinx"})
BODIES = (b"one", b"two", b"three", b"one", b"two")


def test_two_workers_and_a_date_that_jumps(faulty: FaultRig) -> None:
    """Records that seem an hour old for a while: live leases are taken over, whoever lost one publishes nothing, and
    the results are right, with nothing charged and nothing run but what was taken over.
    """
    faulty.drop(*BODIES)
    wrong = iter(range(6))

    def plan(call: Call) -> str | None:
        return "skew-ahead" if call.method == "GET" and "/jobs/" in call.key and next(wrong, None) is not None else None

    faulty.drain(plan=plan, workers=2, between=lambda stage: time.sleep(0.2))
    faulty.check()
    takeovers = sum(record.takeovers for record in faulty.records())
    assert 1 <= takeovers <= 6
    faulty.check_work(again=takeovers)


def test_a_date_that_lags(faulty: FaultRig) -> None:
    """Where every Date is an hour behind, no age can be reckoned from it; a dead worker's job is taken over all the
    same, once its record was seen to stay as it is for as long as the lease.
    """
    faulty.drop(b"one")
    faulty.drain(plan=every(1, "skew-behind"), between=faulty.die_once)
    faulty.drain(plan=every(1, "skew-behind"))
    faulty.check()
    assert [record.takeovers for record in faulty.records()] == [1]


def test_a_wait_that_was_reckoned_from_a_wrong_date(faulty: FaultRig) -> None:
    """A job that was told to wait by a Date of an hour ahead waits for as long as it was to, not for an hour."""
    waiting = Subscriber(sid="c" * 64, key="c.wav", queued_at="2026-11-21T06:36:35.000Z")
    store = faulty.behind()
    now = store.head(_some_key(faulty)).store_time
    layout = Layout.of(store.url, faulty.settings)
    jobs = Jobs(store, layout, store._clock, faulty.settings, "one")
    lease = jobs.claim(JOB, waiting, now + 3600)
    assert isinstance(lease, Lease)
    lease.release(faulty.settings.backoff_seconds)
    answer = Jobs(store, layout, store._clock, faulty.settings, "two").claim(JOB, waiting, now)
    assert isinstance(answer, Later)
    assert answer.seconds < 5
    store.close()


def _some_key(faulty: FaultRig) -> str:
    faulty.drop(b"anything")
    return "input/0.wav"
