"""Seeds by the thousand: workers, users and faults at random, each run a function of its seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from proof_pool import side_by_side
from proof_world import KINDS
from simulation import Outcome, simulate

SEEDS, AHEAD_SEEDS, LONG_SEEDS = 2_000, 300, 10_000
MOST_WORK = 1.1  # times what had to be run
MET = (
    *KINDS,
    "drop",
    "remove",
    "cancel",
    "retry",
    "subscribers served",
    "artifacts swept",
    "batches completed",
)


def outcomes(seeds: list[int]) -> list[Outcome]:
    return [simulate(seed) for seed in seeds]


@pytest.mark.timeout(3600)
def test_no_seed_breaks_a_promise(tell: Callable[[str], None], long: bool) -> None:
    """Nothing is lost, nothing is done twice on purpose, nothing older wins, whatever happens when."""
    count = LONG_SEEDS if long else SEEDS
    done = list(side_by_side(outcomes, range(count)))
    bad = [outcome for outcome in done if outcome.violations]
    assert not bad, f"{len(bad)} of {count} seeds:\n" + "\n".join(
        f"{one.violations}\n    python tests/handler/proof/simulation.py {one.seed}" for one in bad[:10]
    )
    work, ideal = sum(one.work for one in done), sum(one.ideal for one in done)
    assert work <= MOST_WORK * ideal
    counts: Counter[str] = sum((one.counts for one in done), Counter())
    assert all(counts[what] > count / 20 for what in MET)
    requests = sum(one.requests for one in done)
    tell(f"simulation: {count} seeds, {requests} requests, work {work} of {ideal}")
    tell("simulation: " + ", ".join(f"{number} {what}" for what, number in sorted(counts.items())))


def test_some_seeds() -> None:
    """A handful of them, for those who have seconds only."""
    for seed in range(150):
        assert simulate(seed).violations == [], f"python tests/handler/proof/simulation.py {seed}"


def ahead(seeds: list[int]) -> list[Outcome]:
    return [simulate(seed, ahead=True) for seed in seeds]


@pytest.mark.timeout(3600)
def test_fetching_ahead_breaks_no_promise(tell: Callable[[str], None], long: bool) -> None:
    """Whatever happens to a recording that lies ready, to a message that was received before its time, or to who has
    them: the same promises, and no more work.
    """
    count = LONG_SEEDS if long else AHEAD_SEEDS
    done = list(side_by_side(ahead, range(count)))
    bad = [outcome for outcome in done if outcome.violations]
    assert not bad, f"{len(bad)} of {count} seeds:\n" + "\n".join(
        f"{one.violations}\n    simulate({one.seed}, ahead=True)" for one in bad[:10]
    )
    work, ideal = sum(one.work for one in done), sum(one.ideal for one in done)
    assert work <= MOST_WORK * ideal
    used, received = (sum(one.counts[f"{what} ahead"] for one in done) for what in ("fetched", "received"))
    assert used > count / 20
    assert received > count / 40
    tell(f"simulation: {count} seeds, {used} recordings and {received} messages ahead, work {work} of {ideal}")


def test_a_seed_can_be_replayed() -> None:
    """The same seed gives the same run, request by request."""
    for ahead in (False, True):
        first, second = (simulate(5, ahead=ahead, trace=True) for _ in range(2))
        assert len(first.log) > 100
        assert first.log == second.log
    assert first.log != simulate(6, trace=True).log
