"""Two workers, twenty-four inputs, two hundred faults of all kinds where a seed puts them. The seed is printed;
DROPSCRIBE_FAULTS_SEED replays the plan (which worker meets which fault is the machine's).
"""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Callable

import pytest
from faults_rig import FaultRig
from faulty_proxy import Call, Plan

pytestmark = pytest.mark.proof

INPUTS, FAULTS, RATE = 24, 200, 0.45  # of 20 inputs the work was once done before the last faults had their turn
HANGS = 2  # each costs a client's patience
CALM = 16 * INPUTS  # requests for so many inputs without a fault, and without listings
COST = 2  # requests that a fault adds, at most: asked again, and a write is read back in between
READS = ("torn", "cut", "flip", "trickle", "skew-ahead", "skew-behind", "no-date")
WRITES = ("ConditionalRequestConflict", "refused-after", "BadDigest")
ALL = ("InternalError", "SlowDown", "error-after", "reset-before", "reset-after", "hang")


def kinds(call: Call) -> tuple[str, ...]:
    return ALL + (READS if call.method == "GET" else WRITES if call.conditional else ())


def random_plan(seed: int) -> Plan:
    dice, left, hangs = random.Random(seed), [FAULTS], [HANGS]

    def plan(call: Call) -> str | None:
        fault = dice.choice(kinds(call))
        if left[0] == 0 or dice.random() > RATE:
            return None
        if fault == "hang":
            if hangs[0] == 0:
                return None
            hangs[0] -= 1
        left[0] -= 1
        return fault

    return plan


@pytest.mark.timeout(3600)
def test_random_faults(faulty: FaultRig, long: bool, tell: Callable[[str], None]) -> None:
    """Every input ends settled with its own result and nothing charged, whatever two hundred requests met."""
    given = os.environ.get("DROPSCRIBE_FAULTS_SEED")
    for seed in [int(given)] if given else [secrets.randbits(32) for _ in range(20 if long else 1)]:
        print(f"DROPSCRIBE_FAULTS_SEED={seed} replays this")
        faulty.renew(f"seed-{seed}")
        faulty.proxy.random.seed(seed)  # which bits flip
        bodies = [b"%d" % (number % 15) for number in range(INPUTS)]
        faulty.drop(*bodies)
        faulty.drain(plan=random_plan(seed), workers=2)
        takeovers = sum(record.takeovers for record in faulty.records())
        met, sent = len(faulty.proxy.faults()), faulty.sent()
        tell(f"faults: seed {seed}, {met} faults in {sent} requests for {INPUTS} inputs, {takeovers} takeovers")
        faulty.check()
        faulty.check_work(again=takeovers)
        assert met == FAULTS
        assert sent <= CALM + COST * FAULTS
