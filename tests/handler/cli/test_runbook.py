"""The runbook of docs/operations.md: each of its commands is typed as it stands there, at a bucket with that trouble.

An entry's commands come out of the document; what stands here is the trouble, and what must be so afterwards. An entry
without a trouble here fails, and so does a trouble without an entry, and a command that was not typed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from callback_rig import Receiver, answer
from cli_rig import Cli
from click.testing import Result
from docs_rig import text_of
from runbook_rig import KEY, Desk, die, holding, start, wait_until_ready

from handler.events import created_event
from pipeline.errors import NoAudio, OutOfMemory, OutOfSpace

Entries = dict[str, list[str]]


def entries() -> Entries:
    """By heading, the commands of each entry."""
    section = text_of("docs/operations.md").partition("\n## Runbook\n")[2].partition("\n## ")[0]
    found: Entries = {}
    for part in section.split("\n### ")[1:]:
        heading, _, body = part.partition("\n")
        blocks = re.findall(r"^```sh runbook\n(.*?)^```$", body, re.MULTILINE | re.DOTALL)
        found[heading] = [line for block in blocks for line in block.splitlines()]
    return found


TROUBLES: dict[str, Callable[[Desk], None]] = {}


def trouble(heading: str) -> Callable[[Callable[[Desk], None]], Callable[[Desk], None]]:
    def keep(function: Callable[[Desk], None]) -> Callable[[Desk], None]:
        TROUBLES[heading] = function
        return function

    return keep


@pytest.fixture
def desk(cli: Cli, bucket: Path) -> Desk:
    cli.env |= {"DROPSCRIBE_DRAIN_SECONDS": "1", "DROPSCRIBE_LEASE_SECONDS": "3", "DROPSCRIBE_BEAT_SECONDS": "1"}
    return Desk(cli, bucket, [])


@pytest.mark.parametrize("heading", entries())
def test_the_entry_helps(heading: str, desk: Desk, request: pytest.FixtureRequest) -> None:
    """The entry's commands run as they are written, show what it says that they show, and end its trouble."""
    desk.lines = entries()[heading]
    if "QUEUE" in "".join(desk.lines):
        request.getfixturevalue("on_aws")
    TROUBLES[heading](desk)
    assert desk.typed == desk.lines, "a line of the runbook was not typed"


def test_every_trouble_has_its_entry() -> None:
    """The runbook's entries are those that are tried here, and each has commands."""
    assert entries().keys() == TROUBLES.keys()
    assert all(entries().values())


def test_no_command_stands_outside(cli: Cli) -> None:
    """Every block of commands that is marked as the runbook's is in an entry of it."""
    marked = text_of("docs/operations.md").count("```sh runbook\n")
    assert marked == len(entries())


@pytest.fixture
def on_aws(desk: Desk, aws_environment: str, s3_bucket: str) -> None:
    """The desk's bucket on S3, with a queue, both on the tests' own server."""
    import boto3

    desk.cli.env |= {name: os.environ[name] for name in os.environ if name.startswith("AWS_")}
    client = boto3.session.Session().client("sqs")
    desk.queue = f"told-{uuid.uuid4().hex}"
    client.create_queue(QueueName=desk.queue)
    client.close()
    desk.bucket = f"s3://{s3_bucket}"


# ── the troubles ─────────────────────────────────────────────────────────────────────────────────────────────────────


@trouble("Recordings wait and nothing happens")
def _waits(desk: Desk) -> None:
    desk.drop()
    assert "1 queued" in desk.well("dropscribe status BUCKET")
    assert "conditional writes" in desk.well("dropscribe doctor BUCKET")
    assert "1 completed" in desk.well("dropscribe work BUCKET --drain")
    assert desk.exists(f"results/{KEY}.json")


@trouble("Is that worker alive?")
def _alive(desk: Desk) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed: the runbook's lines for it were not run")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        desk.address = f"127.0.0.1:{free.getsockname()[1]}"
    worker = start("live", desk, "work", DROPSCRIBE_HTTP_PORT=desk.address.partition(":")[2])
    try:
        wait_until_ready(worker, desk.address)
        desk.well("curl --fail --silent http://HOST:PORT/livez")
        desk.well("curl --fail --silent http://HOST:PORT/readyz")
        assert "dropscribe_jobs_inprogress 0" in desk.well("curl --fail --silent http://HOST:PORT/metrics")
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=60)


@trouble("There is a backlog")
def _backlog(desk: Desk) -> None:
    desk.drop("calls/first.wav")
    desk.drop()
    assert "2 queued" in desk.well("dropscribe status BUCKET")
    assert KEY in desk.well("dropscribe status BUCKET KEY")
    desk.well("dropscribe cancel BUCKET KEY")
    assert desk.drain()["completed"] == 1
    assert not desk.exists(f"results/{KEY}.json")
    desk.cli.json("retry", desk.bucket, KEY)
    assert desk.drain()["completed"] == 1, "retry takes it back"


@trouble("Recordings fail")
def _fail(desk: Desk) -> None:
    desk.drop("calls/other.wav", b"noise")
    desk.drop()
    desk.cli.failures = [NoAudio("there is no sound in it").to_detail()] * 2
    assert desk.cli.json("work", desk.bucket, "--drain")["failed"] == 2
    assert "2 failed" in desk.well("dropscribe status BUCKET")
    assert "there is no sound in it" in " ".join(desk.well("dropscribe dead list BUCKET").split())
    assert "there is no sound in it" in " ".join(desk.well("dropscribe status BUCKET KEY").split())
    assert json.loads((desk.folder / f"errors/{KEY}.json").read_text())["hint"]
    desk.well("dropscribe retry BUCKET --all --failed")
    assert desk.drain()["completed"] == 2
    assert not desk.exists(f"errors/{KEY}.json")


@trouble("An event was lost")
def _lost(desk: Desk) -> None:
    import boto3

    client = boto3.session.Session().client("s3")
    client.put_object(Bucket=desk.bucket.removeprefix("s3://"), Key=f"input/{KEY}", Body=b"somebody talks")
    assert "1 sent" in desk.well("dropscribe sweep BUCKET --queue QUEUE")
    assert "1 completed" in desk.well("dropscribe work BUCKET --queue QUEUE --drain")
    client.close()


@trouble("GPUs run although nothing waits")
def _in_vain(desk: Desk) -> None:
    import boto3

    client = boto3.session.Session().client("sqs")
    url = client.get_queue_url(QueueName=desk.queue)["QueueUrl"]
    client.send_message(QueueUrl=url, MessageBody=created_event("another-bucket", f"input/{KEY}"))
    told = desk.cli("work", desk.bucket, "--queue", desk.queue, "--drain")
    assert "another-bucket" in told.stderr, "its log names the bucket"
    assert "queued" not in desk.well("dropscribe status BUCKET")
    doctor = " ".join(desk.type("dropscribe doctor BUCKET --queue QUEUE").stdout.split())
    counts = re.search(r"(\d+) messages wait, (\d+) are being worked on", doctor)
    assert counts is not None, doctor
    assert sum(map(int, counts.groups())) == 1
    client.purge_queue(QueueUrl=url)
    client.close()


@trouble("One recording does not get on")
def _stuck(desk: Desk) -> None:
    desk.drop()
    die(desk)
    before = desk.manifest()
    assert before["status"] == "processing"
    assert before["updated_at"]
    desk.well("dropscribe cancel BUCKET KEY")
    desk.well("dropscribe retry BUCKET KEY")
    assert desk.drain()["completed"] == 1


@trouble("A worker ends at once")
def _ends(desk: Desk) -> None:
    desk.drop()
    desk.cli.env["DROPSCRIBE_MODEL"] = "large-v3"
    assert desk.cli("work", desk.bucket, "--drain").exit_code == 69
    told = desk.type("dropscribe doctor BUCKET")
    assert isinstance(told, Result)
    assert told.exit_code == 1
    assert "large-v3" in told.stdout
    assert "sphinx" in desk.well("dropscribe models list")
    desk.cli.env["DROPSCRIBE_MODEL"] = "sphinx"
    assert desk.drain()["completed"] == 1


@trouble("Engines die")
def _die(desk: Desk) -> None:
    desk.cli.env["DROPSCRIBE_MAX_ATTEMPTS"] = "1"
    desk.drop("calls/other.wav", b"a long one")
    desk.drop()
    desk.cli.failures = [None, OutOfMemory("the GPU is full").to_detail()]
    assert desk.cli.json("work", desk.bucket, "--drain")["failed"] == 2
    desk.cli.failures = ()
    assert "gpus" in desk.well("dropscribe doctor")
    listed = " ".join(desk.well("dropscribe dead list BUCKET").split())
    assert "EngineDied" in listed
    assert "out of memory?" in listed
    assert "OutOfMemory" in listed
    desk.well("dropscribe dead retry BUCKET --all")
    assert desk.drain()["completed"] == 2


@trouble("The disk is full")
def _full(desk: Desk) -> None:
    desk.cli.env["DROPSCRIBE_MAX_ATTEMPTS"] = "1"
    desk.drop()
    desk.cli.failures = [OutOfSpace("the work directory's disk is full").to_detail()]
    assert desk.cli.json("work", desk.bucket, "--drain")["failed"] == 1
    desk.cli.failures = ()
    said = desk.well("dropscribe doctor")
    assert "work directory" in said
    assert "disk of models" in said
    assert "OutOfSpace" in desk.well("dropscribe dead list BUCKET")
    desk.well("dropscribe dead retry BUCKET --all")
    assert desk.drain()["completed"] == 1


@trouble("Jobs are taken over")
def _taken(desk: Desk) -> None:
    desk.drop()
    die(desk)
    assert desk.manifest()["status"] == "processing"
    assert KEY not in desk.well("dropscribe dead list BUCKET")
    assert desk.drain()["completed"] == 1, "it costs time only"
    [record] = (desk.folder / ".dropscribe/v1/jobs").iterdir()
    assert json.loads(record.read_text())["takeovers"] == 1


@trouble("It is slow")
def _slow(desk: Desk) -> None:
    desk.drop()
    desk.drain()
    assert "probe encode" in desk.well("dropscribe doctor BUCKET")
    assert desk.manifest()["manifest"]["timings"] == {"generating_output": 0.1, "transcribing": 1.0}
    assert "transcribing" in desk.well("dropscribe cache stats BUCKET")


@trouble("Transcripts are poor, or not as wished")
def _poor(desk: Desk) -> None:
    desk.drop()
    desk.drain()
    assert "sphinx" in desk.well("dropscribe models list")
    assert desk.manifest()["result"] == f"results/{KEY}.json"
    (desk.folder / f"input/{KEY}.options.json").write_text('{"outputs": ["txt"]}')
    desk.well("dropscribe retry BUCKET KEY")
    desk.drain()
    assert desk.exists(f"results/{KEY}.txt")
    assert desk.cli.engines[-1].ran == [], "only what the change touches"
    desk.well("dropscribe retry BUCKET --all")
    assert desk.drain()["completed"] == 1


@trouble("A callback does not arrive")
def _callback(desk: Desk) -> None:
    with Receiver(answer(503), answer(200)) as receiver:
        desk.cli.env |= {
            "DROPSCRIBE_CALLBACK_ALLOW": f"127.0.0.1:{receiver.port}",
            "DROPSCRIBE_CALLBACK_RETRIES": "0",
        }
        desk.drop(callback=receiver.url())
        desk.drain()
        told = desk.manifest()["callback"]
        assert (told["status"], told["attempts"]) == ("failed", 1)
        assert "503" in json.dumps(told)
        desk.well("dropscribe retry BUCKET KEY")
        desk.well("dropscribe work BUCKET --drain")
        assert len(receiver.received) == 2
        assert desk.cli.json("status", desk.bucket, KEY)["callback"]["status"] == "delivered"


@trouble("The bucket grows")
def _grows(desk: Desk) -> None:
    desk.drop()
    desk.drain()
    artifacts = [path for path in (desk.folder / ".dropscribe/v1/stages").iterdir() if path.is_file()]
    for path in artifacts:
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 31 * 86_400))
    assert "2" in desk.well("dropscribe cache stats BUCKET")
    assert "would be removed" in desk.well("dropscribe cache prune BUCKET --older-than 30d --dry-run")
    assert all(path.exists() for path in artifacts)
    desk.well("dropscribe cache prune BUCKET --older-than 30d")
    assert not any(path.exists() for path in artifacts)
    assert desk.exists(f"results/{KEY}.json")


@trouble("Something must not stay")
def _must_go(desk: Desk) -> None:
    desk.drop(outputs=["txt"])
    desk.drain()
    said = (desk.folder / f"results/{KEY}.txt").read_text().strip()[-30:]
    assert len(holding(desk.folder, said)) >= 2
    (desk.folder / f"input/{KEY}").unlink()
    assert isinstance(late := desk.type("dropscribe cancel BUCKET KEY"), Result)
    assert late.exit_code in (0, 1), "it may be too late to cancel"
    desk.well("dropscribe delete BUCKET KEY --purge --yes")
    assert holding(desk.folder, said) == []
