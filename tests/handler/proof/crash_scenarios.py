"""The courses whose every request is disturbed, and how one disturbed run goes.

A scenario prepares a bucket and says what happens in the middle of a stage; the *victim* is the worker whose requests
meet the faults, the *heir* the one that comes after the first fault and drains the bucket. Requests are counted over
both, so that a second fault may hit either, and over the commands that somebody gives meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proof_ledger import USER
from proof_queue import Exchange
from proof_world import HOPELESS, MAY_PASS, FaultKind, World, scratch

from handler.sweep import GRACE_SECONDS, Limits
from pipeline.plan import GENERATING_OUTPUT, TRANSCRIBING

SPEECH = b"somebody talks"
OTHER = b"somebody else does"
THIRD = b"a third one does"

Fault = tuple[int, FaultKind]  # the number of the request, from 1, and what happens to it


@dataclass(frozen=True)
class Scenario:
    """``prepare`` runs before the victim comes; ``within`` once, when somebody's engine comes to that ``place``."""

    name: str
    prepare: Callable[[World], None]
    within: Callable[[World], None] = lambda world: None
    place: str = f"middle of {TRANSCRIBING}"  # before the last heartbeat; the ends of the stages are after it
    told: bool = False  # by a queue, beside the scan
    settings: Mapping[str, Any] = field(default_factory=dict)  # and what else a `World` is told


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


def two_recordings(world: World) -> None:
    world.drop("a.wav", SPEECH)
    world.drop("b.wav", OTHER)


def overwrite_second(world: World) -> None:
    world.drop("b.wav", THIRD)


def evicted(world: World) -> None:
    known(world)
    for key in world.references():
        world.evict(key)


def swept(world: World) -> None:
    """The same bytes were done days ago, and what is left of that goes just now."""
    known(world)
    world.age(2 * GRACE_SECONDS)
    world.drop("b.wav", SPEECH)
    world.terminal.insist(lambda: world.terminal.sweep(Limits(cache_ttl=GRACE_SECONDS)), 0.05)


def batch(world: World) -> None:
    """Two recordings, and a batch that wants one of them as it is and the other one under options of its own."""
    world.drop("a.wav", SPEECH)
    world.drop("b.wav", OTHER)
    world.drop_batch("all.batch.jsonl", "a*", {"utterances": False}, "b*")


def batch_of_one(world: World) -> None:
    """A recording that is done, and a batch that wants it under other options."""
    world.drop("a.wav", SPEECH)
    undisturbed(world)
    world.drop_batch("one.batch.jsonl", "a*", {"utterances": False}, "a*")


def cancel(world: World) -> None:
    world.terminal.insist(lambda: world.terminal.cancel("a.wav"))


def cancel_one_of_two(world: World) -> None:
    world.terminal.insist(lambda: world.terminal.cancel("b.wav"))


def takeover(world: World) -> None:
    """Somebody died in the middle of the job, long ago."""
    world.drop("a.wav", SPEECH)

    def meddle(worker: str, call: str) -> FaultKind | None:
        return "crash before" if worker == "lost" and "/stages/" in call and call.startswith("put") else None

    outer, world._meddle = world._meddle, meddle
    world.hire(name="lost")
    world.let_all_end()
    world._meddle = outer
    world.age(world.settings.lease_seconds + 5)


def undisturbed(world: World) -> None:
    """A worker that drains the bucket before anything happens."""
    outer, world._meddle = world._meddle, lambda worker, call: None
    world.hire(name="before", drain=True)
    world.let_all_end()
    world._meddle = outer
    world.age(100)


SCENARIOS = (
    Scenario("first-seen", first_seen),
    Scenario("known-content", known),
    Scenario("two-subscribers", two_subscribers),
    Scenario("failure-and-retry", failure_and_retry),
    Scenario("dead", dead),
    Scenario("overwrite", first_seen, overwrite),
    Scenario("overwrite-late", first_seen, overwrite, f"end of {TRANSCRIBING}"),
    Scenario("overwrite-same-bytes", first_seen, overwritten_by_the_same, f"end of {TRANSCRIBING}"),
    Scenario("deletion", first_seen, lambda world: world.delete("a.wav")),
    Scenario("deletion-late", first_seen, lambda world: world.delete("a.wav"), f"end of {TRANSCRIBING}"),
    Scenario("cancel", first_seen, cancel),
    Scenario("cancel-late", first_seen, cancel, f"end of {TRANSCRIBING}"),
    Scenario("cancel-one-of-two", two_subscribers, cancel_one_of_two),
    Scenario("evicted-result", evicted),
    Scenario("sweep", swept, settings={"inline_bytes": 0}),
    Scenario("batch", batch),
    Scenario("batch-overwritten", batch_of_one, overwrite, f"end of {GENERATING_OUTPUT}"),
    Scenario("takeover", takeover),
    Scenario("queue", first_seen, told=True),
    Scenario("queue-beside", first_seen, told=True, settings={"beside": True}),
    Scenario("ahead", two_recordings, settings={"ahead": True}),
    Scenario("ahead-overwritten", two_recordings, overwrite_second, f"end of {TRANSCRIBING}", settings={"ahead": True}),
)


def disturbed(scenario: Scenario, faults: tuple[Fault, ...], *, trace: bool = False, **settings: object) -> Run:
    """One run. Without ``faults`` it tells how many requests the victim makes."""
    with scratch() as folder:
        return _disturbed(scenario, dict(faults), folder, trace, settings)


def _disturbed(
    scenario: Scenario, faults: dict[int, FaultKind], folder: Path, trace: bool, settings: dict[str, object]
) -> Run:
    count = 0

    def meddle(worker: str, call: str) -> FaultKind | None:
        nonlocal count
        if worker not in ("victim", "heir", USER):
            return None
        count += 1
        kind = faults.get(count)
        if kind is not None and "heir" not in world.tasks:
            world.hire(1.0, name="heir", drain=True, source=source)
        elif kind is not None and kind.startswith("crash") and worker == "heir":
            world.hire(1.0, drain=True, source=source)
        return kind

    world = World(0, folder, meddle=meddle, limit=5_000.0, **{**scenario.settings, **settings})
    if trace:
        world.log = []
    world.steps = 2
    exchange = Exchange(world) if scenario.told else None
    source = exchange.source if exchange is not None else None
    within: list[str] = []

    def on_stage(worker: str, place: str) -> None:
        if worker in ("victim", "heir") and place == scenario.place and not within:
            within.append(place)
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
        world.let_all_end()
    if not (within and world.all_settled()):  # a drain over a queue ends when that is silent: the scan is the truth
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
