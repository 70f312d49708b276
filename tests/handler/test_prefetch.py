"""One message received before its time: call by call, on queues in memory, in virtual time and in threads."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from queue_rig import NEVER, VISIBILITY, Post, failing, only, told

from handler.clock import SystemClock, VirtualClock
from handler.fake_sqs import FakeSqs
from handler.queue import SqsQueue
from handler.sqs import Sqs
from handler.store.opening import event_keys


@pytest.fixture
def post(virtual_clock: VirtualClock) -> Post:
    return Post(virtual_clock)


def test_the_next_wait_gives_it(post: Post) -> None:
    """It is named as soon as it is here, and then waited for as any other: received once, deleted when it is done."""
    post.send(told("input/a.wav", "input/a.wav", "input/b.wav"))
    source = post.source()
    assert source.prefetch.keys() == ()
    source.prefetch.begin()
    source.prefetch.begin()
    assert source.prefetch.keys() == ("input/a.wav", "input/b.wav")
    message = only(source)
    assert message.keys == ("input/a.wav", "input/b.wav")
    assert (message.raw.receives, post.sqs.counts()) == (1, {"receive_message": 1})
    assert source.prefetch.keys() == ()
    message.done()
    source.flush()
    assert post.left == []


def test_it_is_one_and_takes_no_short_poll(post: Post) -> None:
    """However many there are, and however many a receive may bring: one, of all of SQS's servers."""
    post.send(*[told(f"input/{number}.wav") for number in range(5)])
    source = post.source()
    source._most = 8
    source.prefetch.begin()
    [(_, given)] = post.sqs.calls
    assert (given["MaxNumberOfMessages"], given["WaitTimeSeconds"], given["VisibilityTimeout"]) == (1, 1, VISIBILITY)


def test_none_ahead_is_no_silence(post: Post, virtual_clock: VirtualClock) -> None:
    """That there was no message ahead does not end a wait: it lasts its whole time, and hears what comes meanwhile."""
    source = post.source()
    source.prefetch.begin()
    assert source.prefetch.keys() == ()
    before = virtual_clock.monotonic()
    assert source.wait(20, NEVER) == []
    assert virtual_clock.monotonic() - before >= 20
    source.prefetch.begin()
    post.send(told("input/a.wav"))
    assert only(source).keys == ("input/a.wav",)


def test_letting_go_shows_it_to_others(post: Post) -> None:
    """It is another's at once; letting go of nothing costs nothing."""
    post.send(told("input/a.wav"))
    source = post.source()
    source.prefetch.let_go()
    source.prefetch.begin()
    source.prefetch.let_go()
    source.prefetch.let_go()
    assert source.prefetch.keys() == ()
    assert post.sqs.hidden(post.url) == [0]
    assert post.sqs.counts() == {"receive_message": 1, "change_message_visibility": 1}
    assert only(post.source()).again


def test_closing_lets_go(post: Post) -> None:
    """A source that is closed keeps nothing."""
    post.send(told("input/a.wav"))
    source = post.source()
    source.prefetch.begin()
    source.close()
    assert post.sqs.hidden(post.url) == [0]


def test_heartbeats_keep_it_hidden(post: Post, virtual_clock: VirtualClock) -> None:
    """As the one in hand: at most a request in a quarter of the visibility."""
    post.send(told("input/a.wav"))
    source = post.source()
    source.prefetch.extend()
    source.prefetch.begin()
    for _ in range(VISIBILITY):
        virtual_clock.advance(2)
        source.prefetch.extend()
        assert post.sqs.hidden(post.url)[0] > VISIBILITY / 2
    assert post.sqs.counts()["change_message_visibility"] <= 9
    assert only(source).shown > virtual_clock.monotonic() - VISIBILITY / 4


def test_what_ran_out_is_not_ours_any_more(post: Post, virtual_clock: VirtualClock) -> None:
    """One that nobody kept hidden is others' by now, and dropped."""
    post.send(told("input/a.wav"))
    source = post.source()
    source.prefetch.begin()
    virtual_clock.advance(VISIBILITY)
    assert source.wait(0, NEVER) is None
    assert only(post.source()).keys == ("input/a.wav",)


@pytest.mark.parametrize(
    "body",
    ["nonsense", told("input/a.wav", name="ObjectRemoved:Delete"), '{"Service": "Amazon S3", "Event": "s3:TestEvent"}'],
)
def test_it_may_name_nothing(post: Post, body: str) -> None:
    """What is no event, or of no work, names no key; its turn deals with it."""
    post.send(body)
    source = post.source()
    source.prefetch.begin()
    assert source.prefetch.keys() == ()
    message = only(source)
    assert message.keys == ()
    message.done()
    source.flush()
    assert post.left == []


def test_trouble_is_told_by_the_wait(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    """A receive ahead that fails raises nothing, and is logged once, as a wait's."""
    post.send(told("input/a.wav"))
    source = post.source(client=post.client(failing("receive_message", times=1)))
    source.prefetch.begin()
    source.prefetch.extend()
    assert source.prefetch.keys() == ()
    assert source.wait(20, NEVER) is None
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert only(source).keys == ("input/a.wav",)


# ── in threads ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Held(FakeSqs):
    """Its first request of one kind is answered when `go` is set; ``asked`` tells that it is there."""

    def __init__(self, method: str) -> None:
        super().__init__(SystemClock(), hook=self._hold)
        self._method = method
        self.asked, self.go = threading.Event(), threading.Event()

    def _hold(self, method: str, given: dict[str, Any], phase: str) -> None:
        if method == self._method and phase == "before" and not self.asked.is_set():
            self.asked.set()
            self.go.wait(20)


def source_of(sqs: FakeSqs, clock: SystemClock | None = None, visibility: int = VISIBILITY) -> tuple[SqsQueue, str]:
    url = sqs.make("told")
    sqs.send(url, told("input/a.wav"))
    clock = clock or SystemClock()
    return SqsQueue(Sqs(sqs, url), event_keys("s3://b"), clock, visibility=visibility), url


def test_nobody_waits_for_it() -> None:
    """A server that does not answer holds up neither the job nor its heart; what it brings is what comes next."""
    sqs = Held("receive_message")
    source, _ = source_of(sqs)
    source.prefetch.begin()
    assert sqs.asked.wait(10)
    assert source.prefetch.keys() == ()
    source.prefetch.extend()
    sqs.go.set()
    assert only(source).keys == ("input/a.wav",)
    assert sqs.counts()["receive_message"] == 1


def test_one_on_its_way_is_given_back_when_it_comes() -> None:
    """Let go while the answer is on its way: others have it as soon as it is here."""
    sqs = Held("receive_message")
    source, url = source_of(sqs)
    source.prefetch.begin()
    assert sqs.asked.wait(10)
    letting_go = threading.Thread(target=source.prefetch.let_go, daemon=True)
    letting_go.start()
    letting_go.join(10)
    assert not letting_go.is_alive()
    [thread] = [thread for thread in threading.enumerate() if thread.name == "queue"]
    sqs.go.set()
    thread.join(10)
    assert sqs.counts() == {"receive_message": 1, "change_message_visibility": 1}
    assert sqs.hidden(url) == [0]


class Shifting(SystemClock):
    """The real clock, set forward by hand."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


def test_a_heartbeat_does_not_hide_what_was_given_back() -> None:
    """The heart's request is under way when the worker lets go: that does not wait for it, and the message is others'
    all the same, whichever comes first.
    """
    sqs, clock = Held("change_message_visibility"), Shifting()
    source, url = source_of(sqs, clock)
    source.prefetch.begin()
    while source.prefetch.keys() == ():
        clock.sleep(0.001)
    clock.ahead = VISIBILITY / 2
    beat = threading.Thread(target=source.prefetch.extend, daemon=True)
    beat.start()
    assert sqs.asked.wait(10)
    receive = source.prefetch._receive
    assert receive is not None
    source.prefetch.let_go()
    assert sqs.hidden(url) == [0]
    sqs.go.set()
    beat.join(10)
    clock.ahead = VISIBILITY
    receive.extend()
    asked = [given["VisibilityTimeout"] for method, given in sqs.calls if method == "change_message_visibility"]
    assert asked == [VISIBILITY, 0]
    assert sqs.hidden(url) == [0]
