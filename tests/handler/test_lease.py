"""Leases: renewed by beats, ended by one write, refused once they are lost, and never believed for too long."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from protocol_rig import (
    JOB,
    JOB_KEY,
    LEASE,
    SETTINGS,
    Fault,
    WholeSeconds,
    claimed,
    commit,
    every_write,
    record_of,
    subscriber,
    worker,
)

from handler.answers import Busy
from handler.clock import VirtualClock
from handler.errors import LeaseLost, Unavailable
from handler.job import EXPIRY_SLACK
from handler.lease import Lease
from handler.store.memory import Call, MemoryStore, Phase
from handler.types import JobRecord


class Span:
    """A holder, its store and an observer: the clocks of all three run on together."""

    def __init__(self, lease: float = LEASE) -> None:
        self.settings = SETTINGS.model_copy(update={"lease_seconds": lease})
        self.server = VirtualClock(start=1_700_000_000.6)
        self.store = WholeSeconds(self.server)
        self.here = VirtualClock(start=77.0)
        self.client = self.store.client()
        self.lease = claimed(worker(self.client, "holder", self.here, self.settings), at=self.server.time())
        self.count = itertools.count()

    def pass_time(self, seconds: float) -> None:
        self.server.advance(seconds)
        self.here.advance(seconds)

    def slow(self, before: float, after: float, *, lost: bool) -> None:
        """What the holder's next requests take; with ``lost`` no answer ever comes back."""

        def hook(call: Call, phase: Phase) -> None:
            self.pass_time(before if phase == "before" else after)
            if lost and phase == "after":
                raise Unavailable("no answer")

        self.client.hook = hook

    def observe(self) -> Lease | object:
        name = f"{next(self.count)}.wav"
        return worker(self.store, "observer", VirtualClock(0)).claim(JOB, subscriber(name), 0)


# ── renewing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_beats_renew(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """A job whose worker beats is its own for as long as it likes; the pointers ride along in the same write."""
    lease = claimed(worker(memory_store, "one"))
    two = worker(memory_store, "two")
    for turn in range(10):
        virtual_clock.advance(SETTINGS.beat_seconds * 2)
        memory_store.calls.clear()
        lease.beat(stage="transcribing", percent=float(turn))
        assert memory_store.counts() == {"PUT": 1}
        virtual_clock.advance(SETTINGS.beat_seconds - 1)
        assert isinstance(two.claim(JOB, subscriber(), 0), Busy)
    record = record_of(memory_store)
    assert (record.stage, record.percent, record.lease_age, record.token) == ("transcribing", 9.0, 0.0, lease.token)
    virtual_clock.advance(LEASE)
    assert lease.lost
    assert claimed(two).record.takeovers == 1


def test_beats_restart_the_age(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """What joiners carried over of the lease's age ends with the holder's next beat."""
    lease = claimed(worker(memory_store, "one"))
    virtual_clock.advance(80)
    worker(memory_store, "two").claim(JOB, subscriber("b.wav"), 0)
    assert record_of(memory_store).lease_age == 80
    lease.beat()
    assert record_of(memory_store).lease_age == 0
    virtual_clock.advance(80)
    assert isinstance(worker(memory_store, "two").claim(JOB, subscriber("c.wav"), 0), Busy)


@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("known", [False, True])
def test_the_deadline_counts_from_before_the_write(
    memory_store: MemoryStore, virtual_clock: VirtualClock, phase: Phase, known: bool
) -> None:
    """However slow a claim or a beat is on its way, the holder stops a lease's length after it began to send it."""

    def slow(call: Call, now: Phase) -> None:
        if (call.method, now) == ("put", phase):
            starts.append(virtual_clock.monotonic())
            virtual_clock.advance(20)

    starts: list[float] = []
    if known:
        claimed(worker(memory_store, "two")).release()
    lease = claimed(worker(memory_store.client(slow), "one"))
    assert lease.deadline == starts[-1] + LEASE
    start = virtual_clock.monotonic()
    lease.beat()
    assert lease.deadline == start + LEASE


def test_a_beat_without_an_answer_renews_nothing(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """A beat that may not have been applied does not put the deadline off; the next one goes on from what is there."""
    client = memory_store.client()
    lease = claimed(worker(client, "one"))
    deadline = lease.deadline
    client.hook = Fault(times=1000)
    virtual_clock.advance(10)
    with pytest.raises(Unavailable):
        lease.beat(stage="transcribing")
    assert lease.deadline == deadline
    assert record_of(memory_store).stage == "transcribing"
    client.hook = None
    lease.beat(stage="generating_output")
    assert lease.deadline > deadline
    assert record_of(memory_store).stage == "generating_output"


_seconds = st.floats(0, 60, allow_nan=False) | st.sampled_from([0.0, 0.4, 29.99, LEASE / 2, LEASE - 1, LEASE])
_steps = st.one_of(
    st.tuples(st.just("pass"), _seconds, _seconds),
    st.tuples(st.just("join"), _seconds, _seconds),
    st.tuples(st.just("beat"), st.floats(0, 30), st.floats(0, 30)),
    st.tuples(st.just("lost beat"), st.floats(0, 5), st.floats(0, 5)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_steps, max_size=12), _seconds, st.sampled_from([LEASE, LEASE - 0.5, 30.3]))
def test_the_holder_knows_first(steps: list[tuple[str, float, float]], last: float, length: float) -> None:
    """Whenever another's claim succeeds, the holder already says `lost`: two workers never both believe they have it.
    Whatever the beats' delays, joins and lost answers, and though the store's ages are off by up to a second.
    """
    span = Span(length)
    for what, one, two in [*steps, ("join", last, 0.0)]:
        span.slow(one, two, lost=what == "lost beat")
        if "beat" in what:
            with contextlib.suppress(LeaseLost, Unavailable):
                span.lease.beat()
        else:
            span.pass_time(one)
        lost = span.lease.lost
        if what == "join" and isinstance(span.observe(), Lease):
            assert lost
            return


@pytest.mark.parametrize("offset", [number / 8 for number in range(8)])
@pytest.mark.parametrize("length", [LEASE, 9.5])
def test_the_last_moment(offset: float, length: float) -> None:
    """At the very moment before its deadline the holder's job cannot be taken, wherever in a second it began."""
    span = Span(length)
    span.pass_time(offset)
    span.lease.beat()
    span.pass_time(length - 0.001)
    assert not span.lease.lost
    assert isinstance(span.observe(), Busy)
    span.pass_time(EXPIRY_SLACK + 1.01)
    assert span.lease.lost
    assert isinstance(span.observe(), Lease)


# ── losing ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@every_write
def test_a_zombie_writes_nothing(write: Callable[[Lease], JobRecord]) -> None:
    """A worker that was frozen and wakes after a takeover, its own clock none the wiser, is refused every write."""
    server, frozen = VirtualClock(), VirtualClock(start=3.0)
    store = MemoryStore(server)
    zombie = claimed(worker(store, "zombie", frozen))
    server.advance(LEASE + EXPIRY_SLACK + 1)
    heir = claimed(worker(store, "heir"))
    before = store.peek(JOB_KEY)
    assert not zombie.lost
    with pytest.raises(LeaseLost):
        write(zombie)
    assert zombie.lost
    assert store.peek(JOB_KEY) == before
    assert commit(heir).state == "done"


@every_write
def test_nothing_is_sent_after_the_deadline(
    memory_store: MemoryStore, virtual_clock: VirtualClock, write: Callable[[Lease], JobRecord]
) -> None:
    """Once its own clock says that the lease may be over, the holder does not even try."""
    client = memory_store.client()
    lease = claimed(worker(client, "one"))
    virtual_clock.advance(LEASE)
    client.calls.clear()
    with pytest.raises(LeaseLost):
        write(lease)
    assert client.calls == []


@every_write
@pytest.mark.parametrize("present", ["cancelled", "deleted", "garbage", "another worker's"])
def test_what_loses_a_lease(memory_store: MemoryStore, write: Callable[[Lease], JobRecord], present: str) -> None:
    """A record that was cancelled, deleted, damaged or made anew by another is not written over; the lease is lost."""
    lease = claimed(worker(memory_store, "one"))
    fields = json.loads(memory_store.peek(JOB_KEY) or b"")
    if present == "deleted":
        memory_store.delete(JOB_KEY)
    elif present == "garbage":
        memory_store.drop(JOB_KEY, b"garbage")
    else:
        changed = {"state": "cancelled"} if present == "cancelled" else {"worker": "two"}
        memory_store.drop(JOB_KEY, json.dumps({**fields, **changed}).encode())
    before = memory_store.peek(JOB_KEY)
    with pytest.raises(LeaseLost):
        write(lease)
    assert lease.lost
    assert memory_store.peek(JOB_KEY) == before


def test_a_beat_after_the_commit(memory_store: MemoryStore) -> None:
    """The heart may beat once more after the job was committed: refused, and the record stays done."""
    lease = claimed(worker(memory_store, "one"))
    commit(lease)
    before = memory_store.peek(JOB_KEY)
    with pytest.raises(LeaseLost):
        lease.beat(stage="transcribing")
    assert memory_store.peek(JOB_KEY) == before


def test_the_heart_and_the_worker(memory_store: MemoryStore) -> None:
    """Beats from another thread neither lose the lease, nor what the worker commits."""
    lease = claimed(worker(memory_store, "one"))
    beating, refused = threading.Event(), threading.Event()

    def heart() -> None:
        for _ in range(10_000):
            try:
                lease.beat(stage="transcribing")
            except LeaseLost:
                refused.set()
                return
            beating.set()

    thread = threading.Thread(target=heart)
    thread.start()
    assert beating.wait(30)
    commit(lease)
    thread.join(30)
    assert refused.is_set()
    assert record_of(memory_store).state == "done"
