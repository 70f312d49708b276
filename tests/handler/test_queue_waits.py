"""The queue as a source: how long messages stay hidden, receives that fail or never end, and a stop in the middle."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from queue_rig import NEVER, VISIBILITY, Post, failing, only, told

from handler.clock import SystemClock, VirtualClock
from handler.fake_sqs import FakeSqs
from handler.queue import SqsQueue
from handler.sqs import LONGEST_HOLD, Sqs
from handler.store.opening import event_keys


@pytest.fixture
def post(virtual_clock: VirtualClock) -> Post:
    return Post(virtual_clock)


# ── visibility ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_heartbeats_keep_a_message_hidden(post: Post, virtual_clock: VirtualClock) -> None:
    """As long as the job's heart beats nobody else receives its message."""
    post.send(told("input/a.wav"))
    source = post.source()
    message = only(source)
    for _ in range(20):
        virtual_clock.advance(30)
        message.extend()
        [hidden] = post.sqs.hidden(post.url)
        assert hidden == VISIBILITY
    assert post.sqs.counts()["change_message_visibility"] == 20


def test_beats_in_quick_succession_cost_one_request(post: Post, virtual_clock: VirtualClock) -> None:
    """A message that was hidden a moment ago is not hidden again."""
    post.send(told("input/a.wav"))
    message = only(post.source())
    for _ in range(22):
        virtual_clock.advance(1)
        message.extend()
    assert post.sqs.counts()["change_message_visibility"] == 0


def test_twelve_hours_are_the_end(post: Post, virtual_clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> None:
    """SQS hides a message for twelve hours at most: it is hidden to the last second, refused never, and then the log
    says, once, that the job goes on without it.
    """
    refused: list[str] = []

    def watch(method: str, given: dict[str, Any], phase: str) -> None:
        if method == "change_message_visibility":
            refused.append(phase)

    post.send(told("input/a.wav"))
    message = only(post.source(client=post.client(watch)))
    received = virtual_clock.monotonic()
    while virtual_clock.monotonic() < received + LONGEST_HOLD + 600:
        virtual_clock.advance(30)
        message.extend()
        held = virtual_clock.monotonic() - received
        assert post.sqs.hidden(post.url)[0] > 0 or held > LONGEST_HOLD - 30
    assert refused.count("before") == refused.count("after") > 1400
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "12 hours" in caplog.text
    message.done()  # its receipt may be stale by now: that is nobody's trouble


def test_later_is_within_the_twelve_hours(post: Post, virtual_clock: VirtualClock) -> None:
    """A wait that would go beyond what SQS allows is cut to it, instead of being refused."""
    post.send(told("input/a.wav"))
    message = only(post.source())
    while virtual_clock.monotonic() < message.received + LONGEST_HOLD - 300:
        virtual_clock.advance(60)
        message.extend()
    message.later(3600)
    assert 200 < post.sqs.hidden(post.url)[0] < 300


def test_a_busy_jobs_message_comes_ever_more_rarely(post: Post, virtual_clock: VirtualClock) -> None:
    """Soon at first, then at most once in a lease: an hour of somebody else's work is some forty receives, not seven
    hundred.
    """
    post.send(told("input/a.wav"))
    source, start, waits = post.source(), virtual_clock.monotonic(), []
    while virtual_clock.monotonic() < start + 3600:
        message = only(source)
        message.later(5.0)
        waits.append(post.sqs.hidden(post.url)[0])
        virtual_clock.advance(waits[-1])
    assert waits[:6] == [5, 5, 8, 16, 32, 64]
    assert set(waits[6:]) == {VISIBILITY}
    assert len(waits) < 50


def test_a_wait_of_less_than_a_second_is_a_second(post: Post) -> None:
    """Waits are rounded up, or a message would come again at once, and again."""
    post.send(told("input/a.wav"))
    only(post.source()).later(0.2)
    assert post.sqs.hidden(post.url)[0] >= 1


def test_visibility_that_cannot_be_changed(post: Post) -> None:
    """A heartbeat never fails because the queue does."""
    post.send(told("input/a.wav"))
    source = post.source(client=post.client(failing("change_message_visibility")))
    message = only(source)
    message.shown -= VISIBILITY
    message.extend()
    message.later(5)


# ── trouble ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_trouble_is_logged_and_waited_out(
    post: Post, virtual_clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A queue that gives no answer is told from an empty one, asked again after longer and longer waits, and heard as
    soon as it answers.
    """
    post.send(told("input/a.wav"))
    source = post.source(client=post.client(failing("receive_message", times=8)))
    waits = []
    for _ in range(8):
        before = virtual_clock.monotonic()
        assert source.wait(20, NEVER) is None
        waits.append(virtual_clock.monotonic() - before)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert "no answer" in caplog.text
    assert only(source).keys == ("input/a.wav",)


def test_a_lost_answer_hides_the_message_for_its_time(post: Post, virtual_clock: VirtualClock) -> None:
    """A receive whose answer was lost loses no message."""
    post.send(told("input/a.wav"))
    source = post.source(client=post.client(failing("receive_message", times=1, phase="after")))
    assert source.wait(20, NEVER) is None
    virtual_clock.advance(VISIBILITY)
    assert only(source).keys == ("input/a.wav",)


# ── in real time ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Slow(FakeSqs):
    """Its receives take until `go`, and then bring what is there."""

    def __init__(self, clock: SystemClock) -> None:
        super().__init__(clock)
        self.asked, self.go = threading.Event(), threading.Event()

    def receive_message(self, **given: Any) -> dict[str, Any]:
        self.asked.set()
        self.go.wait(20)
        return super().receive_message(**given)


@pytest.fixture
def slow() -> Slow:
    return Slow(SystemClock())


def slow_source(slow: Slow) -> tuple[SqsQueue, str]:
    url = slow.make("told")
    return SqsQueue(Sqs(slow, url), event_keys("s3://b"), SystemClock(), visibility=VISIBILITY), url


def test_a_receive_under_way_at_a_stop_is_given_back(slow: Slow) -> None:
    """A worker that is told to stop leaves its wait at once, waits a moment for the receive under way when it closes,
    and gives what it brings to others.
    """
    source, url = slow_source(slow)
    stop = threading.Event()
    threading.Thread(target=lambda: slow.asked.wait(10) and stop.set()).start()
    assert source.wait(20, stop) == ()
    slow.send(url, told("input/a.wav"))
    assert slow.hidden(url) == [0]
    slow.go.set()
    source.close()
    assert slow.counts()["receive_message"] == 1
    assert slow.counts()["change_message_visibility"] == 1
    assert slow.hidden(url) == [0]


def test_a_receive_that_goes_on_is_not_waited_for(slow: Slow) -> None:
    """Closing does not wait out a long poll. What it brings afterwards is given to others at once while the process
    lives; in no case is it deleted.
    """
    source, url = slow_source(slow)
    stop = threading.Event()
    threading.Thread(target=lambda: slow.asked.wait(10) and stop.set()).start()
    assert source.wait(20, stop) == ()
    closing = threading.Thread(target=source.close, daemon=True)
    closing.start()
    closing.join(10)  # half a poll
    assert not closing.is_alive()
    assert not slow.go.is_set()
    [poll] = [thread for thread in threading.enumerate() if thread.name == "queue"]
    assert poll.is_alive()
    slow.send(url, told("input/a.wav"))
    slow.go.set()
    poll.join(10)
    assert slow.bodies(url) == [told("input/a.wav")]
    assert slow.counts()["change_message_visibility"] == 1
    assert slow.hidden(url) == [0]


def test_a_receive_that_is_over_when_the_stop_comes(slow: Slow) -> None:
    """Messages that arrive together with the stop are given back as well."""
    source, url = slow_source(slow)
    slow.send(url, told("input/a.wav"))
    slow.go.set()
    stop = threading.Event()
    stop.set()
    assert source.wait(20, stop) == ()
    source.close()
    assert slow.bodies(url) == [told("input/a.wav")]
    assert slow.hidden(url) == [0]


def test_the_scan_does_not_wait_for_a_silent_queue(slow: Slow) -> None:
    """A receive that takes longer than it should is left to itself; what it brings later is not lost."""
    source, url = slow_source(slow)
    assert source.wait(0.1, NEVER) is None
    slow.send(url, told("input/a.wav"))
    slow.go.set()
    assert only(source).keys == ("input/a.wav",)
    assert slow.counts()["receive_message"] == 1


def test_a_process_ends_though_a_receive_hangs(slow: Slow) -> None:
    """The receiving thread is nobody's to wait for."""
    source, _ = slow_source(slow)
    assert source.wait(0.0, NEVER) is None
    [thread] = [thread for thread in threading.enumerate() if thread.name == "queue"]
    assert thread.daemon
    slow.go.set()
    thread.join(10)


class Shifting(SystemClock):
    """The real clock, set forward by hand."""

    ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


def test_messages_received_long_ago_are_not_ours_any_more(slow: Slow) -> None:
    """What a receive brought while the worker was busy elsewhere has become visible to others since: it is dropped."""
    url, clock = slow.make("told"), Shifting()
    source = SqsQueue(Sqs(slow, url), event_keys("s3://b"), clock, visibility=VISIBILITY)
    slow.send(url, told("input/a.wav"))
    assert source.wait(0.0, NEVER) is None
    slow.go.set()
    [thread] = [thread for thread in threading.enumerate() if thread.name == "queue"]
    thread.join(10)
    clock.ahead = VISIBILITY
    assert source.wait(20, NEVER) is None
