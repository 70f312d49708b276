"""Every request of a job × {crash before, crash after, lost request, lost answer, long pause}, and pairs of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pytest
from crash_scenarios import SCENARIOS, Fault, Run, Scenario, disturbed
from proof_pool import side_by_side
from proof_world import KINDS

MOST_WORK = 1.1  # times what had to be run
_BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
_EVERY_NTH_PAIR = 307  # without --long


def runs(tasks: list[tuple[str, tuple[Fault, ...]]]) -> list[Run]:
    return [disturbed(_BY_NAME[name], faults) for name, faults in tasks]


@dataclass
class Sum:
    """Of runs: how many there were, and what stage runs they took and would have taken."""

    count: int = 0
    work: int = 0
    ideal: int = 0

    def add(self, count: int, work: int, ideal: int) -> None:
        self.count, self.work, self.ideal = self.count + count, self.work + work, self.ideal + ideal


def check(done: Iterable[Run]) -> Sum:
    """No run broke a promise."""
    total, bad = Sum(), []
    for run in done:
        total.add(1, run.work, run.ideal)
        if run.violations:
            bad.append(f"{run.violations}\n    {run.replay}")
    assert not bad, f"{len(bad)} of {total.count} runs:\n" + "\n".join(bad[:10])
    assert total.work <= MOST_WORK * total.ideal
    return total


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_single_faults(scenario: Scenario, tell: Callable[[str], None]) -> None:
    """One fault at any request: one committed result, everything settled, nothing charged, nothing older wins."""
    requests = undisturbed(scenario).requests
    points = itertools.product(range(1, requests + 1), KINDS)
    done = check(side_by_side(runs, [(scenario.name, ((at, kind),)) for at, kind in points]))
    assert done.count == requests * len(KINDS) > 75
    tell(f"{scenario.name}: {requests} requests, {done.count} single faults, work {done.work} of {done.ideal}")


@pytest.mark.timeout(12 * 3600)
def test_pairs_of_faults(tell: Callable[[str], None], long: bool) -> None:
    """Two faults at any two requests, of one worker or of two. Some without --long, all with it."""
    total = Sum()
    for scenario in SCENARIOS:
        some = itertools.islice(pairs(scenario), 0, None, 1 if long else _EVERY_NTH_PAIR)
        done = check(side_by_side(runs, some))
        total.add(done.count, done.work, done.ideal)
    tell(f"pairs of faults: {total.count} runs, work {total.work} of {total.ideal}")


def undisturbed(scenario: Scenario) -> Run:
    run = disturbed(scenario, ())
    check([run])
    assert run.work == run.ideal
    return run


def pairs(scenario: Scenario) -> Iterator[tuple[str, tuple[Fault, ...]]]:
    """The second fault may come among the requests of the worker that takes over: those come on top."""
    requests = undisturbed(scenario).requests
    for first, second in itertools.product(range(1, requests + 1), range(2, 2 * requests)):
        if first < second:
            for kind, other in itertools.product(KINDS, KINDS):
                yield scenario.name, ((first, kind), (second, other))
