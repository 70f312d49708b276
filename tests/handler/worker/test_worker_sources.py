"""A worker that is told of its inputs: by a queue in memory, in virtual time; by S3, SNS and SQS as moto has them."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from queue_rig import BUCKET, Post, told
from worker_rig import Crash, Died, Mortal, Rig, at, check_right, give_up

from handler.clock import SystemClock
from handler.errors import Unavailable
from handler.fake_sqs import SqsError
from handler.fakes import OwnedClock, ScriptedEngine
from handler.listen import Webhook
from handler.queue import SqsQueue, open_queue
from handler.settings import Settings
from handler.store.memory import Call, MemoryStore
from handler.store.opening import event_keys
from handler.store.s3 import S3Store
from handler.worker.heart import inline_heart
from pipeline.errors import EngineFailure, ErrorDetail, ModelUnavailable

BODY = b"a recording"


@pytest.fixture
def bucket(clock: OwnedClock) -> MemoryStore:
    return MemoryStore(clock, BUCKET)


@pytest.fixture
def post(clock: OwnedClock) -> Post:
    return Post(clock)


def drain(rig: Rig, post: Post, engine: ScriptedEngine | None = None) -> ScriptedEngine:
    """A worker on the queue, until it is empty."""
    engine = engine or ScriptedEngine()
    rig.worker(engine, source=post.source()).run(drain=True)
    return engine


# ── what an event leads to ───────────────────────────────────────────────────────────────────────────────────────────


def test_an_event_becomes_a_result(rig: Rig, post: Post) -> None:
    """A recording that a message names is transcribed without a listing, and the message is gone."""
    rig.drop("a.wav", BODY)
    post.send(told("input/a.wav"))
    seen = rig.store.client()  # type: ignore[attr-defined]
    rig.worker(store=seen, source=post.source()).run(drain=True)
    check_right(rig, "a.wav", BODY)
    assert not post.left
    assert seen.counts()["LIST"] == 0


def test_a_message_is_deleted_last(rig: Rig, post: Post) -> None:
    """When a message is deleted its recording is settled and its result lies there."""
    deleted = []

    def look(method: str, given: dict[str, Any], phase: str) -> None:
        if method.startswith("delete") and phase == "before":
            check_right(rig, "a.wav", BODY)
            deleted.append(method)

    rig.drop("a.wav", BODY)
    post.send(told("input/a.wav"))
    rig.worker(source=post.source(client=post.client(look))).run(drain=True)
    assert deleted == ["delete_message_batch"]


def test_an_event_is_not_believed(rig: Rig, post: Post) -> None:
    """Events of recordings that are not there, of folders, of our own outputs and of options are acknowledged, and
    nothing is written for them.
    """
    keys = ["input/gone.wav", "input/folder/", "input/.part", "results/a.wav.json", "input/options.json", "elsewhere"]
    post.send(told(*keys), *[told(key) for key in keys])
    before = rig.keys("")
    engine = drain(rig, post)
    assert not post.left
    assert engine.jobs == 0
    assert [key for key in rig.keys("") if not key.startswith(".dropscribe/v1/stats/")] == before


def test_one_message_of_many_records(rig: Rig, post: Post) -> None:
    """A message is deleted when everything that it names is settled."""
    for name in ("a.wav", "b.wav", "c.wav"):
        rig.drop(name, name.encode())
    post.send(told("input/a.wav", "input/b.wav", "input/c.wav"))
    drain(rig, post)
    for name in ("a.wav", "b.wav", "c.wav"):
        check_right(rig, name, name.encode())
    assert not post.left


def test_a_storm_of_duplicates(rig: Rig, post: Post) -> None:
    """Ten thousand messages about one recording: it is transcribed once, and each receive of ten costs two requests to
    the store and two to the queue.
    """
    rig.drop("a.wav", BODY)
    post.send(*[told("input/a.wav")] * 10_000)
    store = rig.store.client()  # type: ignore[attr-defined]
    engine = ScriptedEngine()
    client = post.sqs.client()
    rig.worker(engine, store=store, source=post.source(client=client)).run(drain=True)
    assert engine.jobs == 1
    assert not post.left
    check_right(rig, "a.wav", BODY)
    counts = store.counts()
    assert counts["GET"] + counts["HEAD"] < 2 * 1_010
    assert counts["PUT"] < 15
    asked = client.counts()
    assert asked["receive_message"] < 1_010
    assert asked["delete_message_batch"] < 1_010
    assert sum(asked.values()) < 2_020


# ── jobs of others, failures, deaths ─────────────────────────────────────────────────────────────────────────────────


def test_a_busy_jobs_message_comes_back(rig: Rig, post: Post, clock: OwnedClock) -> None:
    """While another worker has the job its message comes again and again, charging nothing; it is deleted when the
    other one is done.
    """
    rig.drop("a.wav", BODY)
    post.send(told("input/a.wav"))

    def other_meets_the_message() -> None:
        # This worker is in the middle of the job: another one hears of it, five times, and leaves it.
        for _ in range(5):
            post.send(told("input/a.wav"))
            other = rig.worker(second, source=post.source(), drain_seconds=1)
            other.run(drain=True)
            assert other.tally.completed == 0
            assert post.left
            clock.advance(2)

    second = ScriptedEngine()
    first = at("transcribing", other_meets_the_message)
    rig.worker(first, source=post.source(), heart=inline_heart).run(drain=True)
    assert second.jobs == 0
    record = rig.record()
    assert (record.state, record.attempts, record.takeovers) == ("done", 0, 0)
    clock.advance(100)
    drain(rig, post, second)
    assert not post.left
    assert second.jobs == 0


def test_a_failed_attempts_message_stays(rig: Rig, post: Post, clock: OwnedClock) -> None:
    """After an attempt that failed the message comes again when the next one is due. Attempts are counted in the
    record, whatever the receives.
    """
    rig.drop("a.wav", BODY)
    post.send(told("input/a.wav"))
    failing: list[ErrorDetail | None] = [EngineFailure("it crashed").to_detail()] * 2
    engine = drain(rig, post, ScriptedEngine(failures=failing))
    assert engine.jobs == 3
    assert rig.record().attempts == 2
    check_right(rig, "a.wav", BODY)
    assert not post.left


def test_redelivery_after_a_death(rig: Rig, post: Post, clock: OwnedClock) -> None:
    """A worker that dies in the middle of a job leaves the message in the queue; it shows up again and another worker
    finishes the job.
    """
    rig.drop("a.wav", BODY)
    post.send(told("input/a.wav"))
    client = post.client(lambda method, given, phase: _dead(method))
    with pytest.raises(Crash):
        rig.worker(at("transcribing", give_up), source=post.source(client=client)).run(drain=True)
    assert post.left
    clock.advance(100)
    drain(rig, post)
    check_right(rig, "a.wav", BODY)
    assert rig.record().takeovers == 1
    assert not post.left


def _dead(method: str) -> None:
    """A dead worker says nothing more: only receives of before its death went out."""
    if method != "receive_message":
        raise SqsError("ConnectionError")


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("request_number", range(1, 12))
def test_a_death_at_every_write(rig: Rig, post: Post, clock: OwnedClock, request_number: int, after: bool) -> None:
    """Wherever a worker dies, the message brings somebody who finishes; it is never gone before the result is there."""
    rig.drop("a.wav", BODY)
    post.send(told("input/a.wav"))
    mortal = Mortal(rig.store, at=request_number, after=after)

    def no_more(method: str, given: dict[str, Any], phase: str) -> None:
        if mortal.dead:
            raise SqsError("ConnectionError")

    try:
        rig.worker(store=mortal, source=post.source(client=post.client(no_more))).run(drain=True)
    except Died:
        assert post.left or rig.settled("a.wav")
    clock.advance(200)
    drain(rig, post)
    check_right(rig, "a.wav", BODY)
    assert not post.left


def test_a_stop_gives_messages_back(rig: Rig, post: Post) -> None:
    """A worker that is told to stop in the middle of a job gives back the job and its message, and those that waited
    behind it: others can have them at once.
    """
    for name in ("a.wav", "b.wav", "c.wav", "d.wav"):
        rig.drop(name, name.encode())
    post.send(*[told(f"input/{name}") for name in ("a.wav", "b.wav", "c.wav", "d.wav")])
    worker = rig.worker(at("transcribing", lambda: worker.stop.set()), source=post.source(), stop_seconds=0)
    worker.run(drain=True)
    assert len(post.left) == 4
    assert post.sqs.hidden(post.url) == [0, 0, 0, 0]
    assert {record.attempts for record in rig.records()} <= {0}


def test_a_model_that_does_not_load_gives_messages_back(rig: Rig, post: Post) -> None:
    """A worker whose own model does not load ends; its messages are there for workers that do better."""
    rig.drop("a.wav", BODY)
    post.send(told("input/a.wav"))
    engine = ScriptedEngine(failures=[ModelUnavailable("weights are torn").to_detail()])
    with pytest.raises(ModelUnavailable):
        rig.worker(engine, source=post.source()).run(drain=True)
    assert post.sqs.hidden(post.url) == [0]
    drain(rig, post)
    check_right(rig, "a.wav", BODY)


# ── long jobs ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Long(ScriptedEngine):
    """Its jobs take ``seconds``, in steps of one; ``look`` is called at each."""

    def __init__(self, clock: OwnedClock, seconds: int, look: Any) -> None:
        super().__init__()
        self._clock, self._seconds, self._look = clock, seconds, look

    def run(self, request: Any, **given: Any) -> Iterator[Any]:
        for _ in range(self._seconds):
            self._clock.advance(1)
            self._look()
            yield None
        yield from super().run(request, **given)


def test_a_long_job_keeps_its_message_and_gives_others_back(rig: Rig, post: Post, clock: OwnedClock) -> None:
    """As long as the job runs its message stays hidden, by the job's own heartbeat; messages that came with it are
    visible to others from the job's beginning.
    """
    for name in ("a.wav", "b.wav", "c.wav"):
        rig.drop(name, name.encode())
    hidden: list[list[float]] = []
    look = lambda: hidden.append(post.sqs.hidden(post.url))  # noqa: E731
    post.send("{}", told("input/a.wav"), told("input/b.wav"), told("input/c.wav"))  # so that the second receive is two
    client = post.sqs.client()
    source = post.source(client=client, dead_letters="")
    rig.worker(Long(clock, 600, look), source=source, heart=inline_heart, time_limit_seconds=10_000).run(drain=True)
    first = hidden[:600]
    assert all(seconds[0] > 0 for seconds in first)
    assert {(seconds[1], seconds[2]) for seconds in first} == {(0, 0)}
    extended = client.counts()["change_message_visibility"]
    assert 3 * 15 <= extended <= 3 * 25
    for name in ("a.wav", "b.wav", "c.wav"):
        check_right(rig, name, name.encode())


def test_a_job_of_more_than_twelve_hours(
    rig: Rig, post: Post, clock: OwnedClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A job that outlives its message goes on under its lease; the message that shows up again finds it busy, and in
    the end done.
    """
    rig.drop("a.wav", BODY)
    post.send(told("input/a.wav"))
    met: list[int] = []

    def look() -> None:
        if post.sqs.hidden(post.url) == [0] and len(met) < 3:
            second = ScriptedEngine()
            rig.worker(second, source=post.source(), drain_seconds=1).run(drain=True)
            met.append(second.jobs)

    engine = Long(clock, 13 * 3600, look)
    rig.worker(engine, source=post.source(), heart=inline_heart, time_limit_seconds=1e6).run(drain=True)
    assert met == [0, 0, 0]
    assert "12 hours" in caplog.text
    check_right(rig, "a.wav", BODY)
    clock.advance(100)
    drain(rig, post)
    assert not post.left
    record = rig.record()
    assert (record.attempts, record.takeovers) == (0, 0)


# ── the scan beside, the end of a drain ──────────────────────────────────────────────────────────────────────────────


def test_the_scan_finds_what_no_event_told(rig: Rig, post: Post, clock: OwnedClock) -> None:
    """A recording whose event was lost is found by the scan, which goes on beside the queue, rarely."""
    started = clock.monotonic()
    lists: list[float] = []

    def seen(call: Call, phase: str) -> None:
        if call.verb == "LIST" and call.key == "input/" and phase == "before":
            lists.append(clock.monotonic() - started)
            if len(lists) == 2:
                rig.drop("late.wav", BODY)
            if len(lists) == 5:
                worker.stop.set()

    worker = rig.worker(store=rig.store.client(seen), source=post.source())  # type: ignore[attr-defined]
    worker.run(drain=False)
    check_right(rig, "late.wav", BODY)
    assert lists[0] == 0
    gaps = [later - earlier for earlier, later in pairwise(lists)]
    assert all(300 <= gap <= 330 for gap in gaps)


def test_an_idle_worker_on_a_queue(rig: Rig, post: Post, clock: OwnedClock) -> None:
    """An hour without work is at most six requests a minute, the scan's included."""
    store, client = rig.store.client(), post.sqs.client()  # type: ignore[attr-defined]
    worker = rig.worker(store=store, source=post.source(client=client))
    until = clock.monotonic() + 3600

    def stop(method: str, given: dict[str, Any], phase: str) -> None:
        if clock.monotonic() >= until:
            worker.stop.set()

    client.hook = stop
    worker.run(drain=False)
    assert sum(client.counts().values()) <= 3.1 * 60
    assert sum(client.counts().values()) + len(store.calls) <= 6 * 60


def test_a_drain_of_a_silent_queue_fails(rig: Rig, post: Post) -> None:
    """A queue that gives no answer is not an empty one: the drain ends with an error that may pass."""

    def silent(method: str, given: dict[str, Any], phase: str) -> None:
        raise SqsError("InternalError", "no answer")

    with pytest.raises(Unavailable):
        rig.worker(source=post.source(client=post.client(silent))).run(drain=True)


def test_a_drain_outlives_some_trouble(rig: Rig, post: Post) -> None:
    """A few receives that fail do not end a drain."""
    rig.drop("a.wav", BODY)
    post.send(told("input/a.wav"))
    left = [4]

    def shaky(method: str, given: dict[str, Any], phase: str) -> None:
        if method == "receive_message" and phase == "before" and left[0]:
            left[0] -= 1
            raise SqsError("ThrottlingException")

    rig.worker(source=post.source(client=post.client(shaky))).run(drain=True)
    check_right(rig, "a.wav", BODY)


# ── in real time ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_two_workers_on_one_queue(worker_settings: Settings) -> None:
    """Two workers share the messages of a queue: every recording is transcribed once, by one of them."""
    clock = SystemClock()
    rig, post = Rig(MemoryStore(clock, BUCKET), clock, worker_settings), Post(clock)
    names = [f"{number}.wav" for number in range(40)]
    for name in names:
        rig.drop(name, name.encode())
        post.send(told(f"input/{name}"), told(f"input/{name}"))
    engines = [ScriptedEngine(), ScriptedEngine()]
    workers = [rig.worker(engine, source=post.source(inline=False), drain_seconds=1) for engine in engines]
    threads = [threading.Thread(target=worker.run, kwargs={"drain": True}) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    drainer = rig.worker(source=post.source(inline=False), drain_seconds=1)  # of messages that were busy at the end
    while post.left:
        drainer.run(drain=True)
    for name in names:
        check_right(rig, name, name.encode())
    assert sum(engine.jobs for engine in engines) == len(names)
    assert all(record.attempts == record.takeovers == 0 for record in rig.records())


def test_a_webhook_wakes_the_worker(worker_settings: Settings) -> None:
    """A post leads to a result while the next scan is minutes away."""
    from http.client import HTTPConnection

    clock = SystemClock()
    done = threading.Event()

    def look(call: Call, phase: str) -> None:
        if call.verb == "PUT" and "/settled/" in call.key and phase == "after":
            done.set()

    store = MemoryStore(clock, BUCKET)
    rig = Rig(store, clock, worker_settings)
    webhook = Webhook("127.0.0.1", 0, event_keys(BUCKET), clock, token=None)
    worker = rig.worker(store=store.client(look), source=webhook, reconcile_seconds=600)
    thread = threading.Thread(target=worker.run, kwargs={"drain": False})
    thread.start()
    try:
        rig.drop("a.wav", BODY)
        connection = HTTPConnection(*webhook.address, timeout=10)
        connection.request("POST", "/", body=told("input/a.wav"))
        assert connection.getresponse().status == 200
        connection.close()
        assert done.wait(30)
    finally:
        worker.stop.set()
        thread.join(30)
    check_right(rig, "a.wav", BODY)


# ── S3, SNS and SQS over the wire ────────────────────────────────────────────────────────────────────────────────────


class Cloud:
    """A bucket whose notifications go to a queue, on moto."""

    def __init__(self, bucket: str, s3: Any, settings: Settings) -> None:
        import boto3

        self.bucket, self.s3 = bucket, s3
        session = boto3.session.Session()
        self.sqs, self.sns = session.client("sqs"), session.client("sns")
        name = f"queue-{uuid.uuid4().hex}"
        self.dead = self.sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
        policy = json.dumps({"deadLetterTargetArn": self.arn(self.dead), "maxReceiveCount": 1000})
        self.url = self.sqs.create_queue(QueueName=name, Attributes={"RedrivePolicy": policy})["QueueUrl"]
        self.store = S3Store(bucket, "calls", clock=SystemClock())
        self.rig = Rig(self.store, SystemClock(), settings)

    def arn(self, url: str) -> str:
        return str(self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"])

    def notify(self) -> None:
        """S3 tells the queue of everything that is created, and sends a test event first."""
        target = {"QueueArn": self.arn(self.url), "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}
        configuration = {"QueueConfigurations": [target]}
        self.s3.put_bucket_notification_configuration(Bucket=self.bucket, NotificationConfiguration=configuration)

    def drop(self, key: str, body: bytes) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=f"calls/input/{key}", Body=body)

    def source(self) -> SqsQueue:
        return open_queue(self.url, event_keys(self.store.url), SystemClock(), visibility=90)

    def drain(self, engine: ScriptedEngine | None = None) -> ScriptedEngine:
        engine = engine or ScriptedEngine()
        self.rig.worker(engine, source=self.source(), drain_seconds=1).run(drain=True)
        return engine

    def waiting(self, url: str) -> int:
        """Messages in a queue, hidden ones too."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        counts = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(counts[name]) for name in names)

    def close(self) -> None:
        self.store.close()
        self.sqs.close()
        self.sns.close()


@pytest.fixture
def cloud(s3_bucket: str, s3_client: Any, worker_settings: Settings) -> Iterator[Cloud]:
    made = Cloud(s3_bucket, s3_client, worker_settings)
    yield made
    made.close()


def test_drop_event_result(cloud: Cloud) -> None:
    """S3→SQS: dropped recordings, whatever they are called, are transcribed; every message is deleted, those of our
    own outputs and of removals, too.
    """
    cloud.notify()
    names = ["a.wav", "with blank + plus.wav", "ü/ö%41.wav", "gone.wav"]
    for name in names:
        cloud.drop(name, name.encode())
    cloud.s3.delete_object(Bucket=cloud.bucket, Key="calls/input/gone.wav")
    cloud.s3.put_object(Bucket=cloud.bucket, Key="other/input/b.wav", Body=BODY)
    engine = cloud.drain()
    assert engine.jobs == 3
    for name in names[:3]:
        check_right(cloud.rig, name, name.encode())
    assert cloud.waiting(cloud.url) == 1  # of the statistics that were written when the worker ended
    assert cloud.waiting(cloud.dead) == 0


@pytest.mark.parametrize("raw", ["true", "false"])
def test_through_sns(cloud: Cloud, raw: str) -> None:
    """S3→SNS→SQS, with the envelope and with raw delivery."""
    topic = cloud.sns.create_topic(Name=f"topic-{uuid.uuid4().hex}")["TopicArn"]
    cloud.sns.subscribe(
        TopicArn=topic,
        Protocol="sqs",
        Endpoint=cloud.arn(cloud.url),
        Attributes={"RawMessageDelivery": raw},
    )
    cloud.drop("a b.wav", BODY)
    cloud.sns.publish(TopicArn=topic, Message=json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent"}))
    cloud.sns.publish(TopicArn=topic, Message=told("calls/input/a b.wav", bucket=cloud.bucket))
    cloud.drain()
    check_right(cloud.rig, "a b.wav", BODY)
    assert cloud.waiting(cloud.url) == cloud.waiting(cloud.dead) == 0


def test_poison_among_events(cloud: Cloud) -> None:
    """Messages that nobody understands do not keep others waiting: they end in the dead-letter queue."""
    cloud.notify()
    cloud.sqs.send_message(QueueUrl=cloud.url, MessageBody="nonsense")
    cloud.drop("a.wav", BODY)
    cloud.sqs.send_message(QueueUrl=cloud.url, MessageBody="[]")
    cloud.drain()
    check_right(cloud.rig, "a.wav", BODY)
    assert cloud.waiting(cloud.url) == 1  # of the worker's own statistics
    assert cloud.waiting(cloud.dead) == 2


def test_redelivery_over_the_wire(cloud: Cloud) -> None:
    """A worker that dies keeps its message hidden for a while only; the next one finishes what it began."""
    cloud.drop("a.wav", BODY)
    cloud.sqs.send_message(QueueUrl=cloud.url, MessageBody=told("calls/input/a.wav", bucket=cloud.bucket))
    source = open_queue(cloud.url, event_keys(cloud.store.url), SystemClock(), visibility=1)
    silent = Silent(source)
    with pytest.raises(Crash):
        cloud.rig.worker(
            at("transcribing", give_up), source=silent, drain_seconds=1, lease_seconds=0.3, beat_seconds=0.1
        ).run(drain=True)
    source.close()
    assert cloud.waiting(cloud.url) == 1
    engine = ScriptedEngine()
    while cloud.waiting(cloud.url):  # until the lease has run out, its message comes again and again
        cloud.drain(engine)
    check_right(cloud.rig, "a.wav", BODY)
    assert engine.jobs == 1
    assert cloud.rig.record().takeovers == 1


class Silent:
    """A source whose worker died: nothing is said of its messages any more."""

    def __init__(self, source: SqsQueue) -> None:
        self._source = source

    def wait(self, seconds: float, stop: threading.Event) -> Any:
        return self._source.wait(seconds, stop)

    def hand_back(self, notices: Any) -> None:
        return

    def close(self) -> None:
        return


def test_a_missing_queue_is_waited_out(cloud: Cloud, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """A queue that is deleted under a worker is logged, not a crash: what is dropped is still found by the scan."""
    source = cloud.source()
    cloud.sqs.delete_queue(QueueUrl=cloud.url)
    cloud.drop("a.wav", BODY)
    worker = cloud.rig.worker(source=source, reconcile_seconds=0.5)
    thread = threading.Thread(target=worker.run, kwargs={"drain": False})
    thread.start()
    while "NonExistentQueue" not in caplog.text and "does not exist" not in caplog.text:
        assert thread.is_alive()
        thread.join(0.05)
    worker.stop.set()
    thread.join(30)
    check_right(cloud.rig, "a.wav", BODY)
