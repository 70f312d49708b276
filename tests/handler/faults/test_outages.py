"""A store that is away for a while, wholly or in part: the worker says so, waits, and goes on where it was; nobody is
charged, and it does not knock on the door more often than its pace allows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from faults_rig import FaultRig, lines
from faulty_proxy import Call, Plan

pytestmark = pytest.mark.proof

BODIES = (b"one", b"two", b"one")
CALM = 50  # requests for BODIES without a fault, and without listings, on a slow machine
OUTAGE = 16  # requests that meet it
PER_LINE = 10  # requests between two times that a worker gives up: the SDK's tries, the swap's, the way there


def during(fault: str, count: int, where: Callable[[Call], bool]) -> Plan:
    """After the first five requests: ``fault`` for the next ``count`` ones that it can happen to, then never again."""
    left = [count]

    def plan(call: Call) -> str | None:
        if call.number <= 5 or left[0] == 0 or not where(call):
            return None
        left[0] -= 1
        return fault

    return plan


OUTAGES: dict[str, Callable[[Call], bool]] = {
    "everything": lambda call: True,
    "writes": lambda call: call.method == "PUT",
    "reads": lambda call: call.method in ("GET", "HEAD") and not call.listing,
    "results": lambda call: call.key.startswith("results/"),
    "listings": lambda call: call.listing,
    "records": lambda call: "/jobs/" in call.key,
}


CASES = [
    *((what, "InternalError") for what in OUTAGES),
    ("everything", "reset-before"),
    ("writes", "reset-before"),
    ("everything", "error-after"),
    ("results", "error-after"),
]


@pytest.mark.parametrize(("what", "fault"), CASES)
def test_an_outage(faulty: FaultRig, caplog: pytest.LogCaptureFixture, what: str, fault: str) -> None:
    """Whatever is away for a while, with whatever answer: jobs end right and uncharged once it is back; the log has a
    line for each time that the worker had to give something up, and no traceback.
    """
    caplog.set_level(logging.INFO, "handler")
    faulty.drop(*BODIES)
    faulty.drain(plan=during(fault, OUTAGE, OUTAGES[what]))
    faulty.check()
    faulty.check_work(again=1)  # an artifact that could not be kept is made again
    assert faulty.sent() <= CALM + OUTAGE + PER_LINE * len(lines(caplog.records))
    check_lines(caplog)


@pytest.mark.parametrize("what", ["writes", "records", "results", "listings"])
def test_denied_for_a_while(faulty: FaultRig, caplog: pytest.LogCaptureFixture, what: str) -> None:
    """Rights that are taken away and given back cost nobody an attempt; the log says which right is missing."""
    caplog.set_level(logging.INFO, "handler")
    faulty.drop(*BODIES)
    faulty.drain(plan=during("AccessDenied", 6, OUTAGES[what]))
    faulty.check()
    missing = "s3:ListBucket" if what == "listings" else "s3:PutObject"
    assert any("not allowed" in line and missing in line for line in lines(caplog.records))
    check_lines(caplog)


def check_lines(caplog: pytest.LogCaptureFixture) -> None:
    """Every line is one line, says what could not be done, and comes without a traceback."""
    assert all(record.exc_info is None for record in caplog.records)
    assert all("\n" not in line and len(line) < 600 for line in lines(caplog.records))
