"""A worker's courier beside its jobs: drains, stops, receivers that stall, other workers, and what it costs."""

from __future__ import annotations

import threading
from functools import partial

import pytest
from callback_rig import Receiver, Scripted, answer, refused, stall
from courier_rig import SPEECH, allow, ask, delivered, inline, pending
from worker_rig import Rig

from handler.callbacks.courier import Courier
from handler.callbacks.records import parse_delivery
from handler.store.memory import MemoryStore


def test_a_drain_waits_until_it_is_given_up(rig: Rig) -> None:
    """A drain ends when the last callback is delivered or given up, and the input is settled long before that."""
    ask(rig, "a.wav")
    settled: list[str | None] = []
    network = Scripted(refused(20), on_send=lambda: settled.append(rig.settled("a.wav")))
    rig.worker(courier=inline(network)).run(drain=True)
    assert len(network.sent) == 11
    assert settled == ["completed"] * 11
    [done] = delivered(rig)
    assert done["outcome"] == "given_up"


def test_a_drain_waits_for_what_others_have(rig: Rig, bucket: MemoryStore) -> None:
    """A drain that finds somebody else's delivery waits for it, and takes it over when its lease ran out."""
    ask(rig, "a.wav")
    lost = Scripted(on_send=lambda: (_ for _ in ()).throw(Lost()))
    with pytest.raises(Lost):
        rig.worker(courier=inline(lost)).run(drain=True)
    [key] = pending(rig)
    delivery = parse_delivery(rig.body(key) or b"")
    assert delivery is not None
    assert delivery.worker == "worker-1"
    rig.worker(courier=inline(network := Scripted())).run(drain=True)
    assert [one.body for one in network.sent] == [rig.body("results/a.wav.json")]
    assert pending(rig) == []


class Lost(BaseException):
    """The worker's process is gone."""


def test_a_stop_does_not_wait(any_rig: Rig) -> None:
    """A worker that is told to stop ends although a receiver stalls; what was under way is cut off, charged to nobody,
    and free for the next worker at once.
    """
    with Receiver(stall) as receiver:
        ask(any_rig, "a.wav", url=receiver.url())
        worker = any_rig.worker(callback_allow=allow(receiver), callback_timeout_seconds=300)
        working = threading.Thread(target=lambda: worker.run(drain=True))
        working.start()
        while not receiver.received:
            worker.stop.wait(0.01)
        worker.stop.set()
        working.join(60)
        assert not working.is_alive()
        [key] = pending(any_rig)
        waits = parse_delivery(any_rig.body(key) or b"")
        assert waits is not None
        assert (waits.worker, waits.attempts, any_rig.settled("a.wav")) == (None, 0, "completed")
        any_rig.worker(callback_allow=allow(receiver)).run(drain=True)
        assert len(receiver.received) == 2
    assert pending(any_rig) == []


def test_a_receiver_that_stalls_holds_up_no_job(any_rig: Rig) -> None:
    """While one receiver stalls, recordings are transcribed, and other receivers are called."""
    with Receiver(stall) as stalling, Receiver() as other:
        ask(any_rig, "a.wav", url=stalling.url())
        worker = any_rig.worker(
            callback_allow=f"{allow(stalling)} {allow(other)}", callback_timeout_seconds=300, scan_seconds=0.05
        )
        working = threading.Thread(target=lambda: worker.run(drain=False))
        working.start()
        while not stalling.received:
            worker.stop.wait(0.01)
        ask(any_rig, "b.wav", b"another", url=other.url())
        while not other.received:
            assert working.is_alive()
            worker.stop.wait(0.01)
        assert any_rig.settled("b.wav") == "completed"
        worker.stop.set()
        working.join(60)


def test_two_workers_deliver_once(any_rig: Rig) -> None:
    """Two workers that find the same delivery send it once."""
    with Receiver(answer(500)) as receiver:
        ask(any_rig, "a.wav", url=receiver.url())
        settings = {"callback_allow": allow(receiver), "callback_seconds": 0.3}
        first = any_rig.worker(**settings)
        first.sweep()
        while not any(one.get("tries") for one in (any_rig.json(key) or {} for key in pending(any_rig))):
            first.stop.wait(0.01)
        workers = [first, any_rig.worker(**settings), any_rig.worker(**settings)]
        threads = [threading.Thread(target=lambda worker=worker: worker.run(drain=True)) for worker in workers]  # type: ignore[misc]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(receiver.received) == 2
    assert [done["outcome"] for done in delivered(any_rig)] == ["delivered"]


def test_a_bucket_without_callbacks_costs_one_listing(rig: Rig, bucket: MemoryStore) -> None:
    """Where nobody asks for callbacks, a worker lists what is to be delivered when it starts, and now and then: no
    other request, and no thread.
    """
    rig.drop("a.wav", SPEECH)
    worker = rig.worker(store=(client := bucket.client()))
    before = set(threading.enumerate())
    for _ in range(10):
        worker.sweep()
    assert [one for one in set(threading.enumerate()) - before if one.name in ("courier", "callback")] == []
    assert [(call.verb, call.key) for call in client.calls if "callbacks" in call.key] == [("LIST", rig.layout.pending)]
    rig.clock.sleep(rig.settings.reconcile_seconds + 1)
    worker.sweep()
    assert len([call for call in client.calls if "callbacks" in call.key]) == 2


def test_a_callback_costs_five_requests(rig: Rig, bucket: MemoryStore) -> None:
    """docs/requests.md: what a callback that is accepted at once adds to a job."""
    ask(rig, "a.wav")
    worker = rig.worker(store=(client := bucket.client()), courier=inline(Scripted()))
    worker.sweep()
    made = [call for call in client.calls if "callbacks" in call.key and call.verb != "LIST"]
    read = [call for call in client.calls if (call.verb, call.key) == ("GET", "results/a.wav.json")]
    assert [call.verb for call in made] == ["HEAD", "PUT", "PUT", "DELETE"]
    assert len(read) == 1


def test_a_machine_without_threads(rig: Rig) -> None:
    """Where no thread can be started for a while, neither the worker nor its deliveries come to harm: they are made as
    soon as one can, and a drain ends.
    """
    ask(rig, "a.wav")
    refused: list[str] = []  # the dispatcher's, then the first delivery's

    def start(thread: threading.Thread) -> None:
        if thread.name not in refused:
            refused.append(thread.name)
            raise RuntimeError("can't start new thread")
        thread.start()

    worker = rig.worker(courier=partial(Courier, transport=(network := Scripted()), start=start))
    worker.run(drain=True)
    assert refused == ["courier", "callback"]
    assert len(network.sent) == 1
    assert not worker.courier.busy()
