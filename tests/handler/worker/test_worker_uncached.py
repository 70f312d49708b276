"""The option ``cache=false``: nothing is taken from others and nothing is given to them; what was finished for the very
input is found again.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from worker_rig import Died, Mortal, Rig, check_right, drain

from handler.fakes import OwnedClock, ScriptedEngine
from handler.retry import Retry
from handler.settings import Settings
from handler.store.memory import MemoryStore
from pipeline.plan import GENERATING_OUTPUT, TRANSCRIBING

SPEECH = b"somebody talks"
OWN = {"dropscribe": "cache=false"}
BOTH = [TRANSCRIBING, GENERATING_OUTPUT]


@pytest.fixture
def fresh(worker_settings: Settings) -> Callable[[], tuple[Rig, MemoryStore]]:
    """Makes an empty bucket in memory, on a clock of its own."""

    def make() -> tuple[Rig, MemoryStore]:
        clock = OwnedClock()
        bucket = MemoryStore(clock)
        return Rig(bucket, clock, worker_settings), bucket

    return make


def test_nothing_is_taken_and_nothing_is_given(rig: Rig, bucket: MemoryStore) -> None:
    """With the option, known bytes are run again; without it, they are taken from the others' job, never from that one.
    The words are the same.
    """
    for key, metadata, ran in (
        ("own.wav", OWN, BOTH),
        ("shared.wav", {}, BOTH),
        ("own too.wav", OWN, BOTH),
        ("known.wav", {}, []),
        ("part.wav", {"dropscribe": "utt_split=2"}, [GENERATING_OUTPUT]),
        ("own part.wav", {"dropscribe": "utt_split=2&cache=false"}, BOTH),
    ):
        bucket.drop(f"input/{key}", SPEECH, metadata)
        assert drain(rig).ran == ran, key
        check_right(rig, key, SPEECH)
        rig.clock.sleep(1)
    assert len(rig.records()) == 5
    assert len(bucket.keys(".dropscribe/v1/stages/")) == 3 * 2 + 2 + 1


def test_each_version_is_a_job_of_its_own(rig: Rig, bucket: MemoryStore) -> None:
    """The same bytes dropped again under the same key are run again."""
    for _ in range(2):
        bucket.drop("input/a.wav", SPEECH, OWN)
        assert drain(rig).ran == BOTH
        check_right(rig, "a.wav", SPEECH)
        rig.clock.sleep(10)
    assert len(rig.records()) == 2


def test_side_by_side_they_do_not_wait_for_each_other(rig: Rig, bucket: MemoryStore) -> None:
    """Nobody joins such a job: of two equal recordings each has its own."""
    bucket.drop("input/a.wav", SPEECH, OWN)
    bucket.drop("input/b.wav", SPEECH, OWN)
    assert drain(rig).ran == [*BOTH, *BOTH]
    assert sorted(len(record.subscribers) for record in rig.records()) == [1, 1]


def test_a_redelivery_is_known(rig: Rig, bucket: MemoryStore) -> None:
    """Heard of again, retried, or without its marker, it is not run again, and its result keeps its bytes."""
    bucket.drop("input/a.wav", SPEECH, OWN)
    drain(rig)
    before = rig.body("results/a.wav.json")
    engine = ScriptedEngine()
    assert rig.worker(engine).inputs.handle(rig.candidate("a.wav"))
    bucket.delete(rig.layout.settled_key(rig.candidate("a.wav").source.sid))
    rig.worker(engine).run(drain=True)
    Retry(rig.jobs("retry")).key("a.wav")
    rig.worker(engine).run(drain=True)
    assert engine.jobs == 0
    assert rig.body("results/a.wav.json") == before
    assert len(rig.records()) == 1


def test_dying_at_every_request(fresh: Callable[[], tuple[Rig, MemoryStore]]) -> None:
    """Whoever dies with such a job is replaced, and no stage is run twice whose artifact was stored."""
    for at, after in itertools.product(range(1, 60), (False, True)):
        rig, bucket = fresh()
        bucket.drop("input/a.wav", SPEECH, OWN)
        died = False
        try:
            rig.worker(store=Mortal(bucket, at, after)).run(drain=True)
        except Died:
            died = True
        kept = rig.kept_stages()
        assert not set(kept) & set(drain(rig).ran), (at, after)
        check_right(rig, "a.wav", SPEECH)
        assert rig.record().attempts == 0
        assert rig.keys("results/") == ["results/a.wav.json"]
        if not died:
            break
    assert at > 8
