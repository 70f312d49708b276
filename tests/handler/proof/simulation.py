"""The seeded simulation: several workers, users who drop, overwrite and delete, and any fault at any request.

    python simulation.py SEED            replays one seed, with a trace
    python simulation.py FIRST LAST      runs a range, and prints what went wrong

What a seed does depends on nothing else.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from proof_ledger import USER
from proof_queue import Exchange
from proof_world import HOPELESS, KINDS, MAY_PASS, FaultKind, World, scratch

from handler.sweep import GRACE_SECONDS, Limits

BATCHES = ("all.batch.jsonl", "some.batch.jsonl")


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
        world.beside = self.random.random() < 0.5
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
        self.last_drops: dict[tuple[str, bytes], int] = {}  # (key, content) → the second

    def play(self, seed: int) -> Outcome:
        world = self.world
        for content in self.contents:
            if self.random.random() < 0.15:
                world.failing[content] = [MAY_PASS] * self.random.randrange(1, 4)
            elif self.random.random() < 0.05:
                world.failing[content] = [HOPELESS] * 50
        if self.random.random() < 0.3:
            self.before()
        for _ in range(self.random.randrange(1, 5)):
            self.hire(self.random.random() * 20)
        world.scheduler.spawn(USER, self.user)
        world.scheduler.spawn("watch", self.watch)
        world.run()
        self.counts["fetched ahead"] = sum(worker.tally.ahead for worker in world.workers.values())
        self.counts["received ahead"] = self.exchange.ahead if self.exchange is not None else 0
        return self.outcome(seed)

    def outcome(self, seed: int) -> Outcome:
        world, ledger = self.world, self.world.ledger
        counts = world.faults + self.counts
        counts["artifacts swept"], counts["artifacts evicted"] = world.terminal.swept, len(ledger.evicted)
        counts["subscribers served"] = ledger.subscribers
        for batch in BATCHES:
            marker = world.settled(batch)
            if marker is not None:
                counts[f"batches {marker}"] += 1
        return Outcome(
            seed,
            ledger.violations,
            len(ledger.runs),
            ledger.ideal,
            world.requests,
            world.scheduler.now,
            counts,
            world.log or [],
        )

    def before(self) -> None:
        """What some recordings gave was made days ago, by a worker to whom nothing happened."""
        faults, self.fault_rate = self.fault_rate, 0.0
        for content in self.contents[:2]:
            self.world.drop(f"before {content.decode()}.wav", content)
        self.world.hire(name="before", drain=True)
        self.world.let_all_end()
        self.world.age(2 * GRACE_SECONDS)
        self.fault_rate = faults

    def hire(self, delay: float) -> None:
        skew = self.random.choice((0.0, 0.0, -4000.0, 4000.0))
        told = self.exchange is not None and self.random.random() < 0.8
        source = self.exchange.source if told and self.exchange is not None else None
        self.world.hire(delay, skew=skew, source=source, ended=lambda name: self.hire(self.random.random() * 60))

    def meddle(self, worker: str, call: str) -> FaultKind | None:
        if worker == USER:  # who has a whole story to tell
            return None
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
            self.sweep,
            self.batch,
        ]
        self.drop()
        for _ in range(self.random.randrange(2, 12)):
            self.world.scheduler.pause(self.random.choice((0.0, 1.0, 10.0, 60.0)) * self.random.random())
            act = self.random.choice(actions)
            self.counts[act.__name__] += 1
            act()
        self.user_done = True

    def drop(self) -> None:
        key, content = self.random.choice(self.keys), self.random.choice(self.contents)
        now = self.world.scheduler.now
        if self.last_drops.get((key, content)) == int(now):  # S3 could not tell these two versions apart
            self.world.scheduler.pause(1.0 - now % 1.0)
        self.last_drops[key, content] = int(self.world.scheduler.now)
        self.world.drop(key, content)
        if self.exchange is not None:  # an event may be lost, or told more than once
            for _ in range(self.random.choice((0, 1, 1, 1, 2, 5))):
                self.exchange.send(key)

    def remove(self) -> None:
        there = sorted(self.world.ledger.versions.current)
        if there:
            self.world.delete(self.random.choice(there))

    def evict(self) -> None:
        references = self.world.references()
        for key in references if self.random.random() < 0.5 else references[:1]:
            self.world.evict(key)
            self.world.scheduler.pause(0.01)

    def batch(self) -> None:
        """All recordings, or some, are asked for under other options; a batch without any fails."""
        options = self.random.choice(({"utterances": False}, {"punctuate": False}))
        own = self.random.choice(("*", "0*", "[1-9]*"))
        self.world.drop_batch(self.random.choice(BATCHES), "*", options, own)

    def sweep(self) -> None:
        """Everything that was made before the story began, and lay there for days, may go."""
        self.world.terminal.sweep(Limits(cache_ttl=GRACE_SECONDS, cache_bytes=self.random.choice((None, 0))))

    def retry(self) -> None:
        self.world.terminal.retry(self.random.choice((*self.keys, *BATCHES)))

    def cancel(self) -> None:
        self.world.terminal.cancel(self.random.choice((*self.keys, *BATCHES)))

    def watch(self) -> None:
        """Let everybody go home when all is done, or something is broken already."""
        while not (self.world.ledger.violations or (self.user_done and self.world.all_settled())):
            self.world.scheduler.pause(10.0)
        self.world.stop.set()


def simulate(seed: int, *, ahead: bool = False, trace: bool = False) -> Outcome:
    with scratch() as folder:
        story = Story(seed, folder)
        story.world.ahead = ahead
        if trace:
            story.world.log = []
        return story.play(seed)


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
