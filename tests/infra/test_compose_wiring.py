"""infra/compose/compose.yaml, run: its set-up, bridge and workers as processes, with its own environment and commands,
against stand-ins for MinIO (moto, and what posts) and ElasticMQ (moto).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from compose_rig import FOLDER, Machine, free_port, load
from dockerfile_rig import read
from infra_tools import ROOT
from minio_rig import Minio

GIVEN = {"S3_PASSWORD": "a-password-of-nobody", "EVENTS_TOKEN": "a-token-of-nobody"}
NEVER = "86400"  # between scans: what is found was told


@pytest.fixture
def bucket() -> str:
    """A name that no other test has."""
    return f"compose-{uuid.uuid4().hex}"


@pytest.fixture
def services(bucket: str) -> dict[str, Any]:
    return load({**GIVEN, "BUCKET": bucket, "RECONCILE_SECONDS": NEVER})


@pytest.fixture
def addresses() -> dict[str, str]:
    """What others are told by, and where that listens here."""
    port = free_port()
    return {"http://events:9980": f"http://127.0.0.1:{port}", "0.0.0.0:9980": f"127.0.0.1:{port}"}


@pytest.fixture
def minio(s3_endpoint: str, services: dict[str, Any], addresses: dict[str, str]) -> Iterator[Minio]:
    """The server, with the environment of its service."""

    def here(text: str) -> str:
        for there, place in addresses.items():
            text = text.replace(there, place)
        return text

    server = Minio(s3_endpoint, services["minio"]["environment"], here)
    yield server
    server.close()


@pytest.fixture
def machine(
    s3_endpoint: str, services: dict[str, Any], addresses: dict[str, str], minio: Minio, tmp_path: Path
) -> Iterator[Machine]:
    made = Machine(
        services,
        {
            **addresses,
            "http://store:9000": minio.url,
            "http://elasticmq:9324": s3_endpoint,
            "0.0.0.0": "127.0.0.1",
        },
        tmp_path,
    )
    yield made
    made.close()


@pytest.fixture
def s3(s3_client: Any, minio: Minio) -> Iterator[Any]:
    """A client of that server."""
    import boto3

    client = boto3.session.Session().client("s3", endpoint_url=minio.url)
    yield client
    client.close()


def set_up(machine: Machine, service: str) -> None:
    process = machine.start(service).process
    assert process.wait(timeout=60) == 0, "".join(machine.running[-1].said)


def healthy(port: str) -> bool:
    """What the image's HEALTHCHECK says of a worker that serves on this port."""
    (check,) = read((ROOT / "Dockerfile").read_text("utf-8")).stages["runtime"].all("HEALTHCHECK")
    _, *words = json.loads(check.text.removeprefix("CMD "))
    done = subprocess.run([sys.executable, *words], env={"DROPSCRIBE_HTTP_PORT": port}, check=False)
    return done.returncode == 0


def result(client: Any, bucket: str, key: str, worker: Any) -> Any:
    """Waits for a recording's result."""
    while worker.process.poll() is None:
        try:
            return json.loads(client.get_object(Bucket=bucket, Key=f"results/{key}.json")["Body"].read())
        except ClientError:
            time.sleep(0.05)
    raise AssertionError("".join(worker.said))


def queues(sqs: Any) -> None:
    """What ElasticMQ makes of its file, which is JSON below the first line."""
    first, _, rest = (FOLDER / "elasticmq.conf").read_text("utf-8").partition("\n")
    assert first == 'include classpath("application.conf")'
    for name, said in sorted(json.loads(rest)["queues"].items(), key=lambda one: "deadLettersQueue" in one[1]):
        attributes = {}
        if dead := said.get("deadLettersQueue"):
            url = sqs.get_queue_url(QueueName=dead["name"])["QueueUrl"]
            arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
            policy = {"deadLetterTargetArn": arn, "maxReceiveCount": str(dead["maxReceiveCount"])}
            attributes = {"RedrivePolicy": json.dumps(policy)}
        sqs.create_queue(QueueName=name, Attributes=attributes)


@pytest.fixture
def sqs(s3_client: Any) -> Iterator[Any]:
    """A client of the stand-in for ElasticMQ, with the queues of its file."""
    import boto3

    client = boto3.session.Session().client("sqs")
    queues(client)
    yield client
    for url in client.list_queues(QueueNamePrefix="recordings").get("QueueUrls", []):
        client.delete_queue(QueueUrl=url)
    client.close()


def test_from_minio_to_a_worker(machine: Machine, minio: Minio, s3: Any, bucket: str) -> None:
    """Set-up makes the bucket and subscribes the webhook; MinIO's post, with its token, reaches the worker, which
    transcribes what it names, and only inputs are posted. The image finds it healthy, and SIGTERM ends it with 0.
    """
    set_up(machine, "set-up-minio")
    port = str(free_port())
    worker = machine.start("worker-cpu", DROPSCRIBE_HTTP_PORT=port)
    worker.until("listening on")
    worker.until("worker ")
    assert healthy(port)
    s3.put_object(Bucket=bucket, Key="input/calls/a.wav", Body=b"somebody talks")
    assert minio.posted == [("input/calls/a.wav", 200)]
    assert result(s3, bucket, "calls/a.wav", worker)["results"]
    s3.put_object(Bucket=bucket, Key="results/other.json", Body=b"{}")
    assert minio.posted == [("input/calls/a.wav", 200)]
    assert worker.stop() == 0


def test_from_minio_through_the_queue(machine: Machine, minio: Minio, sqs: Any, s3: Any, bucket: str) -> None:
    """The bridge puts MinIO's post into ElasticMQ's queue, as it came; a worker takes it from there, transcribes what
    it names, and deletes the message.
    """
    set_up(machine, "set-up-minio")
    bridge = machine.start("bridge")
    bridge.until("bridge: from")
    worker = machine.start("worker-queue-cpu", DROPSCRIBE_HTTP_PORT="0")
    worker.until("hearing of recordings")
    worker.until("worker ")
    s3.put_object(Bucket=bucket, Key="input/a.wav", Body=b"somebody talks")
    assert minio.posted == [("input/a.wav", 200)]
    assert result(s3, bucket, "a.wav", worker)["results"]
    url = sqs.get_queue_url(QueueName="recordings")["QueueUrl"]
    counts = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    while any(int(n) for n in sqs.get_queue_attributes(QueueUrl=url, AttributeNames=counts)["Attributes"].values()):
        time.sleep(0.05)
    assert worker.stop() == 0


def test_the_bridge_wants_the_token(machine: Machine, minio: Minio, sqs: Any, s3: Any, bucket: str) -> None:
    """Who posts without the token gets 401, and nothing comes into the queue."""
    set_up(machine, "set-up-minio")
    bridge = machine.start("bridge", EVENTS_TOKEN="another")
    bridge.until("bridge: from")
    s3.put_object(Bucket=bucket, Key="input/a.wav", Body=b"somebody talks")
    assert minio.posted == [("input/a.wav", 401)]
    url = sqs.get_queue_url(QueueName="recordings")["QueueUrl"]
    assert "Messages" not in sqs.receive_message(QueueUrl=url)


def test_a_queue_that_is_away_is_not_acknowledged(
    machine: Machine, minio: Minio, sqs: Any, s3: Any, bucket: str
) -> None:
    """A post that the queue does not take gets 503, so that MinIO keeps it and posts it again."""
    set_up(machine, "set-up-minio")
    bridge = machine.start("bridge")
    bridge.until("bridge: from")
    sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName="recordings")["QueueUrl"])
    s3.put_object(Bucket=bucket, Key="input/a.wav", Body=b"somebody talks")
    assert minio.posted == [("input/a.wav", 503)]


@pytest.mark.parametrize("service", ["set-up-minio", "set-up-rustfs"])
def test_set_up_twice(machine: Machine, s3: Any, bucket: str, service: str) -> None:
    """Set-up may run at every start: what lies in the bucket stays, and so does the subscription."""
    set_up(machine, service)
    s3.put_object(Bucket=bucket, Key="input/a.wav", Body=b"somebody talks")
    before = s3.get_bucket_notification_configuration(Bucket=bucket).get("QueueConfigurations")
    set_up(machine, service)
    after = s3.get_bucket_notification_configuration(Bucket=bucket).get("QueueConfigurations")
    assert [one["QueueArn"] for one in after or []] == [one["QueueArn"] for one in before or []]
    assert s3.head_object(Bucket=bucket, Key="input/a.wav")


def test_rustfs_by_the_scan(machine: Machine, s3: Any, bucket: str) -> None:
    """On RustFS, which is not asked to tell, a worker finds by its scan what was dropped before it came."""
    set_up(machine, "set-up-rustfs")
    assert "QueueConfigurations" not in s3.get_bucket_notification_configuration(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="input/a.wav", Body=b"somebody talks")
    worker = machine.start("worker-cpu", DROPSCRIBE_HTTP_PORT="0")
    assert result(s3, bucket, "a.wav", worker)["results"]
