"""The core of infra/terraform/, applied: bucket, queue and roles are made by terraform on a moto server, a recording is
dropped, the worker is run on the resulting queue, the result is read.

And the roles that came of it: no more and no less than the tables of docs/operations.md.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.deepgram_contract import check_result
from tests.docs_rig import ROOT, text_of
from tests.infra.terraform_rig import Terraform, terraform_in

pytestmark = pytest.mark.timeout(1200)  # terraform takes a minute on two idle cores

PREFIX = "team/calls"
RECORDING = ROOT / "examples" / "jfk.flac"


@dataclass(frozen=True, slots=True)
class Applied:
    bucket: str
    endpoint: str
    outputs: dict[str, Any]
    folder: Path

    def client(self, service: str) -> Any:
        return boto3.session.Session("test", "test", region_name="us-east-1").client(
            service, endpoint_url=self.endpoint
        )

    def waiting(self) -> int:
        """Messages in the queue, received or not."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.client("sqs").get_queue_attributes(QueueUrl=self.outputs["queue"], AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)

    def dropscribe(self, *arguments: str) -> dict[str, Any]:
        """The real command, in a process of its own, as AWS Batch runs it: what it says in JSON."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "DROPSCRIBE_"))},
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_CONFIG_FILE": str(self.folder / "none"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
            "DROPSCRIBE_MODEL": "sphinx",
            "DROPSCRIBE_HOME": str(self.folder / "home"),
            "DROPSCRIBE_WORK_DIR": str(self.folder / "work"),
            "DROPSCRIBE_DRAIN_SECONDS": "1",
        }
        done = subprocess.run(
            [sys.executable, "-m", "handler.cli", *arguments, "--json"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def drain(self) -> dict[str, Any]:
        """A worker on the queue, until that is empty, given what terraform's outputs say."""
        return self.dropscribe("work", self.outputs["bucket"], "--queue", self.outputs["queue"], "--drain")

    def result(self, key: str) -> bytes:
        body: bytes = (
            self.client("s3").get_object(Bucket=self.bucket, Key=f"{PREFIX}/results/{key}.json")["Body"].read()
        )
        return body

    def drop(self, key: str) -> None:
        self.client("s3").upload_file(str(RECORDING), self.bucket, f"{PREFIX}/input/{key}")


@pytest.fixture(scope="module")
def applied(s3_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Applied:
    folder = tmp_path_factory.mktemp("applied")
    terraform: Terraform = terraform_in(folder)
    bucket = f"calls-{uuid.uuid4().hex[:12]}"
    chosen = {
        "bucket": bucket,
        "prefix": PREFIX,
        "name": f"test-{uuid.uuid4().hex[:8]}",
        "compute": "false",
        "emulator_endpoint": s3_endpoint,
        "results_days": "30",
    }
    given = [f"-var={name}={value}" for name, value in chosen.items()]
    terraform.run("apply", "-auto-approve", "-input=false", *given)
    return Applied(bucket, s3_endpoint, terraform.outputs(), folder)


def test_what_is_dropped_is_transcribed(applied: Applied) -> None:
    """Bucket and queue as terraform makes them carry a recording from the drop to its transcript, and nothing is left
    in the queue.
    """
    before = applied.waiting()
    applied.client("s3").put_object(Bucket=applied.bucket, Key=f"{PREFIX}/results/of another.json", Body=b"{}")
    assert applied.waiting() == before  # the notification's filter keeps results out
    applied.drop("interview one.flac")
    assert applied.waiting() == before + 1
    told = applied.drain()
    assert (told["completed"], told["failed"]) == (1, 0)
    result = applied.result("interview one.flac")
    check_result(result)
    words = json.loads(result)["results"]["channels"][0]["alternatives"][0]["words"]
    assert "americans" in {word["word"] for word in words}
    assert applied.waiting() == 0


def test_a_lost_event_is_made_good_by_the_sweep(applied: Applied) -> None:
    """A recording whose message is gone is put into the queue by the sweep, and done by the next worker."""
    applied.drop("lost.flac")
    applied.client("sqs").purge_queue(QueueUrl=applied.outputs["queue"])
    assert applied.waiting() == 0
    assert applied.dropscribe("sweep", applied.outputs["bucket"], "--queue", applied.outputs["queue"])["sent"] == 1
    assert applied.drain()["failed"] == 0
    check_result(applied.result("lost.flac"))


def test_the_bucket_is_closed_encrypted_and_forgets_only_results(applied: Applied) -> None:
    """What the server has of the bucket's settings is what was meant."""
    s3, bucket = applied.client("s3"), applied.bucket
    closed = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert all(closed.values())
    [rule] = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    expiring = {rule["Filter"]["Prefix"]: rule["Expiration"]["Days"] for rule in rules if "Expiration" in rule}
    assert expiring == {f"{PREFIX}/{name}/": 30 for name in ("results", "progress", "errors")}


def test_messages_that_cannot_be_read_have_a_place(applied: Applied) -> None:
    """The queue's dead-letter queue is the one that the outputs name, and 1,000 receives come before it."""
    sqs = applied.client("sqs")
    queue = sqs.get_queue_attributes(QueueUrl=applied.outputs["queue"], AttributeNames=["All"])["Attributes"]
    dead = sqs.get_queue_attributes(QueueUrl=applied.outputs["dead_letters"], AttributeNames=["QueueArn"])["Attributes"]
    policy = json.loads(queue["RedrivePolicy"])
    assert policy == {"deadLetterTargetArn": dead["QueueArn"], "maxReceiveCount": 1000}
    sqs.send_message(QueueUrl=applied.outputs["queue"], MessageBody="no event")
    applied.drain()
    [message] = sqs.receive_message(QueueUrl=applied.outputs["dead_letters"])["Messages"]
    assert message["Body"] == "no event"


# ── roles ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def allowed(applied: Applied, who: str) -> set[tuple[str, str]]:
    """(action, resource) that a role's one policy allows; it denies nothing and takes no action back."""
    iam, role = applied.client("iam"), applied.outputs["roles"][who].rpartition("/")[2]
    assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
    [name] = iam.list_role_policies(RoleName=role)["PolicyNames"]
    found = set()
    for statement in iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]["Statement"]:
        assert statement["Effect"] == "Allow"
        assert set(statement) <= {"Sid", "Effect", "Action", "Resource", "Condition"}  # no NotAction, no NotResource
        found |= {
            (action, resource) for action in listed(statement["Action"]) for resource in listed(statement["Resource"])
        }
    return found


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def table_after(words: str) -> list[list[str]]:
    """The rows of the first table after these words of docs/operations.md."""
    text = text_of("docs/operations.md")
    assert text.count(words) == 1
    lines = text[text.index(words) :].splitlines()
    begin = next(place for place, line in enumerate(lines) if line.startswith("| action | on |"))
    rows = []
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def documented(applied: Applied) -> set[tuple[str, str]]:
    """(action, resource) that docs/operations.md says a worker on a queue needs."""
    bucket = f"arn:aws:s3:::{applied.bucket}"
    name = applied.outputs["queue"].rpartition("/")[2]
    queue = f"arn:aws:sqs:us-east-1:123456789012:{name}"
    places = {
        "the bucket": [bucket],
        "everything": [f"{bucket}/{PREFIX}/*"],
        "the queue": [queue],
        "the dead-letter queue": [f"{queue}-dead"],
        "both": [queue, f"{queue}-dead"],
    }
    found = set()
    for row in (
        *table_after("A worker needs these permissions"),
        *table_after("The worker needs, beside its permissions"),
    ):
        named = re.findall(r"`([\w./]+/)`", row[1])
        where = [f"{bucket}/{PREFIX}/{prefix}*" for prefix in named] if named else places[row[1]]
        found |= {(action, resource) for action in re.findall(r"`(\w+:\w+)`", row[0]) for resource in where}
    return found


def test_a_worker_may_do_what_the_manual_says_and_nothing_else(applied: Applied) -> None:
    """The worker's role is the two tables of docs/operations.md, action by action and prefix by prefix."""
    assert allowed(applied, "worker") == documented(applied)


def test_an_uploader_can_only_drop(applied: Applied) -> None:
    """With the uploader's role nothing can be read, listed, deleted, or written outside input/."""
    inputs = f"arn:aws:s3:::{applied.bucket}/{PREFIX}/input/*"
    assert allowed(applied, "uploader") == {("s3:PutObject", inputs), ("s3:AbortMultipartUpload", inputs)}


def test_a_reader_can_only_read_what_was_made(applied: Applied) -> None:
    """With the reader's role neither recordings nor the workers' records can be read, and nothing can be changed."""
    bucket = f"arn:aws:s3:::{applied.bucket}"
    read = {("s3:GetObject", f"{bucket}/{PREFIX}/{name}/*") for name in ("results", "progress", "errors")}
    assert allowed(applied, "reader") == {("s3:ListBucket", bucket), *read}
    role = applied.outputs["roles"]["reader"].rpartition("/")[2]
    document = applied.client("iam").get_role_policy(RoleName=role, PolicyName="reader")["PolicyDocument"]
    [condition] = [one["Condition"] for one in document["Statement"] if "Condition" in one]
    assert sorted(condition["StringLike"]["s3:prefix"]) == sorted(
        f"{PREFIX}/{name}/*" for name in ("results", "progress", "errors")
    )


def test_a_sweep_receives_no_message_and_writes_no_output(applied: Applied) -> None:
    """The sweep's role is less than a worker's, but for telling the queue."""
    beyond = allowed(applied, "sweep") - allowed(applied, "worker")
    assert {action for action, _ in beyond} == {"sqs:SendMessage"}
    assert not {"sqs:ReceiveMessage", "sqs:DeleteMessage"} & {action for action, _ in allowed(applied, "sweep")}
    written = {
        resource for action, resource in allowed(applied, "sweep") if action in ("s3:PutObject", "s3:DeleteObject")
    }
    assert written == {f"arn:aws:s3:::{applied.bucket}/{PREFIX}/.dropscribe/*"}
