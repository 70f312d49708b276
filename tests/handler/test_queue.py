"""The queue as a source, call by call, on queues in memory in virtual time: what is received, and what is deleted."""

from __future__ import annotations

from typing import Any

import pytest
from queue_rig import NEVER, VISIBILITY, Post, failing, only, told

from handler.clock import VirtualClock
from handler.fake_sqs import FakeSqs
from handler.queue import SqsQueue
from handler.sqs import Sqs
from handler.store.opening import event_keys


@pytest.fixture
def post(virtual_clock: VirtualClock) -> Post:
    return Post(virtual_clock)


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
    assert not source.wait(20, NEVER)
    assert post.left == [told("input/a.wav", bucket="theirs"), told("input/b.wav", bucket="theirs")]
    assert all(0 < seconds <= 30 for seconds in post.sqs.hidden(post.url))
    assert not source.wait(20, NEVER)
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
