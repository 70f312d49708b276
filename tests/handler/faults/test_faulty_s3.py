"""Every kind of fault that a network or an S3 server can show, many times over: the jobs end right, nothing is charged,
nothing is run twice, and requests stay bounded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from faults_rig import FaultRig, every, lines
from faulty_proxy import Call

BODIES = (b"one", b"two", b"one", b"three" * 10_000)
CALM = (
    60  # requests for BODIES without a fault, no listings: 2 for a settled look, 12 or 13 for a job, fewer for a copy
)
COST = 3  # requests that a fault adds, at most: what was asked, asked again; and a write is read back in between


def anything(call: Call) -> bool:
    return True


def puts(call: Call) -> bool:
    return call.method == "PUT"


def conditional_puts(call: Call) -> bool:
    return call.method == "PUT" and call.conditional


def gets(call: Call) -> bool:
    return call.method == "GET"


def object_gets(call: Call) -> bool:
    return call.method == "GET" and not call.listing


KINDS: dict[str, Callable[[Call], bool]] = {
    "InternalError": anything,
    "SlowDown": anything,
    "ConditionalRequestConflict": conditional_puts,
    "BadDigest": conditional_puts,
    "error-after": anything,
    "reset-before": anything,
    "reset-after": anything,
    "refused-after": conditional_puts,
    "torn": gets,
    "flip": gets,
    "trickle": gets,
    "skew-ahead": anything,
    "skew-behind": anything,
    "no-date": anything,
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_fault(faulty: FaultRig, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    """With one fault in three requests that it can happen to, jobs end as if there were none: each content is run once,
    no attempt is charged, no lease is lost, and each fault costs a bounded number of requests.
    """
    caplog.set_level(logging.INFO, "handler")
    faulty.drop(*BODIES)
    faulty.drain(plan=every(3, kind, KINDS[kind]))
    faulty.check()
    faulty.check_work()
    assert [record.takeovers for record in faulty.records()] == [0, 0, 0]
    faults = faulty.proxy.faults()
    assert len(faults) >= 3
    assert faulty.sent() <= CALM + COST * len(faults)
    assert lines(caplog.records) == []  # what a retry mends is nobody's business


def test_without_faults(faulty: FaultRig) -> None:
    """The bound of the test above is what the same jobs cost a calm network."""
    faulty.drop(*BODIES)
    faulty.drain()
    faulty.check()
    faulty.check_work()
    assert CALM - 10 <= faulty.sent() <= CALM
