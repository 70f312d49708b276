"""Claims: who gets a job, who joins it, who must wait, and what becomes of one that its workers lost."""

from __future__ import annotations

import pytest
from protocol_rig import (
    JOB,
    LEASE,
    SETTINGS,
    change,
    claimed,
    commit,
    identity,
    race,
    record_of,
    subscriber,
    trouble,
    worker,
)

from handler.answers import Busy, Finished, Later
from handler.clock import Clock, SystemClock, VirtualClock
from handler.errors import LeaseLost
from handler.job import EXPIRY_SLACK, MAX_SUBSCRIBERS
from handler.lease import Lease
from handler.store.base import Store
from handler.store.memory import MemoryStore

# ── free jobs ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_one_of_many_claims_wins(kind: str, request: pytest.FixtureRequest) -> None:
    """Of workers that claim one job at the same moment exactly one gets it; the others' inputs all wait for it."""
    store: Store = request.getfixturevalue(f"{kind}_store")

    def claim(number: int) -> Lease | Busy | Later | Finished:
        clock: Clock = SystemClock()
        waiting = subscriber(f"{number}.wav")
        return worker(store, f"worker-{number}", clock).claim(job, waiting, clock.time())

    for turn in range(10):
        job = identity(f"talk {turn}")
        answers = race(8, claim)
        leases = [answer for answer in answers if isinstance(answer, Lease)]
        assert len(leases) == 1
        assert all(isinstance(answer, Lease) or (isinstance(answer, Busy) and answer.subscribed) for answer in answers)
        record = record_of(store, job)
        assert {waiting.key for waiting in record.subscribers} == {f"{number}.wav" for number in range(8)}
        assert (record.token, record.worker) == (leases[0].token, leases[0].record.worker)


def test_a_new_job_costs_one_request(memory_store: MemoryStore) -> None:
    """A job that nobody knows is claimed by one PUT, without a look at what might be there."""
    lease = claimed(worker(memory_store, "one"))
    assert memory_store.counts() == {"PUT": 1}
    assert lease.created
    assert record_of(memory_store) == lease.record.model_copy(update={"nonce": record_of(memory_store).nonce})


def test_the_life_of_a_job(store: Store) -> None:
    """On every store: claim, join, merge, fail, wait, claim again, commit; then nobody runs it again."""
    clock: Clock = store.clock if isinstance(store, MemoryStore) else SystemClock()
    first, second = worker(store, "one", clock), worker(store, "two", clock)
    now = clock.time()
    lease = claimed(first, at=now)
    busy = second.claim(JOB, subscriber("b.wav"), now)
    assert isinstance(busy, Busy)
    assert busy.subscribed
    assert [waiting.key for waiting in lease.beat(stage="transcribing").subscribers] == ["a.wav", "b.wav"]
    lease.fail(trouble())
    later = second.claim(JOB, subscriber("b.wav"), now)
    assert isinstance(later, Later)
    assert 0 < later.seconds < SETTINGS.backoff_seconds * 1.5 + 2
    second.revive(*second.read(JOB.jid))
    again = claimed(second, subscriber("b.wav"), at=now)
    assert again.token > lease.token
    commit(again)
    finished = first.claim(JOB, subscriber(), now)
    assert isinstance(finished, Finished)
    assert finished.record.state == "done"
    with pytest.raises(LeaseLost):
        lease.beat()


# ── held jobs ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_joining_adds_the_input_once(memory_store: MemoryStore) -> None:
    """The same content under another name waits for the job that runs; asking again writes nothing."""
    claimed(worker(memory_store, "one"))
    other = memory_store.client()
    for _ in range(2):
        busy = worker(other, "two").claim(JOB, subscriber("b.wav"), 0)
        assert isinstance(busy, Busy)
        assert busy.subscribed
    assert [waiting.key for waiting in record_of(memory_store).subscribers] == ["a.wav", "b.wav"]
    assert [call.verb for call in other.calls] == ["PUT", "GET", "PUT", "PUT", "GET"]


def test_joining_does_not_renew(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """A dead worker's job is taken over in time, however often others join it meanwhile."""
    claimed(worker(memory_store, "one"))
    two = worker(memory_store, "two")
    for number in range(100):
        virtual_clock.advance(5)
        answer = two.claim(JOB, subscriber(f"{number}.wav"), virtual_clock.time())
        if isinstance(answer, Lease):
            break
    assert isinstance(answer, Lease)
    assert (number + 1) * 5 == 95
    assert len(answer.record.subscribers) == 20
    assert answer.record.takeovers == 1


def test_a_full_job_takes_no_more(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """64 inputs wait for one job at most; a further one is told so and writes nothing, but may take over itself."""
    claimed(worker(memory_store, "one"))
    two = worker(memory_store, "two")
    answers = [two.claim(JOB, subscriber(f"{number}.wav"), 0) for number in range(MAX_SUBSCRIBERS)]
    assert [isinstance(answer, Busy) and answer.subscribed for answer in answers] == [True] * 63 + [False]
    assert len(record_of(memory_store).subscribers) == MAX_SUBSCRIBERS == 64
    virtual_clock.advance(LEASE + EXPIRY_SLACK + 1)
    lease = claimed(two, subscriber("last.wav"))
    assert lease.record.subscribers[-1].key == "last.wav"


@pytest.mark.parametrize("age", [0.0, LEASE, LEASE + EXPIRY_SLACK])
def test_a_live_lease_is_respected(memory_store: MemoryStore, virtual_clock: VirtualClock, age: float) -> None:
    """Until the lease and the slack of the store's whole seconds are over, nobody takes the job."""
    claimed(worker(memory_store, "one"))
    virtual_clock.advance(age)
    assert isinstance(worker(memory_store, "two").claim(JOB, subscriber(), 0), Busy)
    assert record_of(memory_store).worker == "one"


@pytest.mark.parametrize("age", [LEASE + EXPIRY_SLACK + 0.01, 1e6])
def test_an_expired_lease_is_taken_over(memory_store: MemoryStore, virtual_clock: VirtualClock, age: float) -> None:
    """Then anybody may take the job: a takeover is charged, no attempt, and whoever waited still waits."""
    first = claimed(worker(memory_store, "one"))
    virtual_clock.advance(age)
    lease = claimed(worker(memory_store, "two"), subscriber("b.wav"))
    assert (lease.record.takeovers, lease.record.attempts, lease.record.worker) == (1, 0, "two")
    assert [waiting.key for waiting in lease.record.subscribers] == ["a.wav", "b.wav"]
    assert lease.token > first.token
    assert not lease.created


def test_the_leases_own_length_counts(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """A worker with a shorter lease of its own does not cut another's short."""
    claimed(worker(memory_store, "one"))
    hasty = SETTINGS.model_copy(update={"lease_seconds": 9.0})
    virtual_clock.advance(60)
    assert isinstance(worker(memory_store, "two", settings=hasty).claim(JOB, subscriber(), 0), Busy)


# ── tokens and clocks ────────────────────────────────────────────────────────────────────────────────────────────────


def test_tokens_start_at_the_stores_time(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """A worker whose own clock is years off starts the token at the store's epoch seconds, and dates by them."""
    skewed = VirtualClock(start=5.0)
    lease = claimed(worker(memory_store, "one", skewed), at=virtual_clock.time())
    assert lease.token == 1_700_000_000
    assert lease.record.started_at == "2023-11-14T22:13:20.000Z"
    skewed.advance(7.5)
    assert lease.store_time() == 1_700_000_007.5
    assert commit(lease).committed_at == 1_700_000_007.5


@pytest.mark.parametrize("skew", [-1e9, 1e9])
def test_expiry_is_by_the_stores_clock(memory_store: MemoryStore, virtual_clock: VirtualClock, skew: float) -> None:
    """Neither a clock far ahead steals a live job, nor does one far behind leave a lost one alone."""
    claimed(worker(memory_store, "one"))
    two = worker(memory_store, "two", VirtualClock(start=virtual_clock.time() + skew))
    virtual_clock.advance(60)
    assert isinstance(two.claim(JOB, subscriber(), virtual_clock.time() + skew), Busy)
    virtual_clock.advance(60)
    assert claimed(two).token == int(virtual_clock.time())


def test_tokens_only_rise(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """Every claim has a higher token than the last, within one second of the store's clock and when it is set back."""
    tokens = []
    for turn in range(5):
        lease = claimed(worker(memory_store, f"worker-{turn}"))
        tokens.append(lease.token)
        lease.release()
    change(memory_store, token=1_800_000_000)
    tokens.append(claimed(worker(memory_store, "late")).token)
    assert tokens == [1_700_000_000 + number for number in range(5)] + [1_800_000_001]


# ── jobs that were met before ────────────────────────────────────────────────────────────────────────────────────────


def test_a_job_that_was_met_before_is_read_first(memory_store: MemoryStore) -> None:
    """A worker that asks again for a job it knows makes one request, which writes nothing."""
    jobs = worker(memory_store, "one")
    commit(claimed(jobs))
    memory_store.calls.clear()
    assert isinstance(jobs.claim(JOB, subscriber("b.wav"), memory_store.clock.time()), Finished)
    assert memory_store.counts() == {"GET": 1}


def test_a_record_that_is_gone_is_made_anew(memory_store: MemoryStore) -> None:
    """What a worker remembers of a job is no more than a guess: a record that was deleted is created again."""
    jobs = worker(memory_store, "one")
    commit(claimed(jobs))
    memory_store.delete(jobs.layout.job_key(JOB.jid))
    assert claimed(jobs).created
