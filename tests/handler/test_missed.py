"""What a queue missed is told to it again: no more than it lacks, the oldest first, in a form that a worker reads."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from queue_rig import Post, only, told

from handler.clock import VirtualClock
from handler.errors import AccessDenied, Unavailable, Usage
from handler.events import ObjectEvent, created_event, parse_events
from handler.fake_sqs import SqsError
from handler.layout import Layout
from handler.missed import AT_MOST, LONG_SECONDS, SILENT_SECONDS, Told, tell_missed
from handler.settings import load_settings
from handler.sqs import Sqs, open_sqs
from handler.store.memory import MemoryStore
from handler.store.opening import event_keys, event_names


class OnS3(MemoryStore):
    """A store in memory that calls itself one on S3, under a prefix."""

    @property
    def url(self) -> str:
        return "s3://b/calls"


class Place:
    """A bucket with recordings that are dropped a second apart, and its queue."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.store = OnS3(clock=self.clock)
        self.layout = Layout.of(self.store.url, load_settings())
        self.post = Post(self.clock)
        self.sqs = Sqs(self.post.sqs, self.post.url)

    def drop(self, *names: str) -> None:
        for name in names:
            self.store.drop(f"input/{name}", name.encode())
            self.clock.sleep(1)

    def settle(self, name: str) -> None:
        source = self.layout.source(self.store.head(f"input/{name}"))
        self.store.put(self.layout.settled_key(source.sid), b"{}")

    def attend(self, name: str, status: str = "processing", source_id: str = "") -> None:
        """What a worker that is at it writes."""
        sid = source_id or self.layout.source(self.store.head(f"input/{name}")).sid
        manifest = json.dumps({"status": status, "source_id": sid})
        self.store.put(self.layout.progress_key(name), manifest.encode())

    def sweep(self) -> Told:
        return tell_missed(self.store, self.layout, self.sqs, self.clock)

    def told(self) -> list[str]:
        return [event.key for body in self.post.left for event in parse_events(body)]


@pytest.fixture
def place() -> Place:
    return Place()


def test_what_is_not_settled_is_told(place: Place) -> None:
    """Each recording and each batch that is not settled gets a message; nothing else does."""
    place.drop("a b.wav", "options.json", "done.wav", "ü+.mp3", "monday.batch.jsonl")
    place.settle("done.wav")
    done = place.sweep()
    assert (done.unsettled, done.held, done.sent) == (3, 0, 3)
    assert place.told() == ["calls/input/a b.wav", "calls/input/ü+.mp3", "calls/input/monday.batch.jsonl"]


def test_a_worker_reads_what_is_sent(place: Place) -> None:
    """A worker's queue takes the message for one about its own bucket, and gives the key in its store."""
    place.drop("a b.wav")
    place.sweep()
    from handler.queue import SqsQueue

    source = SqsQueue(
        Sqs(place.post.sqs, place.post.url), event_keys(place.store.url), place.clock, visibility=90, inline=True
    )
    assert only(source).keys == ("input/a b.wav",)


def test_a_backlog_is_not_doubled(place: Place) -> None:
    """While the queue holds as many messages as there are unsettled inputs, a sweep adds none; messages that somebody
    has received count like those that wait.
    """
    names = [f"{number:02}.wav" for number in range(30)]
    place.drop(*names)
    place.post.send(*(told(f"calls/input/{name}") for name in names))
    place.post.sqs.receive_message(QueueUrl=place.post.url, MaxNumberOfMessages=5, VisibilityTimeout=900)
    done = place.sweep()
    assert (done.held, done.sent) == (30, 0)


def test_the_oldest_are_told_first(place: Place) -> None:
    """Of 30 inputs, 12 of which the queue can hold, the 18 that have waited longest are told."""
    names = [f"{number:02}.wav" for number in reversed(range(30))]
    place.drop(*names)
    place.post.send(*[told("calls/input/somewhere.wav")] * 12)
    assert place.sweep().sent == 18
    assert place.told()[12:] == [f"calls/input/{name}" for name in names[:18]]


def test_messages_about_other_things_stop_nothing(place: Place) -> None:
    """A queue full of other buckets' messages does not keep lost recordings from being told, when they have waited for
    long; a few in each sweep.
    """
    place.drop("lost.wav", *(f"{number:02}.wav" for number in range(20)))
    place.post.send(*[told("x", bucket="other")] * 50)
    assert place.sweep().sent == 0
    place.clock.sleep(LONG_SECONDS)
    assert place.sweep().sent == AT_MOST
    assert "calls/input/lost.wav" in place.told()


def test_what_a_worker_is_at_is_passed_over(place: Place) -> None:
    """Of a long job that is under way and a younger recording that was lost, the lost one is told: a message about the
    other would bring a second GPU for nothing.
    """
    place.drop("long.wav", "lost.wav")
    place.post.send(told("calls/input/long.wav"))
    place.post.sqs.receive_message(QueueUrl=place.post.url, VisibilityTimeout=900)
    place.attend("long.wav")
    assert place.sweep().sent == 1
    assert place.told()[1:] == ["calls/input/lost.wav"]


@pytest.mark.parametrize("how", ["silent", "another version", "waits", "damaged"])
def test_what_nobody_is_at_is_told(place: Place, how: str) -> None:
    """A manifest that a killed worker left, that is of an earlier version, of a job that waits, or that cannot be read
    keeps no recording from being told.
    """
    place.drop("a.wav")
    place.attend("a.wav", "queued" if how == "waits" else "processing", "0" * 64 if how == "another version" else "")
    if how == "damaged":
        place.store.put(place.layout.progress_key("a.wav"), b"[")
    if how == "silent":
        place.clock.sleep(SILENT_SECONDS + 1)
    assert place.sweep().sent == 1


def test_nothing_to_tell(place: Place) -> None:
    """A bucket whose recordings are all settled sends nothing, and costs no request for it."""
    place.drop("done.wav")
    place.settle("done.wav")
    assert place.sweep().sent == 0
    assert place.post.sqs.counts()["send_message_batch"] == 0


@pytest.mark.parametrize(
    ("code", "error", "says"),
    [("AccessDenied", AccessDenied, "sqs:SendMessage"), ("ServiceUnavailable", Unavailable, "gives no answer")],
)
def test_a_queue_that_takes_nothing(place: Place, code: str, error: type[Exception], says: str) -> None:
    """A refused send is an error that names the permission or the trouble, never a sweep that looks well."""
    place.drop("a.wav")

    def hook(method: str, given: object, when: str) -> None:
        if method == "send_message_batch":
            raise SqsError(code)

    with pytest.raises(error) as caught:
        tell_missed(place.store, place.layout, Sqs(place.post.client(hook), place.post.url), place.clock)
    assert says in f"{caught.value.message} {caught.value.hint}"  # type: ignore[attr-defined]


def test_a_message_that_is_refused(place: Place) -> None:
    """A batch of which one message was not taken is an error as well."""
    place.drop("a.wav")

    class Refusing:
        """Takes the request and none of its messages."""

        def __getattr__(self, name: str) -> object:
            return getattr(place.post.sqs, name)

        def send_message_batch(self, **_: object) -> dict[str, object]:
            return {"Successful": [], "Failed": [{"Id": "0", "Code": "InternalError", "SenderFault": False}]}

    with pytest.raises(Unavailable, match="InternalError"):
        tell_missed(place.store, place.layout, Sqs(Refusing(), place.post.url), place.clock)


def test_a_queue_in_order(place: Place) -> None:
    """In a FIFO queue each message has a group of its own, so that none waits for another, and none is taken twice."""
    sent: list[dict[str, str]] = []

    class Fifo:
        def send_message_batch(self, **given: object) -> dict[str, object]:
            sent.extend(given["Entries"])  # type: ignore[arg-type]
            return {}

    Sqs(Fifo(), "https://sqs.invalid/0/told.fifo").send(["one", "two", "two"])
    groups = [entry["MessageGroupId"] for entry in sent]
    assert groups[0] != groups[1] == groups[2]
    assert [entry["MessageDeduplicationId"] for entry in sent] == groups


def test_a_folder_has_no_queue() -> None:
    """A store that sends no events is refused."""
    store = MemoryStore(clock=VirtualClock())
    post = Post(VirtualClock())
    with pytest.raises(Usage):
        tell_missed(store, Layout.of(store.url, load_settings()), Sqs(post.sqs, post.url), VirtualClock())


def test_what_is_held_is_asked_of_the_queue() -> None:
    """The count is of all messages: waiting and received."""
    post = Post(VirtualClock())
    post.send("1", "2", "3")
    sqs = open_sqs("told", lambda: (post.sqs, post.sqs))
    sqs.receive(1, 1, 90)
    assert sqs.held() == 3


@given(bucket=st.from_regex(r"[a-z][a-z0-9-]{2,20}", fullmatch=True), key=st.text(min_size=1, max_size=40))
def test_any_key_comes_back(bucket: str, key: str) -> None:
    """Whatever a key holds, the event that is made of it names it, and it is one of S3's form."""
    if any(0xD800 <= ord(letter) <= 0xDFFF for letter in key):
        return
    body = created_event(bucket, key)
    assert parse_events(body) == (ObjectEvent(bucket, key),)
    assert json.loads(body)["Records"][0]["eventName"] == "ObjectCreated:Put"


@pytest.mark.parametrize("url", ["s3://b", "s3://b/", "s3://b/calls", "s3://b/a/b/"])
def test_names_are_the_way_back(url: str) -> None:
    """A key that is named for an event is the same key when the event is read."""
    assert event_keys(url)(*event_names(url)("input/a.wav")) == "input/a.wav"
