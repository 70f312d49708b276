"""One delivery, from its object to its end: tries, waits, leases, races, and what makes it pointless."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from callback_rig import Scripted, refused
from hypothesis import given
from hypothesis import strategies as st

from handler.callbacks.deliveries import LEASE_MARGIN, Deliveries, Held
from handler.callbacks.records import Delivered, Delivery, delivery_name, sha256_of, shown
from handler.callbacks.transport import Answer
from handler.clock import VirtualClock
from handler.errors import Unavailable
from handler.layout import Layout
from handler.settings import Settings
from handler.store.memory import Call, MemoryStore, Phase
from handler.types import Subscriber

URL = "https://me:hunter2@hooks.example/transcripts?token=s3cret"
OUTPUT, BODY = "results/a.wav.json", b'{"metadata":{"request_id":"r"},"results":{}}'
SETTINGS = Settings()
WAITS = Subscriber(sid="5" * 64, key="a.wav", queued_at="", callback=URL)
NAME = delivery_name(WAITS, sha256_of(BODY))


class Bench:
    """A bucket with one result, and those who deliver it."""

    def __init__(self, *answers: Answer, **changes: Any) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore(self.clock)
        self.layout = Layout.of(self.store.url, SETTINGS)
        self.settings = SETTINGS.model_copy(update=changes)
        self.network = Scripted(list(answers))
        self.store.drop(OUTPUT, BODY)

    def by(self, worker: str, store: MemoryStore | None = None, network: Scripted | None = None) -> Deliveries:
        send = (network or self.network).send
        return Deliveries(store or self.store, self.layout, self.settings, self.clock, worker=worker, send=send)

    def made(self, worker: str = "one", waits: Subscriber = WAITS, body: bytes = BODY) -> Held | None:
        made = self.by(worker).make(waits, "r-1", OUTPUT, body, self.clock.time())
        return made[1] if made is not None else None

    def pending(self, name: str = NAME) -> Delivery | None:
        body = self.store.peek(self.layout.pending_key(name))
        return None if body is None else Delivery.model_validate_json(body)

    def done(self, name: str = NAME) -> Delivered | None:
        body = self.store.peek(self.layout.delivered_key(name))
        return None if body is None else Delivered.model_validate_json(body)

    def to_the_end(self, worker: str = "one", held: Held | None = None) -> list[float]:
        """The waits between tries."""
        waits: list[float] = []
        while (again := self.by(worker).deliver(NAME, held)) is not None:
            held = None
            waits.append(again)
            self.clock.sleep(again)
        return waits


def test_delivered_at_once() -> None:
    """The very bytes go out, with the ids that receivers go by; then the bucket says so, and only that is left."""
    bench = Bench()
    assert bench.to_the_end(held=bench.made()) == []
    [sent] = bench.network.sent
    assert (sent.method, sent.path, sent.body) == ("POST", URL, BODY)
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["dropscribe-request-id"] == "r-1"
    assert sent.headers["webhook-id"] == f"r-1-{sha256_of(BODY)[:16]}"
    assert sent.headers["webhook-timestamp"] == str(int(bench.clock.time()))
    assert "webhook-signature" not in sent.headers
    done = bench.done()
    assert done is not None
    assert (done.outcome, done.attempts, done.reason, done.sha256) == ("delivered", 1, "", sha256_of(BODY))
    assert bench.pending() is None


def test_requests_of_a_delivery() -> None:
    """Five requests when all goes well: three that read or write before the bytes go out, two that end it."""
    bench = Bench()
    held = bench.made()
    bench.to_the_end(held=held)
    assert [(call.verb, call.key.removeprefix(bench.layout.state)) for call in bench.store.calls] == [
        ("HEAD", f"callbacks/done/{NAME}.json"), ("PUT", f"callbacks/pending/{NAME}.json"), ("GET", OUTPUT),
        ("PUT", f"callbacks/done/{NAME}.json"), ("DELETE", f"callbacks/pending/{NAME}.json"),
    ]  # fmt: skip


def test_tried_again() -> None:
    """What is not accepted is tried again, so many seconds apart, and each try is written down."""
    bench = Bench(*refused(2), callback_seconds=7)
    assert bench.to_the_end(held=bench.made()) == [7, 7]
    done = bench.done()
    assert done is not None
    assert [one.outcome for one in done.tries] == ["503 Service Unavailable"] * 2 + ["200 OK"]
    assert [one.attempt for one in done.tries] == [1, 2, 3]
    assert len({sent.headers["webhook-id"] for sent in bench.network.sent}) == 1
    stamps = [int(sent.headers["webhook-timestamp"]) for sent in bench.network.sent]
    assert stamps == [stamps[0], stamps[0] + 7, stamps[0] + 14]


def test_ten_retries() -> None:
    """After ten retries, 30 s apart, it is given up, and the bucket says why."""
    bench = Bench(*refused(20))
    assert bench.to_the_end(held=bench.made()) == [30.0] * 10
    done = bench.done()
    assert done is not None
    assert (done.outcome, done.attempts, len(bench.network.sent)) == ("given_up", 11, 11)
    assert done.reason == "11 tries failed; the last: 503 Service Unavailable"
    assert bench.pending() is None


def test_not_before_its_time() -> None:
    """Nobody tries it while its wait lasts."""
    bench = Bench(*refused(1))
    bench.by("one").deliver(NAME, bench.made())
    assert bench.by("two").deliver(NAME) == 30
    bench.clock.sleep(29)
    assert bench.by("two").deliver(NAME) == 1
    assert len(bench.network.sent) == 1


def test_hopeless_at_once() -> None:
    """An address that is refused is not tried again."""
    bench = Bench(Answer(False, "the callback's URL was refused: it is not https", hopeless=True))
    assert bench.to_the_end(held=bench.made()) == []
    done = bench.done()
    assert done is not None
    assert (done.outcome, done.reason) == ("given_up", "the callback's URL was refused: it is not https")


@pytest.mark.parametrize("newer", [b"another result", None])
def test_what_was_replaced_is_not_sent(newer: bytes | None) -> None:
    """A result that was replaced by a newer one, or deleted, is not sent any more; neither is the newer one in its
    name.
    """
    bench = Bench()
    held = bench.made()
    if newer is None:
        bench.store.delete(OUTPUT)
    else:
        bench.store.drop(OUTPUT, newer)
    assert bench.to_the_end(held=held) == []
    assert bench.network.sent == []
    done = bench.done()
    assert done is not None
    assert done.outcome == "given_up"
    assert ("replaced" if newer else "not there") in done.reason


def test_made_once() -> None:
    """Published again, an ending makes no second delivery: neither while the first waits nor after it ended."""
    bench = Bench(*refused(1))
    held = bench.made()
    assert bench.made("two") is None
    bench.to_the_end(held=held)
    assert bench.by("two").make(WAITS, "r-1", OUTPUT, BODY, 0.0) is None
    assert bench.pending() is None


@pytest.mark.parametrize(
    "other",
    [
        {"waits": WAITS.model_copy(update={"callback": "https://other.example/"})},
        {"waits": WAITS.model_copy(update={"callback_method": "PUT"})},
        {"body": b"a newer result"},
    ],
)
def test_another_delivery_is_another_object(other: dict[str, Any]) -> None:
    """Other bytes, another address or method: an object of its own, which no end of the first one can take away."""
    bench = Bench()
    held = bench.made()
    bench.made("two", **other)
    bench.to_the_end(held=held)
    [left] = bench.store.keys(bench.layout.pending)
    assert NAME not in left


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


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_over_holds_no_secret() -> None:
    """The object that stays says where it went, without user, password, path and query."""
    bench = Bench(*refused(20))
    bench.to_the_end(held=bench.made())
    done = bench.done()
    assert done is not None
    assert done.url == "https://hooks.example/…"
    assert not {"hunter2", "s3cret", "me"} & set(json.loads(bench.store.peek(bench.layout.delivered_key(NAME)) or b""))
    assert b"hunter2" not in (bench.store.peek(bench.layout.delivered_key(NAME)) or b"")
    assert b"s3cret" not in (bench.store.peek(bench.layout.delivered_key(NAME)) or b"")


@given(st.text(min_size=1), st.text(), st.text(), st.integers(0, 70000))
def test_addresses_are_shown_without_secrets(user: str, password: str, query: str, port: int) -> None:
    """Whatever stands where secrets stand is not in what is shown."""
    marker = "SECRET"
    url = f"https://{user}{marker}:{password}{marker}@host.example:{port}/path/{marker}?{query}{marker}#{marker}"
    if not any(sign in user + password for sign in "/?#\\[]"):  # then it is not where secrets stand
        assert marker not in shown(url)
