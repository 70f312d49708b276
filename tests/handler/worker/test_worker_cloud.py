"""A worker that is told of its inputs by S3, SNS and SQS, over the wire, as moto has them."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from queue_rig import told
from worker_rig import Crash, Rig, at, check_right, give_up

from handler.clock import SystemClock
from handler.fakes import ScriptedEngine
from handler.queue import SqsQueue, open_queue
from handler.settings import Settings
from handler.store.opening import event_keys
from handler.store.s3 import S3Store
from handler.worker.beside import side_by_side
from pipeline.types import Event, Progress

BODY = b"a recording"


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
        self.rig.worker(engine, source=self.source(), beside=side_by_side, drain_seconds=1).run(drain=True)
        return engine

    def waiting(self, url: str) -> int:
        """Messages in a queue, hidden ones too."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        counts = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(counts[name]) for name in names)

    def hidden(self) -> int:
        """Messages of the queue that somebody has."""
        name = "ApproximateNumberOfMessagesNotVisible"
        return int(self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=[name])["Attributes"][name])

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


class Unhurried(ScriptedEngine):
    """Its jobs are nearly over, until another message is hidden from everybody, and a second has passed."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__()
        self._cloud = cloud

    def run(self, *args: Any, **given: Any) -> Iterator[Event | None]:
        clock = SystemClock()
        for event in super().run(*args, **given):
            yield event
            if isinstance(event, Progress):
                yield Progress(stage="transcribing", percent=50, job_eta=5.0)
                until = clock.monotonic() + 30
                while self.jobs == 1 and self._cloud.hidden() < 2:
                    assert clock.monotonic() < until
                    clock.sleep(0.1)
                    yield None


def test_a_message_ahead_over_the_wire(cloud: Cloud) -> None:
    """The next message is received while a job's last seconds pass, and its recording fetched; each is received once,
    and deleted.
    """
    for name in ("a.wav", "b.wav"):
        cloud.drop(name, name.encode())
        cloud.sqs.send_message(QueueUrl=cloud.url, MessageBody=told(f"calls/input/{name}", bucket=cloud.bucket))
    source = cloud.source()
    received: list[int] = []

    class Counting:
        prefetch, hand_back, close = source.prefetch, source.hand_back, source.close

        def wait(self, seconds: float, stop: threading.Event) -> Any:
            found = source.wait(seconds, stop)
            received.extend(message.raw.receives for message in found or ())
            return found

    engine = Unhurried(cloud)
    worker = cloud.rig.worker(engine, source=Counting(), beside=side_by_side, ahead=side_by_side, drain_seconds=1)
    assert worker.run(drain=True).completed == 2
    assert received == [1, 1]
    for name in ("a.wav", "b.wav"):
        check_right(cloud.rig, name, name.encode())
    assert cloud.waiting(cloud.url) == cloud.waiting(cloud.dead) == 0


def test_a_message_ahead_is_given_back_over_the_wire(cloud: Cloud) -> None:
    """A worker that ends during a job leaves both messages to others at once."""
    for name in ("a.wav", "b.wav"):
        cloud.drop(name, name.encode())
        cloud.sqs.send_message(QueueUrl=cloud.url, MessageBody=told(f"calls/input/{name}", bucket=cloud.bucket))

    def stop(stage: str) -> None:
        worker.stop.set()

    engine = Unhurried(cloud)
    engine._between = stop
    worker = cloud.rig.worker(engine, source=cloud.source(), ahead=side_by_side, drain_seconds=1)
    worker.run(drain=True)
    assert cloud.waiting(cloud.url) == 2
    assert cloud.hidden() == 0


class Silent:
    """A source whose worker died: nothing is said of its messages any more."""

    prefetch = None

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
