"""The courses whose every request is disturbed, and how one disturbed run goes.

A scenario prepares a bucket and says what happens in the middle of a stage; the *victim* is the worker whose requests
meet the faults, the *heir* the one that comes after the first fault and drains the bucket. Requests are counted over
both, so that a second fault may hit either.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from proof_queue import Exchange
from proof_world import HOPELESS, MAY_PASS, FaultKind, World

from pipeline.plan import GENERATING_OUTPUT, TRANSCRIBING

SPEECH = b"somebody talks"
OTHER = b"somebody else does"

Fault = tuple[int, FaultKind]  # the number of the request, from 1, and what happens to it


@dataclass(frozen=True)
class Scenario:
    """``prepare`` runs before the victim comes; ``within`` once, in the middle of its first transcription."""

    name: str
    prepare: Callable[[World], None]
    within: Callable[[World], None] = lambda world: None
    told: bool = False  # by a queue, beside the scan


@dataclass
class Run:
    scenario: str
    faults: tuple[Fault, ...]
    violations: list[str]
    requests: int
    work: int
    ideal: int
    log: list[str]

    @property
    def replay(self) -> str:
        points = " ".join(f"{at}:{kind.replace(' ', '-')}" for at, kind in self.faults)
        return f"python tests/handler/proof/replay_crash.py {self.scenario} {points}"


def first_seen(world: World) -> None:
    world.drop("a.wav", SPEECH)


def known(world: World) -> None:
    """The same bytes were done before, under another name."""
    world.drop("before.wav", SPEECH)
    undisturbed(world)
    world.drop("a.wav", SPEECH)


def two_subscribers(world: World) -> None:
    """Two names for the same bytes, and a second worker that sees the other name while the first is at it."""
    world.drop("a.wav", SPEECH)
    world.drop("b.wav", SPEECH)
    world.hire(2.0, name="joiner", drain=True)


def failure_and_retry(world: World) -> None:
    world.drop("a.wav", SPEECH)
    world.failing[SPEECH] = [MAY_PASS]


def dead(world: World) -> None:
    world.drop("a.wav", SPEECH)
    world.failing[SPEECH] = [HOPELESS] * 20


def overwrite(world: World) -> None:
    world.drop("a.wav", OTHER)


def overwritten_by_the_same(world: World) -> None:
    """Another version of the same bytes: the same job, another input."""
    world.drop("a.wav", SPEECH)


def evicted(world: World) -> None:
    known(world)
    for key in world.references():
        world.evict(key)


def takeover(world: World) -> None:
    """Somebody died in the middle of the job, long ago."""
    world.drop("a.wav", SPEECH)

    def meddle(worker: str, call: str) -> FaultKind | None:
        return "crash before" if worker == "lost" and "/stages/" in call and call.startswith("put") else None

    outer, world._meddle = world._meddle, meddle
    world.hire(name="lost")
    world.scheduler.run()
    world._meddle = outer
    world.scheduler.now += world.settings.lease_seconds + 5


def undisturbed(world: World) -> None:
    """A worker that drains the bucket before anything happens."""
    outer, world._meddle = world._meddle, lambda worker, call: None
    world.hire(name="before", drain=True)
    world.scheduler.run()
    world._meddle = outer
    world.scheduler.now += 100


SCENARIOS = (
    Scenario("first-seen", first_seen),
    Scenario("known-content", known),
    Scenario("two-subscribers", two_subscribers),
    Scenario("failure-and-retry", failure_and_retry),
    Scenario("dead", dead),
    Scenario("overwrite", first_seen, overwrite),
    Scenario("overwrite-same-bytes", first_seen, overwritten_by_the_same),
    Scenario("deletion", first_seen, lambda world: world.delete("a.wav")),
    Scenario("evicted-result", evicted),
    Scenario("takeover", takeover),
    Scenario("queue", first_seen, told=True),
)


def disturbed(scenario: Scenario, faults: tuple[Fault, ...], *, trace: bool = False, **settings: object) -> Run:
    """One run. Without ``faults`` it tells how many requests the victim makes."""
    folder = Path(tempfile.mkdtemp(prefix="proof-"))
    try:
        return _disturbed(scenario, dict(faults), folder, trace, settings)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _disturbed(
    scenario: Scenario, faults: dict[int, FaultKind], folder: Path, trace: bool, settings: dict[str, object]
) -> Run:
    count = 0

    def meddle(worker: str, call: str) -> FaultKind | None:
        nonlocal count
        if worker not in ("victim", "heir"):
            return None
        count += 1
        kind = faults.get(count)
        if kind is not None and "heir" not in world.tasks:
            world.hire(1.0, name="heir", drain=True, source=source)
        elif kind is not None and kind.startswith("crash") and worker == "heir":
            world.hire(1.0, drain=True, source=source)
        return kind

    world = World(0, folder, meddle=meddle, limit=5_000.0, **settings)
    if trace:
        world.log = []
    world.steps = 2
    exchange = Exchange(world) if scenario.told else None
    source = exchange.source if exchange is not None else None
    within: list[str] = []

    def on_stage(worker: str, stage: str) -> None:
        if worker in ("victim", "heir") and stage in (TRANSCRIBING, GENERATING_OUTPUT) and not within:
            within.append(stage)
            scenario.within(world)

    scenario.prepare(world)
    world.on_stage = on_stage
    world.requests = 0
    if exchange is not None:
        exchange.send("a.wav")
    world.hire(name="victim", drain=True, source=source)
    world.run()
    if not within:
        scenario.within(world)
    if not world.all_settled():  # a drain over a queue ends when that is silent: the scan is the truth
        world._meddle = lambda worker, call: None
        world.hire(name="scanner", drain=True)
        world.ledger.violations = [one for one in world.ledger.violations if "never settled" not in one]
        world.run()
    ledger = world.ledger
    return Run(
        scenario.name,
        tuple(faults.items()),
        ledger.violations,
        count,
        len(ledger.runs),
        ledger.ideal,
        world.log or [],
    )
