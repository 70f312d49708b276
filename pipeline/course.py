"""From the steps of a job to the events that tell of its stages: percent, time left, artifacts.

A `Part` is a step that counts for a stage; a stage has one or several, and several stages may be under way at once. A
`Course` watches the flow of the parts. Knows what parts cost, not what they do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.flow import Made, Step
from pipeline.rates import Rates, remaining
from pipeline.types import Event, Facts, Progress, StageDone

Emit = Callable[[Event], None]

_LEAST_SECONDS = 0.25  # between two progress events of a stage: a reader wants no more, and each costs a line


@dataclass(frozen=True, slots=True, kw_only=True)
class Part(Step):
    """``stage``: what it counts for. The part that has its stage's name tells how far it is in seconds, too.

    ``cost``: seconds of work per second of sound on a processor's core, by which parts are weighed until their rates
    are known. ``by``: what does the work, a model's revision and device, where rates differ with it; until it was
    measured nothing is promised about it. ``artifact``: the file that it leaves in the work directory.
    """

    stage: str
    cost: float
    by: str = ""
    artifact: str = ""


@dataclass(slots=True)
class _Pace:
    """How far a part is. ``began``, in seconds of the clock, and ``seconds`` it took in all: None until then."""

    share: float = 0.0
    began: float | None = None
    seconds: float | None = None


class Course:
    """The `Watcher` of one job's flow. ``rates`` are learned from it and serve the next job."""

    def __init__(
        self, parts: Sequence[Part], emit: Emit, rates: Rates, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._parts = {part.name: part for part in parts}
        self._emit = emit
        self._rates = rates
        self._now = now
        self._sound: float | None = None
        self._paces: dict[str, _Pace] = {}  # of the parts that run, in the order of the flow
        self._weights: dict[str, float] = {}
        self._told: dict[str, float] = {}  # by stage: when it was last told of
        self._done: set[str] = set()  # stages that were told to be over

    def heard_of(self, seconds: float | None) -> None:
        """The recording's length became known, or is known better."""
        if seconds is not None:
            self._sound = seconds

    # ── what the flow tells ─────────────────────────────────────────────────────────────────────────────────────────

    def planned(self, names: Sequence[str]) -> None:
        self._paces = {name: _Pace() for name in names}
        for name in names:
            self._weights[name] = self._rate(name) or self._parts[name].cost

    def began(self, name: str) -> None:
        self._paces[name].began = self._now()
        part = self._parts[name]
        first = next(one for one in self._paces if self._parts[one].stage == part.stage)
        if name == first and self._sound is not None:
            self._tell(part, Progress(stage=part.stage, percent=0.0))

    def moved(self, name: str, done: float, total: float | None, partial: str | None) -> None:
        part, pace = self._parts[name], self._paces[name]
        if total:
            pace.share = max(pace.share, min(1.0, done / total))
        now = self._now()
        own = part.name == part.stage
        ended = own and total is not None and done >= total
        if not ended and now - self._told.get(part.stage, float("-inf")) < _LEAST_SECONDS:
            return
        self._tell(
            part,
            Progress(
                stage=part.stage,
                percent=self.percent(part.stage),
                done=done if own else None,
                total=total if own else None,
                partial=partial,
            ),
        )

    def over(self, name: str, made: Made, seconds: float | None) -> None:
        part = self._parts[name]
        if seconds is not None:
            self._paces[name].share, self._paces[name].seconds = 1.0, seconds
            if self._sound is not None and made.own and made.degraded is None:
                self._rates.learn(name, part.by, seconds, self._sound)
        last = [one.name for one in self._parts.values() if one.stage == part.stage][-1] == name
        ran = seconds is not None
        kept = part.artifact if ran and made.own and made.degraded is None and made.value is not None else ""
        if kept or (last and (ran or made.degraded is not None) and part.stage not in self._done):
            self._done.add(part.stage)
            facts = made.value if isinstance(made.value, Facts) else None
            spent = self._spent(part.stage)
            self._emit(StageDone(stage=part.stage, artifact=kept, seconds=spent, degraded=made.degraded, facts=facts))

    # ── what that says ──────────────────────────────────────────────────────────────────────────────────────────────

    def percent(self, stage: str) -> float:
        """Of the stage's parts that run, by their weights."""
        names = [name for name in self._paces if self._parts[name].stage == stage]
        whole = sum(self._weights[name] for name in names)
        left = sum(self._weights[name] * (1 - self._paces[name].share) for name in names)
        return 100 * (1 - left / whole) if whole else 100.0

    def ends(self) -> dict[str, float | None]:
        """For each part that runs, the seconds until it is over: its own and those of what it waits for. None where
        one of them is not known.
        """
        found: dict[str, float | None] = {}
        for name in self._paces:
            waits = [found[need] for need in self._parts[name].needs if need in found]
            left = self._left(name)
            known = [wait for wait in waits if wait is not None]
            found[name] = left + max(known, default=0.0) if left is not None and len(known) == len(waits) else None
        return found

    def _left(self, name: str) -> float | None:
        pace = self._paces[name]
        if pace.seconds is not None:
            return 0.0
        part = self._parts[name]
        rate = self._rate(name)
        if rate is None and not part.by:
            rate = part.cost
        expected = None if rate is None or self._sound is None else rate * self._sound
        return remaining(pace.share, 0.0 if pace.began is None else self._now() - pace.began, expected)

    def _rate(self, name: str) -> float | None:
        return self._rates.rate(name, self._parts[name].by)

    def _spent(self, stage: str) -> float:
        return sum(pace.seconds or 0.0 for name, pace in self._paces.items() if self._parts[name].stage == stage)

    def _tell(self, part: Part, event: Progress) -> None:
        self._told[part.stage] = self._now()
        ends = self.ends()
        of_stage = [end for name, end in ends.items() if self._parts[name].stage == part.stage]
        self._emit(event.model_copy(update={"eta": _latest(of_stage), "job_eta": _latest(list(ends.values()))}))


def _latest(ends: Sequence[float | None]) -> float | None:
    known = [end for end in ends if end is not None]
    return round(max(known, default=0.0), 2) if len(known) == len(ends) else None
