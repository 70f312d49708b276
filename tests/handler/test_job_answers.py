"""Claims whose answers were lost, and what becomes of a job that has ended, or that its workers lost."""

from __future__ import annotations

import pytest
from protocol_rig import (
    JOB,
    JOB_KEY,
    LEASE,
    SETTINGS,
    Fault,
    change,
    claimed,
    commit,
    layout_of,
    record_of,
    subscriber,
    trouble,
    worker,
)

from handler.answers import Busy, Finished, Later
from handler.clock import VirtualClock
from handler.errors import LeaseLost, NewerFormat, Unavailable
from handler.job import EXPIRY_SLACK
from handler.lease import SWAP_TRIES, Lease
from handler.store.memory import Call, MemoryStore, Phase
from handler.store.swap import Conflict
from handler.types import JobRecord
from pipeline.errors import TooLong

# ── answers that were lost ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("joined", [False, True])
def test_an_own_claim_is_taken_again(memory_store: MemoryStore, joined: bool) -> None:
    """A claim that was made, though its answer never came, is no stranger's: it is taken at once, and not charged."""

    def meanwhile() -> None:
        if joined:
            worker(memory_store, "two").claim(JOB, subscriber("b.wav"), 0)

    client = memory_store.client(Fault("put", meanwhile=meanwhile))
    jobs = worker(client, "one")
    if not joined:  # nor can it be read back
        client.hook = Fault(times=1000)
        with pytest.raises(Unavailable):
            jobs.claim(JOB, subscriber(), 1_700_000_000)
        client.hook = None
    lease = claimed(jobs)
    assert (lease.record.takeovers, lease.record.attempts) == (0, 0)
    assert [waiting.key for waiting in lease.record.subscribers] == ["a.wav", "b.wav"][: 1 + joined]
    assert lease.token == 1_700_000_001
    lease.beat()


def test_a_lost_answer_is_read_back(memory_store: MemoryStore) -> None:
    """A claim that is read back as won is one claim: no second token, nothing charged."""
    lease = claimed(worker(memory_store.client(Fault("put")), "one"))
    assert lease.token == record_of(memory_store).token == 1_700_000_000
    commit(lease)


def test_claiming_is_bounded(memory_store: MemoryStore) -> None:
    """A record that changes under every try ends in an error, not in a loop without end."""
    claimed(worker(memory_store, "one"))

    def meddle(call: Call, phase: Phase) -> None:
        if (call.method, phase) == ("put", "before"):
            change(memory_store, percent=float(len(client.calls)))

    client = memory_store.client(meddle)
    with pytest.raises(LeaseLost):
        worker(client, "two").claim(JOB, subscriber("b.wav"), 0)
    assert client.counts()["PUT"] == SWAP_TRIES


# ── ends ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_workers_lost_too_often(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """A job that costs its workers their lives is given up after the last takeover, and says so to whoever waits."""
    for turn in range(SETTINGS.max_takeovers + 1):
        lease = claimed(worker(memory_store, f"worker-{turn}"))
        assert lease.record.takeovers == turn
        virtual_clock.advance(LEASE + EXPIRY_SLACK + 1)
    finished = worker(memory_store, "last").claim(JOB, subscriber("b.wav"), 0)
    assert isinstance(finished, Finished)
    record = record_of(memory_store)
    assert (record.state, record.stage, record.attempts) == ("dead", "failed", 0)
    assert finished.record == record.model_copy(update={"nonce": finished.record.nonce})
    assert record.error is not None
    assert (record.error.error_class, record.error.retryable) == ("TooManyTakeovers", True)
    assert "11 workers" in record.error.message
    assert [waiting.key for waiting in record.subscribers] == ["a.wav", "b.wav"]
    with pytest.raises(LeaseLost):
        lease.beat()
    assert worker(memory_store, "x").read(JOB.jid)[1].etag == finished.found.etag


def test_a_job_waits_for_its_next_attempt(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """Before `not_before` an input joins and is told how long; from then on the job is free, its attempts kept."""
    claimed(worker(memory_store, "one")).fail(trouble())
    not_before = record_of(memory_store).not_before
    assert not_before is not None
    two = worker(memory_store, "two")
    virtual_clock.advance(1)
    later = two.claim(JOB, subscriber("b.wav"), 0)
    assert isinstance(later, Later)
    assert later.seconds == pytest.approx(not_before - virtual_clock.time())
    virtual_clock.advance(later.seconds)
    lease = claimed(two)
    assert (lease.record.attempts, lease.record.not_before, lease.record.error) == (1, None, None)
    assert [waiting.key for waiting in lease.record.subscribers] == ["a.wav", "b.wav"]


@pytest.mark.parametrize(
    ("retryable", "same", "runs"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_dead_jobs(memory_store: MemoryStore, retryable: bool, same: bool, runs: bool) -> None:
    """A dead job answers from its record. Only what may pass is tried anew, and only for an input that is new."""
    lease = claimed(worker(memory_store, "one"))
    for _ in range(SETTINGS.max_attempts):
        record = lease.fail(trouble(retryable=retryable))
        if record.state == "dead":
            break
        change(memory_store, not_before=None)
        lease = claimed(worker(memory_store, "one"))
    answer = worker(memory_store, "two").claim(JOB, subscriber("a.wav" if same else "b.wav"), 0)
    assert isinstance(answer, Lease if runs else Finished)
    assert record_of(memory_store).state == ("running" if runs else "dead")
    if isinstance(answer, Lease):
        assert (answer.record.attempts, answer.record.takeovers, answer.record.error) == (0, 0, None)
        assert [waiting.key for waiting in answer.record.subscribers] == ["b.wav"]


def test_a_limit_is_no_verdict(memory_store: MemoryStore) -> None:
    """Bytes that were over a limit, dropped again, are tried anew: the limit may have been raised since."""
    claimed(worker(memory_store, "one")).fail(TooLong("longer than 10 s").to_detail())
    assert record_of(memory_store).state == "dead"
    assert isinstance(worker(memory_store, "two").claim(JOB, subscriber("b.wav"), 0), Lease)


def test_an_inputs_entry_is_its_latest(memory_store: MemoryStore) -> None:
    """Tags that changed between two attempts are the later ones in the result."""
    claimed(worker(memory_store, "one")).release()
    tagged = subscriber("a.wav").model_copy(update={"tag": ("new",)})
    assert claimed(worker(memory_store, "two"), tagged).record.subscribers == (tagged,)
    again = tagged.model_copy(update={"tag": ("newer",)})
    assert isinstance(worker(memory_store, "three").claim(JOB, again, 0), Busy)
    assert record_of(memory_store).subscribers == (again,)


def test_cancelled_jobs_are_free(memory_store: MemoryStore) -> None:
    """Content whose job was cancelled runs when it is dropped again, for the new input alone."""
    claimed(worker(memory_store, "one"))
    change(memory_store, state="cancelled", attempts=2, takeovers=3)
    lease = claimed(worker(memory_store, "two"), subscriber("b.wav"))
    assert (lease.record.attempts, lease.record.takeovers) == (0, 0)
    assert [waiting.key for waiting in lease.record.subscribers] == ["b.wav"]


@pytest.mark.parametrize("body", [b"", b"not JSON", b"{}", b'{"format": 1}', b"\xff\xfe"])
def test_unreadable_records(memory_store: MemoryStore, virtual_clock: VirtualClock, body: bytes) -> None:
    """A damaged record is written anew, with a token of now; whoever held the job before has lost it."""
    holder = claimed(worker(memory_store, "one"))
    memory_store.drop(JOB_KEY, body)
    virtual_clock.advance(10)
    lease = claimed(worker(memory_store, "two"), subscriber("b.wav"), at=1_700_000_000)
    assert lease.token == 1_700_000_010
    assert record_of(memory_store).worker == "two"
    with pytest.raises(LeaseLost):
        holder.beat()


def test_records_of_a_later_version_are_left_alone(memory_store: MemoryStore) -> None:
    """An old worker among newer ones must not take what may be their running job for rubbish."""
    body = b'{"format": 2, "state": "running", "lease": {}}'
    memory_store.drop(JOB_KEY, body)
    with pytest.raises(NewerFormat):
        worker(memory_store, "old").claim(JOB, subscriber("a.wav"), 0)
    assert memory_store.peek(JOB_KEY) == body


def test_done_jobs_are_answered(memory_store: MemoryStore) -> None:
    """Finished content costs a new input no more than one refused PUT and a read, and changes nothing."""
    commit(claimed(worker(memory_store, "one")))
    before, client = memory_store.peek(JOB_KEY), memory_store.client()
    answer = worker(client, "two").claim(JOB, subscriber("b.wav"), 0)
    assert isinstance(answer, Finished)
    assert answer.record.result == "d" * 64
    assert memory_store.peek(JOB_KEY) == before == answer.found.body
    assert client.counts() == {"PUT": 1, "GET": 1}


def test_done_jobs_are_reclaimed_once(memory_store: MemoryStore) -> None:
    """A finished job whose result is gone runs again, by one of those that noticed."""
    first = commit(claimed(worker(memory_store, "one")))
    jobs = [worker(memory_store, name) for name in ("two", "three")]
    found = [each.claim(JOB, subscriber("b.wav"), 0) for each in jobs]
    assert isinstance(found[0], Finished)
    assert isinstance(found[1], Finished)
    lease = jobs[0].reclaim(found[0], subscriber("b.wav"))
    with pytest.raises(Conflict):
        jobs[1].reclaim(found[1], subscriber("b.wav"))
    record = record_of(memory_store)
    assert (record.state, record.result, record.facts, record.committed_at) == ("running", None, None, None)
    assert (record.stage, record.percent) == ("queued", 0.0)
    assert lease.token > first.token


def test_revived_jobs_are_free(memory_store: MemoryStore) -> None:
    """`retry` makes a dead job claimable with all its attempts, and is told when the record changed meanwhile."""
    claimed(worker(memory_store, "one")).fail(trouble(retryable=False))
    jobs = worker(memory_store, "cli")
    record, found = jobs.read(JOB.jid)
    jobs.revive(record, found)
    with pytest.raises(Conflict):
        jobs.revive(record, found)
    lease = claimed(worker(memory_store, "two"))
    assert (lease.record.attempts, lease.record.error, len(lease.record.failures)) == (0, None, 1)


def test_records_read_back(memory_store: MemoryStore) -> None:
    """What is written reads back as the same record: nothing in it is lost on the way."""
    lease = claimed(worker(memory_store, "one"), subscriber(tag=("x",), extra={"k": "v"}))
    written = lease.fail(trouble())
    found, _ = worker(memory_store, "two").read(JOB.jid)
    assert found.nonce
    assert found == JobRecord.model_validate({**written.model_dump(), "nonce": found.nonce})
    assert layout_of(memory_store).job_key(JOB.jid) == JOB_KEY
