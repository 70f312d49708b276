"""A seeded scheduler: tasks run one at a time, in an order that the seed decides, on a clock that moves only when all
wait.

Each task is a thread, but only the one that holds the baton runs; it gives the baton up in `Scheduler.pause`, which
every request to the store and every sleep goes through. So a run is a function of its seed, and a failure can be
replayed.
"""

from __future__ import annotations

import heapq
import random
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

Answer = TypeVar("Answer")

START = 1_700_000_000.0  # epoch seconds, of the store's clock


class Killed(BaseException):
    """The task was killed: like SIGKILL, nothing of it runs any more. No `except Exception` may hold it up."""


class OutOfTime(BaseException):
    """The run took longer than it may; it is over for everybody."""


@dataclass(slots=True, eq=False)
class Task:
    name: str
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    killed: bool = False
    over: bool = False
    error: BaseException | None = None


class Scheduler:
    """``limit``: seconds of the virtual clock after which everybody gets `OutOfTime`."""

    def __init__(self, seed: int, limit: float = 1e6) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.limit = limit
        self._queue: list[tuple[float, float, int, Task]] = []
        self._count = 0
        self._tasks: list[Task] = []
        self._finished = threading.Semaphore(0)
        self._current: Task | None = None

    def spawn(self, name: str, run: Callable[[], object], delay: float = 0.0) -> Task:
        """A task that starts ``delay`` seconds from now."""
        task = Task(name)
        self._tasks.append(task)

        def body() -> None:
            task.go.acquire()
            try:
                if not task.killed:
                    run()
            except (Killed, OutOfTime):
                pass
            except BaseException as error:
                task.error = error
            task.over = True
            self._next(None)

        threading.Thread(target=body, name=name, daemon=True).start()
        self._push(task, delay)
        return task

    def run(self) -> None:
        """Until every task is over. Raises the first task's error there is."""
        self._next(None)
        self._finished.acquire()
        for task in self._tasks:
            if task.error is not None:
                raise task.error

    @property
    def current(self) -> Task | None:
        """The one that runs now; None before and after all."""
        return self._current

    def pause(self, seconds: float = 0.0) -> None:
        """Let others run; come back after ``seconds``. `Killed`, `OutOfTime`."""
        task = self._current
        assert task is not None
        if task.killed:  # it is unwinding: its requests go nowhere
            raise Killed
        self._push(task, seconds)
        self._next(task)
        if task.killed:
            raise Killed
        if self.now > self.limit:
            raise OutOfTime

    def kill(self, task: Task) -> None:
        """As SIGKILL: the task ends where it stands, at its next request or sleep."""
        task.killed = True

    def _push(self, task: Task, seconds: float) -> None:
        self._count += 1
        heapq.heappush(self._queue, (self.now + seconds, self.random.random(), self._count, task))

    def _next(self, caller: Task | None) -> None:
        """Hand the baton to whoever is due first; a caller that is due itself goes on without a switch of threads."""
        if not self._queue:
            self._current = None
            self._finished.release()
            return
        at, _, _, task = heapq.heappop(self._queue)
        self.now = max(self.now, at)
        self._current = task
        if task is caller:
            return
        task.go.release()
        if caller is not None:
            caller.go.acquire()


class SimAnswer(Future[Answer]):
    """What a task of its own is asked for: whoever waits for it lets others run meanwhile."""

    def __init__(self, scheduler: Scheduler, ask: Callable[[], Answer]) -> None:
        super().__init__()
        self._scheduler = scheduler
        self.task = scheduler.spawn("beside", partial(self._run, ask))

    def _run(self, ask: Callable[[], Answer]) -> None:
        try:
            self.set_result(ask())
        except Exception as error:
            self.set_exception(error)

    def result(self, timeout: float | None = None) -> Answer:
        while not self.done():
            self._scheduler.pause(0.005)
        return super().result(timeout)


class SimClock:
    """One worker's clock (`handler.clock.Clock`). ``skew``: seconds that its idea of the epoch is off."""

    def __init__(self, scheduler: Scheduler, skew: float = 0.0) -> None:
        self._scheduler = scheduler
        self._skew = skew

    def time(self) -> float:
        return START + self._scheduler.now + self._skew

    def monotonic(self) -> float:
        return self._scheduler.now

    def sleep(self, seconds: float) -> None:
        self._scheduler.pause(max(0.0, seconds))

    def wait(self, event: threading.Event, seconds: float) -> bool:
        if not event.is_set():
            self._scheduler.pause(max(0.0, seconds))
        return event.is_set()

    def random(self) -> float:
        return self._scheduler.random.random()

    def new_id(self) -> str:
        return f"{self._scheduler.random.getrandbits(128):032x}"
