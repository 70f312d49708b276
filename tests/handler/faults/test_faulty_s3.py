"""Every kind of fault that a network or an S3 server can show, many times over: the jobs end right, nothing is charged,
nothing is run twice, and requests stay bounded: each fault costs so many more, and no more.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable

import pytest
from faults_rig import FaultRig, every, lines
from faulty_proxy import Call

pytestmark = pytest.mark.proof

BODIES = (b"one", b"two", b"one", b"three" * 10_000)
LEAST = 56  # requests for BODIES without a fault, without listings: 15 for a job, 10 for a copy, and the statistics
CALM = LEAST + 2 * len(BODIES)  # a slow machine looks once more at an input before its turn, and after a long job
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
    "cut": object_gets,
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
    assert LEAST <= faulty.sent() <= CALM


HUNG: dict[str, Callable[[Call], bool]] = {
    "a listing": lambda call: call.listing,
    "a look": lambda call: call.method == "HEAD",
    "a recording": lambda call: object_gets(call) and call.key.startswith("input/"),
    "a claim": lambda call: conditional_puts(call) and "/jobs/" in call.key,
    "an artifact": lambda call: puts(call) and "/stages/" in call.key,
    "a result": lambda call: puts(call) and call.key.startswith("results/"),
    "a settled marker": lambda call: puts(call) and "/settled/" in call.key,
}


@pytest.mark.parametrize("what", HUNG)
def test_a_server_that_hangs(faulty: FaultRig, what: str) -> None:
    """A request that is never answered, a write that was applied among them, ends with the client's time-out, and the
    job as if it had been: nothing is run twice, and what was not answered is asked for again, once.
    """
    faulty.drop(*BODIES)
    hung = False

    def plan(call: Call) -> str | None:
        nonlocal hung
        if hung or not HUNG[what](call):
            return None
        hung = True
        return "hang"

    faulty.drain(plan=plan)
    faulty.check()
    faulty.check_work()
    assert len(faulty.proxy.faults()) == 1
    assert faulty.sent() <= CALM + COST


def test_tries_are_apart(faulty: FaultRig) -> None:
    """Between two tries at a conditional write lies a pause, no two alike: workers that met each other part."""
    faulty.drop(*BODIES)
    faulty.drain(plan=every(2, "ConditionalRequestConflict", conditional_puts))
    faulty.check()
    [clock] = faulty.clocks
    assert len(clock.waits) >= len(faulty.proxy.faults()) >= 10
    assert len(set(clock.waits)) == len(clock.waits)
    assert sum(clock.waits) > 0


def test_a_server_that_is_down_is_left_alone(faulty: FaultRig) -> None:
    """As long as a scan fails, the pause until the next one grows: no storm on a server that is in trouble."""
    faulty.tries = 1
    faulty.drop(*BODIES)
    failing = 6

    def plan(call: Call) -> str | None:
        return "InternalError" if call.number <= failing else None

    faulty.drain(plan=plan)
    faulty.check()
    assert [call.listing for call in faulty.proxy.seen[:failing]] == [True] * failing
    [clock] = faulty.clocks
    pauses = clock.pauses[:failing]
    assert pauses[0] > 2
    assert all(later > 1.3 * earlier for earlier, later in itertools.pairwise(pauses[:4]))
    assert max(pauses) <= 15
