"""The seeded simulation: several workers, users who drop, overwrite and delete, and any fault at any request.

    python simulation.py SEED            replays one seed, with a trace
    python simulation.py FIRST LAST      runs a range, and prints what went wrong

What a seed does depends on nothing else.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from proof_queue import Exchange
from proof_world import HOPELESS, KINDS, MAY_PASS, FaultKind, World
from sim_scheduler import SimClock

from handler.cancel import Cancel
from handler.errors import StoreError
from handler.job import Jobs
from handler.retry import Retry
from handler.store.memory import Call, Phase


@dataclass
class Outcome:
    seed: int
    violations: list[str] = field(default_factory=list)
    work: int = 0
    ideal: int = 0
    requests: int = 0
    seconds: float = 0.0  # of the virtual clock
    counts: Counter[str] = field(default_factory=Counter)  # faults and actions
    log: list[str] = field(default_factory=list)


class Story:
    """One seed's events. Everything random comes from the scheduler's own generator."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.world = world = World(seed, folder, meddle=self.meddle, limit=10_000.0)
        self.random = world.random
        self.counts: Counter[str] = Counter()
        world.store.coarse = self.random.random() < 0.5
        world.settings = world.settings.model_copy(
            update={"inline_bytes": self.random.choice((0, 256 * 1024)), "scan_seconds": self.random.choice((2, 5))}
        )
        world.steps = self.random.choice((1, 3, 6))
        self.fault_rate = self.random.choice((0.0, 0.005, 0.02, 0.05))
        self.faults_left = self.random.randrange(1, 9)
        self.kinds: tuple[FaultKind, ...] = KINDS if self.random.random() < 0.7 else (self.random.choice(KINDS),)
        self.contents = [f"speech {number}".encode() for number in range(self.random.randrange(1, 5))]
        self.keys = [f"{number}.wav" for number in range(self.random.randrange(1, 7))]
        self.exchange = Exchange(world) if self.random.random() < 0.4 else None
        self.user_done = False

    def play(self) -> Outcome:
        world = self.world
        for content in self.contents:
            if self.random.random() < 0.15:
                world.failing[content] = [MAY_PASS] * self.random.randrange(1, 4)
            elif self.random.random() < 0.05:
                world.failing[content] = [HOPELESS] * 50
        for _ in range(self.random.randrange(1, 5)):
            self.hire(self.random.random() * 20)
        world.scheduler.spawn("user", self.user)
        world.scheduler.spawn("watch", self.watch)
        world.run()
        ledger = world.ledger
        return Outcome(
            world.random.random() and 0,
            ledger.violations,
            len(ledger.runs),
            ledger.ideal,
            world.requests,
            world.scheduler.now,
            world.faults + self.counts,
            world.log or [],
        )

    def hire(self, delay: float) -> None:
        skew = self.random.choice((0.0, 0.0, -4000.0, 4000.0))
        told = self.exchange is not None and self.random.random() < 0.8
        source = self.exchange.source if told and self.exchange is not None else None
        self.world.hire(delay, skew=skew, source=source, ended=lambda name: self.hire(self.random.random() * 60))

    def meddle(self, worker: str, call: str) -> FaultKind | None:
        if self.faults_left <= 0 or self.random.random() >= self.fault_rate:
            return None
        self.faults_left -= 1
        return self.random.choice(self.kinds)

    # ── what users do ────────────────────────────────────────────────────────────────────────────────────────────────

    def user(self) -> None:
        actions: list[Callable[[], None]] = [self.drop] * 6 + [
            self.remove,
            self.evict,
            self.evict,
            self.retry,
            self.cancel,
        ]
        self.drop()
        for _ in range(self.random.randrange(2, 12)):
            self.world.scheduler.pause(self.random.choice((0.0, 1.0, 10.0, 60.0)) * self.random.random())
            act = self.random.choice(actions)
            self.counts[act.__name__] += 1
            act()
        self.user_done = True

    def drop(self) -> None:
        key = self.random.choice(self.keys)
        self.world.drop(key, self.random.choice(self.contents))
        if self.exchange is not None:  # an event may be lost, or told more than once
            for _ in range(self.random.choice((0, 1, 1, 1, 2, 5))):
                self.exchange.send(key)

    def remove(self) -> None:
        if self.world.bodies:
            self.world.delete(self.random.choice(sorted(self.world.bodies)))

    def evict(self) -> None:
        references = self.world.references()
        for key in references if self.random.random() < 0.5 else references[:1]:
            self.world.evict(key)
            self.world.scheduler.pause(0.01)

    def retry(self) -> None:
        world, key = self.world, self.random.choice(self.keys)
        sid = world.ledger.current.get(key)
        if sid is None:
            return
        world.ledger.retried.update(jid for jid, waiting in world.ledger.jobs_of.values() if waiting == sid)
        self.command(f"retry {key}", lambda jobs: Retry(jobs).key(key))

    def cancel(self) -> None:
        world, key = self.world, self.random.choice(self.keys)
        sid = world.ledger.current.get(key)
        if sid is None:
            return
        world.ledger.cancelled.add(sid)
        self.command(f"cancel {key}", lambda jobs: Cancel(jobs).key(key))

    def command(self, what: str, run: Callable[[Jobs], object]) -> None:
        """Somebody at a terminal, whose requests take their time, too."""
        world = self.world

        def hook(call: Call, phase: Phase) -> None:
            if phase == "before":
                world.scheduler.pause(self.random.random() * 0.02)
                world.trace("user", f"{call.method} {call.key}")

        store = world.store.connect("user", hook)
        try:
            told = run(Jobs(store, world.layout, SimClock(world.scheduler), world.settings, "user"))
            world.trace("user", f"{what}: {told}")
        except StoreError as error:
            world.trace("user", f"{what}: {error.message}")

    def watch(self) -> None:
        """Let everybody go home when all is done, or something is broken already."""
        while not (self.world.ledger.violations or (self.user_done and self.world.all_settled())):
            self.world.scheduler.pause(10.0)
        self.world.stop.set()


def simulate(seed: int, *, trace: bool = False) -> Outcome:
    folder = Path(tempfile.mkdtemp(prefix="proof-"))
    try:
        story = Story(seed, folder)
        if trace:
            story.world.log = []
        outcome = story.play()
        outcome.seed = seed
        return outcome
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main(arguments: list[str]) -> int:
    first = int(arguments[0])
    last = int(arguments[1]) if len(arguments) > 1 else first
    bad = 0
    for seed in range(first, last + 1):
        outcome = simulate(seed, trace=first == last)
        if first == last:
            print("\n".join(outcome.log))
        if outcome.violations or first == last:
            print(f"seed {seed}: {outcome.violations or 'right'}; work {outcome.work} of {outcome.ideal}")
        bad += bool(outcome.violations)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
