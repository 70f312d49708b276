"""How a lease ends: commit, failure, giving back; with inputs that join meanwhile, and answers that were lost."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable

import pytest
from protocol_rig import (
    ENDS,
    JOB,
    JOB_KEY,
    LEASE,
    SETTINGS,
    Fault,
    claimed,
    commit,
    every_write,
    record_of,
    subscriber,
    trouble,
    worker,
)

from handler.answers import Later
from handler.clock import VirtualClock
from handler.errors import LeaseLost, Unavailable
from handler.lease import KEPT_FAILURES, SWAP_TRIES, Lease
from handler.store.memory import Call, MemoryStore, Phase
from handler.types import JobRecord

# ── joined meanwhile ─────────────────────────────────────────────────────────────────────────────────────────────────


@every_write
def test_joiners_are_merged(memory_store: MemoryStore, write: Callable[[Lease], JobRecord]) -> None:
    """A write that is refused because an input joined is made again, with that input in it."""
    lease = claimed(worker(memory_store, "one"))
    for name in ("b.wav", "c.wav"):
        worker(memory_store, "two").claim(JOB, subscriber(name), 0)
    record = write(lease)
    assert [waiting.key for waiting in record.subscribers] == ["a.wav", "b.wav", "c.wav"]
    assert lease.record == record
    assert record_of(memory_store).subscribers == record.subscribers
    assert record_of(memory_store).state == record.state


def test_joining_does_not_move_the_deadline(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """A beat that found a joiner counts from when its second write began, not from the joiner's."""
    client = memory_store.client()
    lease = claimed(worker(client, "one"))
    deadline = lease.deadline
    virtual_clock.advance(50)
    worker(memory_store, "two").claim(JOB, subscriber("b.wav"), 0)
    client.hook = None
    events = itertools.count(1)

    def lose(call: Call, phase: Phase) -> None:
        if next(events) > 4:  # the refused PUT and what was read back are answered; then there is silence
            raise Unavailable("no answer")

    client.hook = lose
    with pytest.raises(Unavailable):
        lease.beat()
    assert (lease.deadline, len(lease.record.subscribers)) == (deadline, 2)
    client.hook = None
    start = virtual_clock.monotonic()
    lease.beat()
    assert lease.deadline == start + LEASE


def test_merging_is_bounded(memory_store: MemoryStore) -> None:
    """A record that changes under every try loses the beat, not the worker."""

    def meddle(call: Call, phase: Phase) -> None:
        if (call.method, phase) == ("put", "before") and len(client.calls) > 1:
            fields = json.loads(memory_store.peek(JOB_KEY) or b"")
            memory_store.drop(JOB_KEY, json.dumps({**fields, "nonce": str(len(client.calls))}).encode())

    client = memory_store.client(meddle)
    lease = claimed(worker(client, "one"))
    with pytest.raises(LeaseLost):
        lease.beat()
    assert client.counts()["PUT"] == 1 + SWAP_TRIES


# ── answers that were lost ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["commit", "fail", "release"])
def test_any_two_faults(virtual_clock: VirtualClock, name: str) -> None:
    """Whichever two requests or answers are lost, an end is written once and known to be."""
    for at in itertools.chain([()], itertools.combinations(range(1, 7), 1), itertools.combinations(range(1, 7), 2)):
        store = MemoryStore(virtual_clock)
        client = store.client()
        lease = claimed(worker(client, "one"))
        worker(store, "two").claim(JOB, subscriber("b.wav"), 0)
        events = itertools.count(1)

        def lose(call: Call, phase: Phase) -> None:
            if next(events) in at:  # noqa: B023
                raise Unavailable("lost")

        client.hook = lose
        record = ENDS[name](lease)
        stored = record_of(store)
        assert stored == record.model_copy(update={"nonce": stored.nonce})
        assert stored.attempts == (1 if name == "fail" else 0)
        assert len(stored.subscribers) == 2


def test_a_commit_nobody_heard_of_stands(memory_store: MemoryStore) -> None:
    """A commit that was applied, though all its answers were lost, is not undone by giving the job back."""
    client = memory_store.client()
    lease = claimed(worker(client, "one"))
    client.hook = Fault(times=1000)
    with pytest.raises(Unavailable):
        commit(lease)
    client.hook = None
    before = memory_store.peek(JOB_KEY)
    with pytest.raises(LeaseLost):
        lease.release()
    assert memory_store.peek(JOB_KEY) == before
    assert record_of(memory_store).state == "done"


# ── ends ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_commit_says_everything(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """The committed record holds what publishing needs, dated by the store's clock, in one write."""
    lease = claimed(worker(memory_store, "one"))
    virtual_clock.advance(12.5)
    memory_store.calls.clear()
    commit(lease, "e" * 64)
    assert memory_store.counts() == {"PUT": 1}
    record = record_of(memory_store)
    assert (record.state, record.result, record.stage, record.percent) == ("done", "e" * 64, "completed", 100.0)
    assert record.committed_at == 1_700_000_012.5
    assert record.facts is not None
    assert (record.facts.duration, record.stages, record.timings) == (
        60.0, {"generating_output": "e" * 64}, {"transcribing": 1.0},
    )  # fmt: skip


def test_failures_are_charged(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """Each failure charges one attempt and is remembered; the wait doubles, with jitter; the last one is the end."""
    patient = SETTINGS.model_copy(update={"max_attempts": 6, "backoff_seconds": 8.0})
    waits = []
    for attempt in range(1, 7):
        lease = claimed(worker(memory_store, f"worker-{attempt}", settings=patient))
        record = lease.fail(trouble())
        assert (record.attempts, record.takeovers) == (attempt, 0)
        assert [(one.attempt, one.worker) for one in record.failures][-1] == (attempt, f"worker-{attempt}")
        if record.not_before is not None:
            waits.append((record.not_before - virtual_clock.time()) / (8.0 * 2 ** (attempt - 1)))
            virtual_clock.advance(record.not_before - virtual_clock.time())
    assert (record.state, record.stage, record.not_before, len(record.failures)) == ("dead", "failed", None, 6)
    assert all(0.5 <= wait < 1.5 for wait in waits)
    assert len(set(waits)) == 5
    assert record.error == trouble()


def test_hopeless_failures_are_final(memory_store: MemoryStore) -> None:
    """What no retry can mend is dead at its first failure."""
    record = claimed(worker(memory_store, "one")).fail(trouble(retryable=False))
    assert (record.state, record.attempts, record.not_before) == ("dead", 1, None)


def test_only_the_last_failures_are_kept(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """The record does not grow with every failure: the newest stay."""
    stubborn = SETTINGS.model_copy(update={"max_attempts": 100})
    for _ in range(KEPT_FAILURES + 3):
        record = claimed(worker(memory_store, "one", settings=stubborn)).fail(trouble())
        virtual_clock.advance(1e6)
    assert [one.attempt for one in record.failures] == list(range(4, KEPT_FAILURES + 4))


@pytest.mark.parametrize("wait", [0.0, 5.0])
def test_giving_back_is_free(memory_store: MemoryStore, virtual_clock: VirtualClock, wait: float) -> None:
    """A job that is given back is charged nothing, and is free again at once or after the given wait."""
    record = claimed(worker(memory_store, "one")).release(wait)
    assert (record.state, record.attempts, record.takeovers, record.failures) == ("waiting", 0, 0, ())
    two = worker(memory_store, "two")
    if wait:
        answer = two.claim(JOB, subscriber(), 0)
        assert isinstance(answer, Later)
        assert answer.seconds == wait
        virtual_clock.advance(wait)
    assert claimed(two).record.takeovers == 0
