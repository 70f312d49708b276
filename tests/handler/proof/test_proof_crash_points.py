"""Every request of a job × {crash before, crash after, lost request, lost answer, long pause}, and pairs of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from crash_scenarios import SCENARIOS, Fault, Run, Scenario, disturbed
from proof_pool import side_by_side
from proof_world import KINDS

MOST_WORK = 1.1  # times what had to be run
_BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
_EVERY_NTH_PAIR = 211  # of them all, without --long


def runs(tasks: list[tuple[str, tuple[Fault, ...]]]) -> list[Run]:
    return [disturbed(_BY_NAME[name], faults) for name, faults in tasks]


def check(done: list[Run]) -> tuple[int, int]:
    """No run broke a promise; gives the work that was done and that had to be."""
    bad = [run for run in done if run.violations]
    assert not bad, f"{len(bad)} of {len(done)} runs:\n" + "\n".join(
        f"{run.violations}\n    {run.replay}" for run in bad[:10]
    )
    work, ideal = sum(run.work for run in done), sum(run.ideal for run in done)
    assert work <= MOST_WORK * ideal
    return work, ideal


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_single_faults(scenario: Scenario, tell: Callable[[str], None]) -> None:
    """One fault at any request: one committed result, everything settled, nothing charged, nothing older wins."""
    requests = undisturbed(scenario).requests
    points = itertools.product(range(1, requests + 1), KINDS)
    done = list(side_by_side(runs, [(scenario.name, ((at, kind),)) for at, kind in points]))
    work, ideal = check(done)
    assert len(done) == requests * len(KINDS) > 75
    tell(f"{scenario.name}: {requests} requests, {len(done)} single faults, work {work} of {ideal}")


@pytest.mark.timeout(4 * 3600)
def test_pairs_of_faults(tell: Callable[[str], None], long: bool) -> None:
    """Two faults at any two requests, of one worker or of two. Some without --long, all with it."""
    tasks = list(itertools.islice(pairs(), 0, None, 1 if long else _EVERY_NTH_PAIR))
    done = list(side_by_side(runs, tasks))
    work, ideal = check(done)
    tell(f"pairs of faults: {len(done)} runs, work {work} of {ideal}")


def undisturbed(scenario: Scenario) -> Run:
    run = disturbed(scenario, ())
    check([run])
    assert run.work == run.ideal
    return run


def pairs() -> Iterator[tuple[str, tuple[Fault, ...]]]:
    """The second fault may come among the requests of the worker that takes over: those come on top."""
    for scenario in SCENARIOS:
        requests = undisturbed(scenario).requests
        points = itertools.product(range(1, 2 * requests), KINDS)
        for first, second in itertools.combinations(points, 2):
            if first[0] < second[0] and first[0] <= requests:
                yield scenario.name, (first, second)
