"""Engines whose jobs take long enough for a worker to look at what comes next, and what can be seen of that: downloads,
files on its disk, messages that it keeps from others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from queue_rig import Post
from worker_rig import Crash, Rig, check_right

from handler.clock import Clock
from handler.fakes import OwnedClock, ScriptedEngine
from handler.store.memory import MemoryStore
from handler.worker import Worker
from handler.worker.beside import in_turn
from pipeline.plan import TRANSCRIBING
from pipeline.types import Event, Progress

FIRST, SECOND, THIRD = b"the first recording", b"the second recording", b"the third recording"
NAMES = ("a.wav", "b.wav", "c.wav")


class Long(ScriptedEngine):
    """Takes three seconds for a job. ``after``: called in the third one, with the number of the job, when there was
    time for three looks at what is next.
    """

    def __init__(self, clock: Clock, after: Callable[[int], object] = lambda job: None, **given: Any) -> None:
        super().__init__(**given)
        self._clock = clock
        self._after = after

    def run(self, *args: Any, **given: Any) -> Iterator[Event | None]:
        for event in super().run(*args, **given):
            yield event
            if isinstance(event, Progress):
                self._clock.sleep(2.0)
                for _ in range(3):
                    yield None
                self._after(self.jobs)
                self._clock.sleep(1.0)
                yield None


class Foretelling(ScriptedEngine):
    """A job says, one after the other, in how many seconds it is over (``left``); after each time two seconds pass,
    and the worker comes by. ``look``: called then, with the job's number and how often that was before.
    """

    def __init__(
        self,
        clock: OwnedClock,
        left: Sequence[float] = (20.0,),
        look: Callable[[int, int], object] = lambda job, place: None,
        **given: Any,
    ) -> None:
        super().__init__(**given)
        self._clock = clock
        self._left = left
        self._look = look

    def run(self, *args: Any, **given: Any) -> Iterator[Event | None]:
        for event in super().run(*args, **given):
            if not isinstance(event, Progress):
                yield event
                continue
            for place, left in enumerate(self._left):
                if left >= 0:  # below: nothing is said
                    yield Progress(stage=TRANSCRIBING, percent=10, job_eta=left + 2.0)
                self._clock.sleep(2.0)
                for _ in range(3):
                    yield None
                self._look(self.jobs, place)


# ── what can be seen ─────────────────────────────────────────────────────────────────────────────────────────────────


def client(rig: Rig) -> MemoryStore:
    store = rig.store
    assert isinstance(store, MemoryStore)
    return store.client()


def downloads(store: MemoryStore) -> list[str]:
    return [call.key.removeprefix("input/") for call in store.calls if call.method == "download"]


def files(rig: Rig, suffix: str = "") -> list[Path]:
    """What lies on the disk, but for locks."""
    found = rig.settings.work_dir.rglob(f"*{suffix}")
    return [path for path in found if path.is_file() and path.name != ".lock"]


def check_all(rig: Rig, names: Sequence[str] = NAMES) -> None:
    for name in names:
        check_right(rig, name, name.encode())


def held(post: Post) -> int:
    """Messages that nobody else can receive."""
    return sum(seconds > 0 for seconds in post.sqs.hidden(post.url))


def shown(post: Post) -> int:
    """Requests by which messages were given back at once."""
    calls = [given for method, given in post.sqs.calls if method == "change_message_visibility"]
    return sum(given["VisibilityTimeout"] == 0 for given in calls)


def meanwhile(rig: Rig, act: Callable[[], object]) -> tuple[Worker, Long, MemoryStore]:
    """Something happens while the first job is under way and the second recording is here."""
    store = client(rig)

    def after(job: int) -> None:
        if job == 1:
            try:
                assert downloads(store) == ["a.wav", "b.wav"]
                assert len(files(rig, ".wav")) == 2
                act()
            except AssertionError as error:  # a worker makes an attempt of what an engine raises
                raise Crash from error

    engine = Long(rig.clock, after)
    return rig.worker(engine, store=store, ahead=in_turn), engine, store
