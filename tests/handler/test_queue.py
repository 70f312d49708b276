"""The queue as a source, call by call: on queues in memory, in virtual time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from queue_rig import VISIBILITY, Post, told

from handler.clock import SystemClock, VirtualClock
from handler.errors import AccessDenied, Unavailable, Usage
from handler.fake_sqs import FakeSqs, SqsError
from handler.queue import Message, SqsQueue, open_queue
from handler.sqs import LONGEST_HOLD, Sqs
from handler.store.opening import event_keys

NEVER = threading.Event()


@pytest.fixture
def post(virtual_clock: VirtualClock) -> Post:
    return Post(virtual_clock)


def only(source: SqsQueue) -> Message:
    """The one message that comes."""
    messages = source.wait(20, NEVER)
    assert messages is not None
    [message] = messages
    return message


def failing(*methods: str, times: int = 10**9, phase: str = "before") -> Callable[..., None]:
    """A hook that lets requests of these kinds fail."""
    left = [times]

    def hook(method: str, given: dict[str, Any], when: str) -> None:
        if method in methods and when == phase and left[0]:
            left[0] -= 1
            raise SqsError("InternalError", "no answer")

    return hook


# ── receiving ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_message_names_our_keys(post: Post) -> None:
    """A message's keys are the store's, decoded, each once."""
    post.send(told("input/a b.wav", "input/ü.wav", "input/a b.wav"))
    message = only(post.source())
    assert message.keys == ("input/a b.wav", "input/ü.wav")
    assert not message.again


def test_nothing_is_deleted_before_it_is_done(post: Post) -> None:
    """A message is deleted when the worker says that it is settled, and not a request earlier."""
    post.send(told("input/a.wav"))
    source = post.source()
    message = only(source)
    assert post.left
    message.done()
    source.wait(1, NEVER)
    assert not post.left


def test_an_idle_wait_is_one_long_poll(post: Post, virtual_clock: VirtualClock) -> None:
    """A minute without messages is three requests."""
    source, until = post.source(), virtual_clock.monotonic() + 60
    while virtual_clock.monotonic() < until:
        assert source.wait(20, NEVER) == []
    assert post.sqs.counts() == {"receive_message": 3}
    assert all(given["WaitTimeSeconds"] == 20 for _, given in post.sqs.calls)


@pytest.mark.parametrize(("seconds", "asked"), [(300.0, 20), (20.0, 20), (7.2, 8), (0.01, 1)])
def test_a_poll_is_never_short(post: Post, seconds: float, asked: int) -> None:
    """However soon the next scan is due, the receive asks all of SQS's servers, which a short poll does not."""
    post.source().wait(seconds, NEVER)
    assert post.sqs.calls[0][1]["WaitTimeSeconds"] == asked


def test_receives_grow_while_work_is_short(post: Post) -> None:
    """One message at first, then twice as many each time, up to ten; one again as soon as a job was long."""
    post.send(*[told(f"input/{number}.wav") for number in range(100)])
    source, sizes = post.source(), []
    for _ in range(6):
        messages = source.wait(20, NEVER)
        assert messages is not None
        sizes.append(len(messages))
        for message in messages:
            message.done()
    assert sizes == [1, 2, 4, 8, 10, 10]
    source.hand_back([])
    assert len(source.wait(20, NEVER) or ()) == 1


def test_what_is_handed_back_is_there_for_others(post: Post) -> None:
    """Messages beyond the one that is worked on are visible to others at once, by one request."""
    post.send(*[told(f"input/{number}.wav") for number in range(3)])
    source = post.source()
    first = only(source)
    rest = source.wait(20, NEVER)
    assert rest is not None
    source.hand_back(rest)
    assert post.sqs.counts()["change_message_visibility_batch"] == 1
    other = post.source()
    got = [only(other).keys, *[message.keys for message in other.wait(20, NEVER) or ()]]
    assert sorted(got) == sorted(message.keys for message in rest)
    assert first.keys not in got


def test_a_message_received_before_says_so(post: Post) -> None:
    """A message that comes again is known for one, so that nobody hashes a recording twice."""
    post.send(told("input/a.wav"))
    source = post.source()
    only(source).later(0)
    assert only(source).again


# ── which messages are work ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "body",
    [
        told("input/a.wav", name="ObjectRemoved:Delete"),
        told("input/a.wav", name="ObjectTagging:Put"),
        '{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"b"}',
    ],
)
def test_events_without_work_are_acknowledged(post: Post, body: str) -> None:
    """Removals, tagging and test events name no keys, so that they are settled without a request to the bucket."""
    post.send(body)
    assert only(post.source()).keys == ()


def test_keys_outside_the_prefix_are_not_ours(post: Post, virtual_clock: VirtualClock) -> None:
    """A store with a prefix hears of what lies under it alone; the rest of its bucket is nobody's work."""
    post.send(told("calls/input/a.wav", "other/input/b.wav", "calls"), told("other/input/c.wav"))
    source = SqsQueue(
        Sqs(post.sqs, post.url), event_keys("s3://b/calls"), virtual_clock, visibility=VISIBILITY, inline=True
    )
    assert only(source).keys == ("input/a.wav",)
    assert only(source).keys == ()


def test_another_buckets_events_are_left_for_others(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody else's message is neither deleted nor put away; it shows up again in half a minute, and that is said
    once.
    """
    post.send(told("input/a.wav", bucket="theirs"), told("input/b.wav", bucket="theirs"))
    source = post.source()
    for _ in range(2):
        message = only(source)
        assert message.keys == ()
        message.done()
        source.flush()
    assert post.left == [told("input/a.wav", bucket="theirs"), told("input/b.wav", bucket="theirs")]
    assert all(0 < seconds <= 30 for seconds in post.sqs.hidden(post.url))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "theirs" in caplog.text


# ── messages that cannot be read ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("body", ["", "hello", "{}", '{"Records":[{}]}', "\x01\x02"])
def test_poison_goes_to_the_dead_letters(post: Post, body: str, caplog: pytest.LogCaptureFixture) -> None:
    """What no form fits leaves the queue at its first receipt, with the reason beside it, and the log says so."""
    post.send(body, told("input/a.wav"))
    source = post.source()
    assert only(source).keys == ()
    assert post.left == [told("input/a.wav")]
    assert post.sqs.bodies(post.dead) == [body or "(empty)"]
    [attributes] = post.sqs.attributes(post.dead)
    assert "the message" in attributes["reason"]["StringValue"]
    assert "put away" in caplog.text
    assert only(source).keys == ("input/a.wav",)


def test_poison_without_dead_letters_is_in_the_log(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    """Without a dead-letter queue an unreadable message is deleted, and what it said stands in the log."""
    post.send("some nonsense")
    assert only(post.source(dead_letters="")).keys == ()
    assert not post.left
    assert "some nonsense" in caplog.text


def test_poison_that_cannot_be_put_away_stays(post: Post) -> None:
    """If the dead letters cannot be written the message is not deleted: it comes again."""
    post.send("nonsense")
    assert only(post.source(client=post.client(failing("send_message")))).keys == ()
    assert post.left == ["nonsense"]


# ── deleting ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_deletes_go_in_batches(post: Post) -> None:
    """A hundred settled messages are ten requests."""
    post.send(*[told(f"input/{number}.wav") for number in range(100)])
    source = post.source()
    while messages := source.wait(1, NEVER):
        for message in messages:
            message.done()
    source.close()
    assert not post.left
    counts = post.sqs.counts()
    assert "delete_message" not in counts
    assert counts["delete_message_batch"] <= 14


class Partial(FakeSqs):
    """Batch deletes fail for the second message of each batch."""

    sender_fault = False

    def delete_message_batch(self, **given: Any) -> dict[str, Any]:
        kept = given["Entries"][1:2]
        answer = super().delete_message_batch(
            **given | {"Entries": [entry for entry in given["Entries"] if entry not in kept]}
        )
        answer["Failed"] += [
            {"Id": entry["Id"], "SenderFault": self.sender_fault, "Code": "InternalError"} for entry in kept
        ]
        return answer


@pytest.mark.parametrize("fault", [False, True])
def test_a_batch_that_is_deleted_in_part(post: Post, virtual_clock: VirtualClock, fault: bool) -> None:
    """A reply that names failures is read: those are deleted once more, unless the receipt was stale."""
    client = Partial(virtual_clock)
    client._server = post.sqs._server
    client.sender_fault = fault
    post.send(told("input/a.wav"), told("input/b.wav"), told("input/c.wav"))
    source = post.source(client=client)
    held = [only(source), *(source.wait(20, NEVER) or ())]
    for message in held:
        message.done()
    source.flush()
    assert client.counts()["delete_message"] == (0 if fault else 1)
    assert len(post.left) == (1 if fault else 0)


def test_a_delete_that_fails_is_told_again(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    """If nothing can be deleted the worker goes on; the messages come again."""
    post.send(told("input/a.wav"))
    source = post.source(client=post.client(failing("delete_message_batch")))
    only(source).done()
    source.flush()
    assert post.left == [told("input/a.wav")]
    assert "could not be deleted" in caplog.text


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
        self.go.wait(10)
        return super().receive_message(**given)


@pytest.fixture
def slow() -> Slow:
    return Slow(SystemClock())


def slow_source(slow: Slow) -> tuple[SqsQueue, str]:
    url = slow.make("told")
    return SqsQueue(Sqs(slow, url), event_keys("s3://b"), SystemClock(), visibility=VISIBILITY), url


def test_a_receive_under_way_at_a_stop_is_given_back(slow: Slow) -> None:
    """A worker that is told to stop leaves its wait at once, waits for the receive under way when it closes, and
    gives what it brings to others.
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


# ── opening ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def sqs_client(aws_environment: str) -> Any:
    import boto3

    client = boto3.session.Session().client("sqs")
    yield client
    client.close()


def test_a_queue_by_name_and_by_url(sqs_client: Any) -> None:
    """A person may give either; the dead-letter queue is found from the queue's own policy."""
    import json

    dead = sqs_client.create_queue(QueueName="opened-dead")["QueueUrl"]
    arn = sqs_client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 1000})
    url = sqs_client.create_queue(QueueName="opened", Attributes={"RedrivePolicy": policy})["QueueUrl"]
    for name in ("opened", url):
        sqs_client.send_message(QueueUrl=url, MessageBody=f"nonsense from {name}")
        source = open_queue(name, event_keys("s3://b"), SystemClock(), visibility=VISIBILITY)
        assert only(source).keys == ()
        source.close()
        [put_away] = sqs_client.receive_message(QueueUrl=dead, MessageAttributeNames=["All"])["Messages"]
        assert put_away["Body"] == f"nonsense from {name}"
        assert "not JSON" in put_away["MessageAttributes"]["reason"]["StringValue"]
        sqs_client.delete_message(QueueUrl=dead, ReceiptHandle=put_away["ReceiptHandle"])


def test_few_receives_are_warned_of(sqs_client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A queue that puts a message away after a few receipts does so with those of busy jobs, too: that is said."""
    import json

    dead = sqs_client.create_queue(QueueName="few-dead")["QueueUrl"]
    arn = sqs_client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 3})
    sqs_client.create_queue(QueueName="few", Attributes={"RedrivePolicy": policy})
    with caplog.at_level(logging.WARNING):
        open_queue("few", event_keys("s3://b"), SystemClock(), visibility=VISIBILITY).close()
    assert "maxReceiveCount is 3" in caplog.text


@pytest.mark.usefixtures("aws_environment")
@pytest.mark.parametrize("name", ["no-such-queue", "https://sqs.us-east-1.amazonaws.com/123456789012/no-such", "ü"])
def test_a_queue_that_is_not_there(name: str) -> None:
    """A name that leads nowhere is told by that name."""
    with pytest.raises(Usage) as caught:
        open_queue(name, event_keys("s3://b"), SystemClock(), visibility=VISIBILITY)
    assert name in caught.value.message


@pytest.mark.usefixtures("aws_environment")
def test_a_queue_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials the line says so, and what to set."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises((Usage, AccessDenied)) as caught:
        open_queue("told", event_keys("s3://b"), SystemClock(), visibility=VISIBILITY)
    assert "credentials" in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.usefixtures("aws_environment")
def test_a_queue_without_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint that is not there is an error that may pass."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:9")
    with pytest.raises(Unavailable) as caught:
        open_queue("told", event_keys("s3://b"), SystemClock(), visibility=VISIBILITY)
    assert "told" in caught.value.message


def test_a_folder_sends_no_events() -> None:
    """A store that is not on S3 has no queue, and the line says so."""
    with pytest.raises(Usage) as caught:
        event_keys("file:///somewhere")
    assert "not on S3" in caught.value.message
