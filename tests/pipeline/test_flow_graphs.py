"""Any steps, however their threads take turns: all runs end alike."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from flow_rig import Diary
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.flow import Given, Made, Report, Step, run_flow

KINDS = ["runs", "runs", "runs", "runs", "known", "lacking", "poor", "fails"]


@st.composite
def graphs(draw: st.DrawFn) -> list[tuple[str, tuple[str, ...]]]:
    """For each step its kind and its needs, by number."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for place in range(draw(st.integers(1, 9))):
        needs = draw(st.lists(st.integers(0, place - 1), unique=True, max_size=4)) if place else []
        found.append((draw(st.sampled_from(KINDS)), tuple(f"s{need}" for need in needs)))
    return found


class Sad(Exception):
    pass


def built(graph: list[tuple[str, tuple[str, ...]]], at_work: list[str], pauses: random.Random | None) -> list[Step]:
    """Steps whose value tells everything that they were given."""

    def work(name: str, kind: str) -> Callable[[Given, Report], Made]:
        def run(given: Given, report: Report) -> Made:
            at_work.append(name)
            try:
                for done in range(3):
                    if pauses is not None:
                        time.sleep(pauses.random() / 1000)
                    report(done, 3)
                if kind == "fails":
                    raise Sad(name)
                value = (name, tuple(given.values.items()), tuple(given.degraded.items()))
                return Made(value, "poor" if kind == "poor" else None)
            finally:
                at_work.remove(name)

        return run

    return [
        Step(
            name=f"s{place}",
            needs=needs,
            run=work(f"s{place}", kind),
            known=lambda place=place, kind=kind: Made(f"known {place}") if kind == "known" else None,
            lacking=f"lacks {place}" if kind == "lacking" else None,
        )
        for place, (kind, needs) in enumerate(graph)
    ]


@settings(max_examples=80, deadline=None)
@given(graphs(), st.integers())
def test_any_graph(graph: list[tuple[str, tuple[str, ...]]], seed: int) -> None:
    """Of any steps, with any pauses: a value is the same as in any other run; each step runs at most once, after its
    needs; an error is one that was raised, and of the first that was; nobody is at work afterwards.
    """
    outcomes = []
    for pauses in (None, random.Random(seed), random.Random(seed + 1)):
        diary, at_work = Diary(), list[str]()
        steps = built(graph, at_work, pauses)
        try:
            outcomes.append((run_flow(steps, diary), None))
        except Sad as error:
            outcomes.append((None, str(error)))
        assert at_work == []
        assert not diary.at_once
        assert len(diary.begun) == len(set(diary.begun))
        assert set(diary.ran) <= set(diary.begun) <= set(diary.plan)
        kinds = {step.name: kind for step, (kind, _) in zip(steps, graph, strict=True)}
        needs = {step.name: step.needs for step in steps}
        assert all(set(needs[name]) <= set(diary.ended) for name in diary.begun)
        error = outcomes[-1][1]
        failing = [name for name in diary.plan if kinds[name] == "fails"]
        if error is None:
            assert not failing
            assert set(diary.ran) == set(diary.plan)
        else:
            assert error in failing
            failed = [name for name in diary.begun if name not in diary.ended and kinds[name] == "fails"]
            assert error in failed
    values = {outcome for outcome in outcomes if outcome[1] is None}
    assert len(values) <= 1
    assert len({outcome[1] is None for outcome in outcomes}) == 1
