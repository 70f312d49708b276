"""One delivery and many workers: who holds it, and what is left of it when a worker or the store fails."""

from __future__ import annotations

import threading

import pytest
from callback_rig import Scripted, refused
from delivery_bench import BODY, NAME, OUTPUT, SETTINGS, WAITS, Bench

from handler.callbacks.deliveries import LEASE_MARGIN
from handler.callbacks.transport import Answer
from handler.errors import Unavailable
from handler.store.memory import Call, Phase

# ── leases ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_held_by_one_at_a_time() -> None:
    """While one worker is at it, no other one is; once it must be dead, another takes over."""
    bench = Bench()
    bench.made("one")
    bench.clock.sleep(SETTINGS.callback_timeout_seconds + LEASE_MARGIN + 2)
    assert bench.by("two").deliver(NAME) is not None
    assert bench.network.sent == []
    bench.clock.sleep(0.1)
    assert bench.by("two").deliver(NAME) is None
    assert len(bench.network.sent) == 1
    done = bench.done()
    assert done is not None
    assert (done.outcome, done.attempts) == ("delivered", 2)  # the lost one was begun, too


def test_what_was_held_too_long_is_taken_anew() -> None:
    """A worker that comes late to what it holds asks first whether it still has it."""
    bench = Bench()
    held = bench.made("one")
    bench.clock.sleep(SETTINGS.callback_timeout_seconds + LEASE_MARGIN + 3)
    bench.network.on_send = lambda: bench.by("one").deliver(NAME, held)  # while somebody else is at it
    assert bench.by("two").deliver(NAME) is None
    assert len(bench.network.sent) == 1


def test_one_of_many_workers_sends() -> None:
    """Of any number of workers that come at the same moment, one sends."""
    any_number = 8
    bench = Bench(*refused(1), callback_seconds=1)
    bench.by("one").deliver(NAME, bench.made())
    bench.clock.sleep(1)
    start = threading.Barrier(any_number)
    networks = [Scripted() for _ in range(any_number)]

    def come(number: int) -> None:
        deliveries = bench.by(f"worker-{number}", bench.store.client(), networks[number])
        start.wait()
        deliveries.deliver(NAME)

    threads = [threading.Thread(target=come, args=(number,)) for number in range(any_number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(len(network.sent) for network in networks) == 1
    assert bench.pending() is None


@pytest.mark.parametrize(
    "answer", [Answer(False, "slow"), Answer(False, "refused", hopeless=True), Answer(True, "200 OK")]
)
def test_a_slow_worker_takes_nothing_back(answer: Answer) -> None:
    """Who was taken over, and comes to nothing, does not undo what the other one delivered."""
    bench = Bench(callback_retries=1)
    held, other = bench.made("one"), Scripted()

    def another() -> None:
        bench.clock.sleep(1000)
        bench.by("two", network=other).deliver(NAME)

    slow = Scripted([answer], on_send=another)
    assert bench.by("one", network=slow).deliver(NAME, held) is None
    assert (len(slow.sent), len(other.sent)) == (1, 1)
    done = bench.done()
    assert done is not None
    assert done.outcome == "delivered"
    assert bench.pending() is None


def test_killed_at_the_last_try() -> None:
    """A delivery whose last try was never seen to its end is given up, not tried for ever."""
    bench = Bench(callback_retries=0)
    bench.made("one")
    bench.clock.sleep(1000)
    assert bench.by("two").deliver(NAME) is None
    assert bench.network.sent == []
    done = bench.done()
    assert done is not None
    assert (done.outcome, done.attempts) == ("given_up", 1)


def test_cut_off_is_not_charged() -> None:
    """A try that is cut off because the worker ends counts for nothing, and the next worker may begin at once."""
    bench = Bench(Answer(False, "cut off", aborted=True))
    bench.by("one").deliver(NAME, bench.made())
    waiting = bench.pending()
    assert waiting is not None
    assert (waiting.worker, waiting.attempts, waiting.not_before, waiting.tries) == (None, 0, None, ())
    assert bench.by("two").deliver(NAME) is None
    assert len(bench.network.sent) == 2


# ── crashes and trouble ──────────────────────────────────────────────────────────────────────────────────────────────


class Crash(BaseException):
    pass


@pytest.mark.parametrize("answers", [[], refused(1), refused(20)], ids=["accepted", "once refused", "refused"])
def test_killed_at_any_request(answers: list[Answer]) -> None:
    """Whoever dies around any request of a delivery leaves it to the next one: it ends the same way, and is sent once
    more at most for each death.
    """
    fatal = 0
    while True:
        fatal += 1
        bench, events = Bench(*answers, callback_retries=2), iter(range(1, 1000))

        def die(call: Call, phase: Phase) -> None:
            if next(events) == fatal:  # noqa: B023
                raise Crash

        dying = bench.by("one", bench.store.client(die))
        died = False
        try:
            held = dying.make(WAITS, "r-1", OUTPUT, BODY, bench.clock.time())
            again = dying.deliver(NAME, held[1] if held else None)
            while again is not None:
                bench.clock.sleep(again)
                again = dying.deliver(NAME)
        except Crash:
            died = True
        bench.clock.sleep(1000)
        bench.made("heir")
        bench.to_the_end("heir")
        done = bench.done()
        assert done is not None
        assert bench.pending() is None
        assert done.outcome == ("given_up" if len(answers) > 1 else "delivered")
        assert all(sent.body == BODY for sent in bench.network.sent)
        most = min(len(answers) + 1, 3)
        assert most - 1 <= len(bench.network.sent) <= most + died
        if not died:
            assert fatal > 8
            return


def test_a_store_without_answers() -> None:
    """A lost answer, wherever, is trouble to be waited out: nothing is lost, and nothing is given up."""

    def lose(call: Call, phase: Phase) -> None:
        if phase == "after" and call.verb == "GET" and call.key == OUTPUT:
            raise Unavailable("no answer")

    bench = Bench()
    bench.made()
    bench.clock.sleep(1000)
    with pytest.raises(Unavailable):
        bench.by("two", bench.store.client(lose)).deliver(NAME)
    assert bench.pending() is not None
    bench.clock.sleep(1000)
    assert bench.by("three").deliver(NAME) is None
    assert len(bench.network.sent) == 1


def test_an_unreadable_delivery_is_left_alone() -> None:
    """What is no delivery of ours is neither sent nor removed, and not asked for again."""
    bench = Bench()
    key = bench.layout.pending_key(NAME)
    bench.store.drop(key, b"{}")
    assert bench.by("one").deliver(NAME) == float("inf")
    assert bench.store.peek(key) == b"{}"
