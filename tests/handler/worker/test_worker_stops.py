"""A worker that is told to stop, one that waits for others, and the heart that beats meanwhile: in virtual time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from worker_rig import Crash, Rig, at, check_right, drain, give_up

from handler.clock import VirtualClock
from handler.fakes import OwnedClock, ScriptedEngine
from handler.store.base import Info
from handler.store.memory import MemoryStore
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


def test_a_drain_waits_for_another_workers_lease(rig: Rig, clock: VirtualClock) -> None:
    """A drain does not end while somebody else has a job; when that lease has run out it takes the job over."""
    rig.drop("a.wav", SPEECH)

    with pytest.raises(Crash):
        rig.worker(at(TRANSCRIBING, give_up)).handle(rig.candidate("a.wav"))
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

    rig.worker(Found(between=lambda stage: work() if stage == TRANSCRIBING else None)).handle(rig.candidate("a.wav"))
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
