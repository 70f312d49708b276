"""``dropscribe sweep``: from a bucket with a lost event to a result, by way of the queue; and the callbacks."""

from __future__ import annotations

import json
import os
import uuid
from typing import Any

import pytest
from callback_rig import Receiver, answer
from cli_rig import Cli, one_line


@pytest.fixture
def aws(cli: Cli, aws_environment: str) -> Cli:
    """A command line whose AWS is the test's own server."""
    cli.env |= {name: os.environ[name] for name in os.environ if name.startswith("AWS_")}
    cli.env["DROPSCRIBE_DRAIN_SECONDS"] = "1"
    return cli


@pytest.fixture
def queue(aws_environment: str) -> str:
    """A new queue's name."""
    import boto3

    client = boto3.session.Session().client("sqs")
    name = f"told-{uuid.uuid4().hex}"
    client.create_queue(QueueName=name)
    client.close()
    return name


def test_a_lost_event_is_made_good(aws: Cli, queue: str, s3_bucket: str, s3_client: Any) -> None:
    """A recording that no event told of is transcribed by a queue's drain after one sweep, which needs no engine; a
    second sweep has nothing to send.
    """
    url = f"s3://{s3_bucket}/calls"
    s3_client.put_object(Bucket=s3_bucket, Key="calls/input/a talk.wav", Body=b"somebody talks")
    assert aws.json("work", url, "--queue", queue, "--drain")["completed"] == 0
    engines = len(aws.engines)
    told = aws.json("sweep", url, "--queue", queue)
    assert told == {"bucket": url, "unsettled": 1, "held": 0, "sent": 1}
    assert len(aws.engines) == engines
    assert aws.json("work", url, "--queue", queue, "--drain")["completed"] == 1
    assert s3_client.head_object(Bucket=s3_bucket, Key="calls/results/a talk.wav.json")
    assert aws.json("sweep", url, "--queue", queue)["sent"] == 0


def test_due_callbacks_are_sent(aws: Cli, queue: str, s3_bucket: str, s3_client: Any) -> None:
    """A callback that a drained fleet left for later is delivered by the sweep that finds it due."""
    url = f"s3://{s3_bucket}"
    with Receiver(answer(503), answer(200)) as receiver:
        aws.env["DROPSCRIBE_CALLBACK_ALLOW"] = f"127.0.0.1:{receiver.port}"
        aws.env["DROPSCRIBE_CALLBACK_SECONDS"] = "1"
        options = json.dumps({"callback": receiver.url()}).encode()
        s3_client.put_object(Bucket=s3_bucket, Key="input/a.wav.options.json", Body=options)
        s3_client.put_object(Bucket=s3_bucket, Key="input/a.wav", Body=b"somebody talks")
        aws.json("sweep", url, "--queue", queue)
        aws.json("work", url, "--queue", queue, "--drain")
        while len(receiver.received) < 2:
            aws.json("sweep", url, "--queue", queue)
        [row] = aws.json("status", url)["inputs"]
        assert row["callback"]["status"] == "delivered"


def test_a_queue_that_is_not_there(aws: Cli, s3_bucket: str) -> None:
    """A queue that does not exist is one line and exit code 2."""
    result = aws("sweep", f"s3://{s3_bucket}", "--queue", "no-such-queue")
    assert result.exit_code == 2
    assert "there is no queue no-such-queue" in one_line(result)


def test_a_folder_is_refused(cli: Cli, bucket: Any) -> None:
    """A folder, which sends no events, is one line and exit code 2."""
    result = cli("sweep", bucket, "--queue", "any")
    assert result.exit_code == 2
    assert "nobody tells of what is dropped there" in one_line(result)
