"""The conditional-write helper over every single and double fault."""

from __future__ import annotations

import itertools
import json

import pytest

from handler.clock import VirtualClock
from handler.errors import NotFound, Refused, Unavailable
from handler.store.memory import Call, MemoryStore, Phase
from handler.store.swap import ATTEMPTS, Conflict, put_bytes, put_record
from handler.types import canonical_json

KEY = "jobs/1"


class Faults:
    """Fails the n-th event (a request before, or after, it is applied) for each n in ``at``; ``at`` None: every one."""

    def __init__(self, *at: int, phase: Phase | None = None) -> None:
        self.at, self.phase, self.count = at, phase, 0

    def __call__(self, call: Call, phase: Phase) -> None:
        if self.phase not in (None, phase):
            return
        self.count += 1
        if not self.at or self.count in self.at:
            raise Unavailable(f"fault at {phase} {call.method}")


def test_records_carry_a_fresh_nonce(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """The record is deterministic JSON with a new nonce each time, so that the same fields never have the same ETag."""
    first = put_record(memory_store, KEY, {"b": 1, "a": "é"}, etag=None, clock=virtual_clock)
    fields = json.loads(first.body)
    assert first.body == canonical_json({"a": "é", "b": 1, "nonce": fields["nonce"]}) == memory_store.peek(KEY)
    second = put_record(memory_store, KEY, fields, etag=first.etag, clock=virtual_clock)
    third = put_record(memory_store, KEY, fields, etag=second.etag, clock=virtual_clock)
    assert len({first.etag, second.etag, third.etag}) == 3
    with pytest.raises(Conflict):
        put_record(memory_store, KEY, fields, etag=first.etag, clock=virtual_clock)


@pytest.mark.parametrize("created", [True, False])
def test_any_two_faults(virtual_clock: VirtualClock, created: bool) -> None:
    """Whichever two requests or responses are lost, an unopposed write ends as won, is there, and is there once."""
    for at in [(), *itertools.combinations(range(1, 9), 2), *((number,) for number in range(1, 9))]:
        store = MemoryStore(virtual_clock)
        etag = None if created else store.put(KEY, b"before")
        client = store.client(Faults(*at) if at else None)
        written = put_record(client, KEY, {"state": "DONE"}, etag=etag, clock=virtual_clock)
        found = store.get(KEY)
        assert (found.body, found.etag) == (written.body, written.etag)


def test_never_two_winners(virtual_clock: VirtualClock) -> None:
    """Two writers, one record: whatever responses are lost and wherever the other comes in, exactly one has won."""
    for fault, turn, phase in itertools.product(range(9), range(1, 5), ("before", "after")):
        store = MemoryStore(virtual_clock)
        etag = store.put(KEY, b"before")
        won: list[str] = []
        faults, events = Faults(fault), itertools.count(1)

        def interrupted(call: Call, now: Phase) -> None:
            if now == phase and next(events) == turn:  # noqa: B023
                attempt("other", store)  # noqa: B023
            if fault:  # noqa: B023
                faults(call, now)  # noqa: B023

        def attempt(name: str, client: MemoryStore) -> None:
            try:
                put_record(client, KEY, {"name": name}, etag=etag, clock=virtual_clock)  # noqa: B023
            except Conflict:
                return
            won.append(name)  # noqa: B023

        attempt("one", store.client(interrupted))
        if not won:
            attempt("late", store)
        present = json.loads(store.peek(KEY) or b"{}")["name"]
        assert won == [present], (fault, turn, phase)


def test_a_conflict_shows_what_is_there(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """Who lost gets the present object, or None if it was deleted, without another request."""
    etag = memory_store.put(KEY, b"first")
    memory_store.put(KEY, b"theirs")
    memory_store.calls.clear()
    with pytest.raises(Conflict) as raised:
        put_record(memory_store, KEY, {}, etag=etag, clock=virtual_clock)
    assert isinstance(raised.value, Refused)
    assert raised.value.found == memory_store.get(KEY)
    assert [call.verb for call in memory_store.calls] == ["PUT", "GET", "GET"]
    memory_store.delete(KEY)
    with pytest.raises(Conflict) as raised:
        put_record(memory_store, KEY, {}, etag=etag, clock=virtual_clock)
    assert raised.value.found is None


def test_retries_are_bounded(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """A store that never answers is `Unavailable` after a bounded number of tries, which sleep on the clock."""
    before = virtual_clock.time()
    client = memory_store.client(Faults())
    with pytest.raises(Unavailable):
        put_record(client, KEY, {}, etag=None, clock=virtual_clock)
    assert client.counts() == {"PUT": ATTEMPTS, "GET": ATTEMPTS}
    assert virtual_clock.time() > before


def test_refusal_without_a_reason_is_retried(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """A refusal (409) while the condition still holds is no loss: the write is tried again, and given up in the end."""

    def refuse(times: int) -> MemoryStore:
        left = iter(range(times))

        def hook(call: Call, phase: Phase) -> None:
            if call.method == "put" and phase == "before" and next(left, None) is not None:
                raise Refused("409 ConditionalRequestConflict")

        return memory_store.client(hook)

    put_record(refuse(2), KEY, {}, etag=None, clock=virtual_clock)
    with pytest.raises(Unavailable, match="although nobody else"):
        put_record(refuse(99), "jobs/2", {}, etag=None, clock=virtual_clock)


def test_equal_bytes_count_as_won(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """For an output without a nonce, the same bytes written by another worker are as good as one's own."""
    first = put_bytes(memory_store, "results/a", b"result", etag=None, clock=virtual_clock)
    assert put_bytes(memory_store, "results/a", b"result", etag=None, clock=virtual_clock) == first
    with pytest.raises(Conflict):
        put_bytes(memory_store, "results/a", b"other", etag=None, clock=virtual_clock)


def test_nan_is_no_record() -> None:
    """A number that JSON does not have is refused, not written for others to choke on."""
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"percent": float("nan")})


def test_other_errors_pass(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """An error that says nothing about the condition is neither retried nor read as a loss."""

    def hook(call: Call, phase: Phase) -> None:
        raise NotFound("no bucket")

    client = memory_store.client(hook)
    with pytest.raises(NotFound):
        put_record(client, KEY, {}, etag=None, clock=virtual_clock)
    assert len(client.calls) == 1
