"""Somebody at a terminal in the proof's world: the handler's own commands, whose requests meet faults like a worker's.

Each command gives whether it told how it went. Only a task of the scheduler may call one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from proof_ledger import USER
from sim_scheduler import Killed, SimClock

from handler.cancel import Cancel
from handler.errors import NotFound, StoreError
from handler.job import Jobs
from handler.retry import Retry
from handler.sweep import Limits, Sweep, Swept

if TYPE_CHECKING:
    from proof_world import World


class Terminal:
    def __init__(self, world: World) -> None:
        self._world = world
        self.swept = 0  # references and blobs

    def cancel(self, key: str) -> bool:
        """``dropscribe cancel``."""
        sid = self._world.ledger.versions.current.get(key)
        if sid is None:
            return True
        self._world.ledger.versions.cancelled.add(sid)
        return self._command(f"cancel {key}", lambda jobs: Cancel(jobs).key(key))

    def retry(self, key: str) -> bool:
        """``dropscribe retry``."""
        sid = self._world.ledger.versions.current.get(key)
        if sid is None:
            return True
        self._world.ledger.retry(sid)
        return self._command(f"retry {key}", lambda jobs: Retry(jobs).key(key))

    def sweep(self, limits: Limits) -> bool:
        """``dropscribe cache prune``."""

        def run(jobs: Jobs) -> Swept:
            swept = Sweep(jobs.store, jobs.layout, side_by_side=1).run(limits)
            self.swept += swept.references + swept.blobs
            return swept

        return self._command("sweep", run)

    def insist(self, command: Callable[[], bool], delay: float = 0.0) -> None:
        """Somebody at a terminal, who gives a command until it tells how it went, in a task called `USER`."""

        def run() -> None:
            try:
                while not command():
                    self._world.scheduler.pause(1.0)
            except Killed:
                self.insist(command, 5.0)
                raise

        self._world.tasks[USER] = self._world.scheduler.spawn(USER, run, delay)

    def _command(self, what: str, run: Callable[[Jobs], object]) -> bool:
        world = self._world
        store = world.store.connect(USER, world.hook(USER))
        try:
            told = run(Jobs(store, world.layout, SimClock(world.scheduler), world.settings, USER))
        except StoreError as error:
            world.trace(USER, f"{what}: {error.message}")
            return isinstance(error, NotFound)
        world.trace(USER, f"{what}: {told}")
        return True
