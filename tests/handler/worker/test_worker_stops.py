"""A worker that is told to stop, one that waits for others, and the heart that beats meanwhile: in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from worker_rig import Crash, Rig, at, check_right, drain, give_up

from handler.clock import VirtualClock
from handler.fakes import OwnedClock, ScriptedEngine
from handler.store.base import Info
from handler.store.files import receive
from handler.store.memory import MemoryStore
from handler.worker import Worker
from pipeline.plan import GENERATING_OUTPUT, TRANSCRIBING
from pipeline.types import Done, Event

SPEECH = b"somebody talks"


def check_given_back(rig: Rig) -> None:
    record = rig.record()
    assert (record.state, record.attempts, record.takeovers, record.not_before) == ("waiting", 0, 0, None)
    assert rig.manifest("a.wav")["status"] == "queued"
    assert rig.settled("a.wav") is None


@pytest.mark.parametrize("stage", [TRANSCRIBING, GENERATING_OUTPUT])
def test_a_stop_gives_the_job_back(rig: Rig, stage: str) -> None:
    """A worker that is told to stop releases its lease at once; the next one redoes no finished stage."""
    rig.drop("a.wav", SPEECH)
    worker = rig.worker(engine := at(stage, lambda: worker.stop.set()))
    worker.run(drain=False)
    check_given_back(rig)
    again = drain(rig)
    kept = engine.ran[:-1]  # the stage in which it was stopped was not kept
    assert kept + again.ran == [TRANSCRIBING, GENERATING_OUTPUT]
    check_right(rig, "a.wav", SPEECH)


def test_a_stop_after_the_last_stage(rig: Rig) -> None:
    """Stopped between the last stage and the commit: the next worker commits what is there, without an engine."""

    class Stopping(ScriptedEngine):
        def run(self, *args: object, **kwargs: object) -> Iterator[Event | None]:
            for event in super().run(*args, **kwargs):  # type: ignore[arg-type]
                if isinstance(event, Done):
                    worker.stop.set()
                yield event

    rig.drop("a.wav", SPEECH)
    worker = rig.worker(Stopping())
    worker.run(drain=False)
    check_given_back(rig)
    assert drain(rig).jobs == 0
    check_right(rig, "a.wav", SPEECH)


class Slow(MemoryStore):
    """A recording comes in three pieces; at the second one the worker is told to stop."""

    stopped: Callable[[], object] = staticmethod(lambda: None)
    pieces = 0

    def download(self, info: Info, path: Path, *, check: Callable[[], None] = lambda: None) -> str:
        self.head(info.key)

        def pieces() -> Iterator[bytes]:
            for number in range(3):
                self.pieces += 1
                if number == 1:
                    self.stopped()
                yield b"piece"

        return receive(path, pieces(), check)


def slowly(rig: Rig, bucket: MemoryStore) -> tuple[Slow, Worker]:
    slow = Slow(rig.clock)
    slow._bucket = bucket._bucket
    worker = rig.worker(store=slow, max_attempts=1)
    slow.stopped = worker.stop.set
    return slow, worker


def test_a_stop_breaks_a_download_off(rig: Rig, bucket: MemoryStore) -> None:
    """A worker that is told to stop while it downloads a new recording stops at the next piece: no job, no failure is
    charged, nothing is left on its disk.
    """
    rig.drop("a.wav", SPEECH)
    slow, worker = slowly(rig, bucket)
    assert worker.sweep() == (True, True)
    assert slow.pieces == 2
    assert [path for path in rig.settings.work_dir.rglob("*") if path.is_file()] == []
    assert (rig.records(), rig.error("a.wav"), rig.settled("a.wav")) == ([], None, None)
    drain(rig)
    check_right(rig, "a.wav", SPEECH)


def test_a_stop_breaks_a_jobs_download_off(rig: Rig, bucket: MemoryStore) -> None:
    """The same within a job, whose recording was hashed before: the job is given back without a charge."""
    rig.drop("a.wav", SPEECH)
    with pytest.raises(Crash):
        rig.worker(at(TRANSCRIBING, give_up)).inputs.handle(rig.candidate("a.wav"))
    rig.clock.sleep(rig.settings.lease_seconds + 10)
    slow, worker = slowly(rig, bucket)
    assert worker.sweep() == (True, True)
    assert slow.pieces == 2
    record = rig.record()
    assert (record.state, record.attempts) == ("waiting", 0)
    assert [path for path in rig.settings.work_dir.rglob("*") if path.is_file()] == []
    drain(rig)
    check_right(rig, "a.wav", SPEECH)


def test_a_drain_waits_for_another_workers_lease(rig: Rig, clock: VirtualClock) -> None:
    """A drain does not end while somebody else has a job; when that lease has run out it takes the job over."""
    rig.drop("a.wav", SPEECH)

    with pytest.raises(Crash):
        rig.worker(at(TRANSCRIBING, give_up)).inputs.handle(rig.candidate("a.wav"))
    lost_at = clock.time()
    drain(rig)
    assert clock.time() - lost_at > rig.settings.lease_seconds
    assert rig.record().takeovers == 1
    check_right(rig, "a.wav", SPEECH)


def test_a_beat_carries_the_stage(rig: Rig, clock: OwnedClock) -> None:
    """While a stage runs, the lease is renewed, and the record says where the job stands."""
    seen: list[tuple[str, float]] = []

    def work() -> None:
        for _ in range(6):
            before = rig.store.get(key).etag
            clock.advance(rig.settings.beat_seconds)
            while rig.store.get(key).etag == before:
                pass
        record = rig.record()
        seen.append((record.stage, record.percent))

    rig.drop("a.wav", SPEECH)
    key = ""

    class Found(ScriptedEngine):
        def run(self, *args: object, **kwargs: object) -> Iterator[Event | None]:
            nonlocal key
            [key] = rig.keys(".dropscribe/v1/jobs/")
            return super().run(*args, **kwargs)  # type: ignore[arg-type]

    rig.worker(Found(between=lambda stage: work() if stage == TRANSCRIBING else None)).inputs.handle(
        rig.candidate("a.wav")
    )
    [(stage, percent)] = seen
    assert stage == TRANSCRIBING
    assert percent > 2
    assert rig.record().takeovers == 0
    check_right(rig, "a.wav", SPEECH)


def test_a_drain_does_not_spin(rig: Rig, bucket: MemoryStore) -> None:
    """An input that is dealt with, but whose marker does not come to be seen, is not looked at without a pause."""

    class Forgetful(MemoryStore):
        """Its listings never show a settled marker."""

        def list(self, prefix: str, *, start_after: str = "") -> Iterator[Info]:
            return iter(()) if prefix.endswith("settled/") else super().list(prefix, start_after=start_after)

    blind = Forgetful(rig.clock)
    blind._bucket = bucket._bucket
    rig.drop("a.wav", SPEECH)
    worker = rig.worker(store=blind)
    assert worker.sweep() == (False, True)
    assert worker.sweep() == (True, False)  # still there, but not due: the drain waits
    check_right(rig, "a.wav", SPEECH)
