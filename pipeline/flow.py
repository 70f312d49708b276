"""The steps of a job, each in a thread of its own as soon as what it needs is there.

Takes `Step`s in the order of the flow, gives the value of the last one; tells a `Watcher` what begins, moves and ends.
What a step is given depends on the steps that it names and on nothing else, so the result is the same however the
threads take turns. Knows nothing of sound, models, artifacts or events.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import Any, Protocol


class Stopped(BaseException):
    """Raised in a step by its report once another one has failed. No `Exception`: what handles errors, such as a model
    that has run out of memory, must not take it for one.
    """


@dataclass(frozen=True, slots=True)
class Made:
    """What came of a step. ``degraded``: why it is poorer than it should be, or is not there at all; the steps behind
    it run all the same. ``own``: False where the work was done elsewhere, so that the seconds say nothing about it.
    """

    value: Any = None
    degraded: str | None = None
    own: bool = True


@dataclass(frozen=True, slots=True)
class Given:
    """What a step may see: the values of its needs, and the reasons of all that is degraded before it, by step."""

    values: Mapping[str, Any]
    degraded: Mapping[str, str]

    def __getitem__(self, name: str) -> Any:
        return self.values[name]


class Report(Protocol):
    """How a step tells of its progress; to be called often. Raises `Stopped` when the step is to end."""

    def __call__(self, done: float, total: float | None, partial: str | None = None, /) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """``run`` gives what the step makes of its ``needs``: names of steps declared before it.

    ``known``: gives what is there already, so that neither the step nor what only it needs is run; asked once, before
    anything runs. ``lacking``: why the step can never run here; it is then degraded from the start, whoever needs it.
    """

    name: str
    run: Callable[[Given, Report], Made] | None = None
    needs: tuple[str, ...] = ()
    known: Callable[[], Made | None] = field(default=lambda: None)
    lacking: str | None = None


class Watcher(Protocol):
    """Told of the course, one call at a time, from any thread. What it raises ends the job."""

    def planned(self, names: Sequence[str]) -> None:
        """The steps that will run; before anything else."""

    def began(self, name: str) -> None: ...

    def moved(self, name: str, done: float, total: float | None, partial: str | None) -> None: ...

    def over(self, name: str, made: Made, seconds: float | None) -> None:
        """``seconds`` of a step that ran; None for one that was known or lacking. Never of one that failed."""


def run_flow(steps: Sequence[Step], watcher: Watcher, now: Callable[[], float] = time.monotonic) -> Any:
    """Run the last step and whatever it needs that is not known; gives its value.

    When a step fails the others are told to stop and waited for, and those that finish all the same are told of. The
    error raised is that of the first step by their order among those that failed. ValueError for steps that cannot be.
    """
    _check(steps)
    running, settled = _planned(steps)
    return _Flow(steps, running, settled, watcher, now).run()


def _check(steps: Sequence[Step]) -> None:
    seen: set[str] = set()
    for step in steps:
        if step.name in seen or not seen.issuperset(step.needs):
            raise ValueError(f"the step {step.name} is there twice, or needs one that is not declared before it")
        if step.run is None and step.lacking is None:
            raise ValueError(f"the step {step.name} has nothing to run")
        seen.add(step.name)
    if not steps:
        raise ValueError("there are no steps")


def _planned(steps: Sequence[Step]) -> tuple[list[Step], dict[str, Made]]:
    """The last step and all that it needs and that must run, in the order of the flow; and what need not: what is
    known of it, and whatever is lacking.
    """
    running: list[Step] = []
    settled: dict[str, Made] = {}
    asked = {steps[-1].name}
    for step in reversed(steps):  # needs lie before, so one way through is enough
        wanted = step.name in asked
        made = step.known() if wanted or step.lacking is not None else None
        if made is None and step.lacking is not None:
            made = Made(degraded=step.lacking)
        if made is not None:
            settled[step.name] = made
        elif wanted:
            running.append(step)
            asked.update(step.needs)
    return running[::-1], settled


class _Flow:
    """One run. All but `_work` and `_report` happens in the thread that called `run`."""

    def __init__(
        self,
        steps: Sequence[Step],
        running: Sequence[Step],
        settled: Mapping[str, Made],
        watcher: Watcher,
        now: Callable[[], float],
    ) -> None:
        self._order = {step.name: place for place, step in enumerate(steps)}
        self._steps = {step.name: step for step in steps}
        self._running = running
        self._made = dict(settled)
        self._watcher = watcher
        self._now = now
        self._lock = threading.Lock()  # around the watcher
        self._stopping = threading.Event()
        self._began: dict[str, float] = {}
        self._errors: dict[str, BaseException] = {}
        names = {step.name for step in running}
        self._sorter = TopologicalSorter({step.name: names.intersection(step.needs) for step in running})
        self._before = _before(steps)

    def run(self) -> Any:
        with self._lock:
            self._watcher.planned([step.name for step in self._running])
            for name in sorted(self._made, key=self._order.__getitem__):
                self._watcher.over(name, self._made[name], None)
        self._sorter.prepare()
        if self._running:
            with ThreadPoolExecutor(len(self._running), thread_name_prefix="step") as threads:
                try:
                    self._drive(threads)
                except BaseException:
                    self._stopping.set()  # the pool waits for its threads
                    raise
        if self._errors:
            raise self._errors[self._first(self._errors)]
        return self._made[next(reversed(self._order))].value

    def _drive(self, threads: ThreadPoolExecutor) -> None:
        at_work: dict[Future[tuple[Made, float]], str] = {}
        while self._sorter.is_active():
            if not self._stopping.is_set():
                for name in sorted(self._sorter.get_ready(), key=self._order.__getitem__):
                    at_work[self._start(name, threads)] = name
            if not at_work:
                return
            ended, _ = wait(at_work, return_when=FIRST_COMPLETED)
            for future in sorted(ended, key=lambda one: self._order[at_work[one]]):
                self._end(at_work.pop(future), future)

    def _start(self, name: str, threads: ThreadPoolExecutor) -> Future[tuple[Made, float]]:
        step = self._steps[name]
        given = Given(
            {need: self._made[need].value for need in step.needs},
            {one: reason for one in self._before[name] if (reason := self._reason(one)) is not None},
        )
        with self._lock:
            self._watcher.began(name)
        return threads.submit(self._work, step, given)

    def _reason(self, name: str) -> str | None:
        return self._made[name].degraded if name in self._made else None

    def _work(self, step: Step, given: Given) -> tuple[Made, float]:
        assert step.run is not None
        began = self._now()
        try:
            made = step.run(given, self._report(step.name))
        except BaseException:
            self._stopping.set()  # at once: whoever waits for the step comes to it later
            raise
        return made, self._now() - began

    def _report(self, name: str) -> Report:
        def report(done: float, total: float | None, partial: str | None = None, /) -> None:
            if self._stopping.is_set():
                raise Stopped
            with self._lock:
                self._watcher.moved(name, done, total, partial)

        return report

    def _end(self, name: str, future: Future[tuple[Made, float]]) -> None:
        error = future.exception()
        if error is not None:
            if not isinstance(error, Stopped):
                self._errors[name] = error
            return
        made, seconds = future.result()
        self._made[name] = made
        with self._lock:
            self._watcher.over(name, made, seconds)
        self._sorter.done(name)

    def _first(self, names: Iterable[str]) -> str:
        return min(names, key=self._order.__getitem__)


def _before(steps: Sequence[Step]) -> dict[str, list[str]]:
    """For each step those whose making it may know of: its needs, theirs, and what is lacking; in the flow's order."""
    found: dict[str, set[str]] = {}
    lacking = {step.name for step in steps if step.lacking is not None}
    for step in steps:
        found[step.name] = set(step.needs).union(*(found[need] for need in step.needs))
    order = [step.name for step in steps]
    return {name: [one for one in order if one in behind or one in lacking] for name, behind in found.items()}
