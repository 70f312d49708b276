"""From what a person calls a queue to the queue, over the wire; and what is said when that cannot be."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from queue_rig import NEVER, VISIBILITY, only, told

from handler.clock import SystemClock
from handler.errors import AccessDenied, HandlerError, Unavailable, Usage
from handler.fake_sqs import SqsError
from handler.queue import open_queue
from handler.sqs import open_sqs
from handler.store.opening import event_keys


@pytest.fixture
def sqs_client(aws_environment: str) -> Any:
    import boto3

    client = boto3.session.Session().client("sqs")
    yield client
    client.close()


def test_a_queue_by_name_and_by_url(sqs_client: Any) -> None:
    """A person may give either; the dead-letter queue is found from the queue's own policy."""
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


def test_a_queue_in_order(sqs_client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A FIFO queue is read like any other, its poison goes to its dead letters, each once; what it costs is said."""
    fifo = {"FifoQueue": "true"}
    dead = sqs_client.create_queue(QueueName="ordered-dead.fifo", Attributes=fifo)["QueueUrl"]
    arn = sqs_client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 1000})
    url = sqs_client.create_queue(QueueName="ordered.fifo", Attributes=fifo | {"RedrivePolicy": policy})["QueueUrl"]
    with caplog.at_level(logging.WARNING):
        source = open_queue(url, event_keys("s3://b"), SystemClock(), visibility=VISIBILITY)
    assert "FIFO" in caplog.text
    for place, body in enumerate(["nonsense", told("input/a.wav"), "nonsense"]):
        order = {"MessageGroupId": f"group-{place}", "MessageDeduplicationId": str(place)}
        sqs_client.send_message(QueueUrl=url, MessageBody=body, **order)
    keys = []
    while len(keys) < 3:
        for message in source.wait(1, NEVER) or ():
            keys.append(message.keys)
            message.done()
    source.close()
    assert sorted(keys) == [(), (), ("input/a.wav",)]
    names = ["ApproximateNumberOfMessages"]
    left = [sqs_client.get_queue_attributes(QueueUrl=queue, AttributeNames=names) for queue in (url, dead)]
    assert [answer["Attributes"][names[0]] for answer in left] == ["0", "1"]


class Refusing:
    """A client that is refused with one code."""

    def __init__(self, code: str) -> None:
        self._code = code

    def get_queue_attributes(self, **given: Any) -> Any:
        raise SqsError(self._code)

    def close(self) -> None:
        return


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("AccessDenied", AccessDenied),
        ("AccessDeniedException", AccessDenied),
        ("KMS.AccessDeniedException", AccessDenied),
        ("InvalidClientTokenId", AccessDenied),
        ("ExpiredToken", AccessDenied),
        ("AWS.SimpleQueueService.NonExistentQueue", Usage),
        ("InvalidAddress", Usage),
        ("ThrottlingException", Unavailable),
        ("InternalError", Unavailable),
    ],
)
def test_what_a_refusal_means(code: str, kind: type[HandlerError]) -> None:
    """Each code that SQS refuses with becomes one line: a permission, a name, or a service that may come back."""
    client = Refusing(code)
    with pytest.raises(kind) as caught:
        open_sqs("https://queue.invalid/0/told", clients=lambda: (client, client))
    told = f"{caught.value.message} {caught.value.hint}"
    assert "https://queue.invalid/0/told" in told
    assert "\n" not in told
    if kind is AccessDenied:
        assert "sqs:GetQueueAttributes" in told
