"""``dropscribe doctor``: permissions by verb, the clock, the queue and its wiring, room, versions, and --only."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_rig import Cli, one_line
from test_cli_doctor import checks

from handler.cli.doctor.finding import Context
from handler.cli.doctor.room import memory, models_disk, versions
from handler.cli.runtime import Runtime
from handler.clock import VirtualClock
from handler.errors import AccessDenied
from handler.settings import load_settings
from handler.store.base import Found
from handler.store.memory import Call, MemoryStore

VERBS = {"PUT": "s3:PutObject", "GET": "s3:GetObject", "DELETE": "s3:DeleteObject", "LIST": "s3:ListBucket"}


def closed(cli: Cli, verb: str, prefix: str) -> MemoryStore:
    """A bucket in memory, as an IAM policy leaves it that lacks one action under one prefix."""

    def deny(call: Call, phase: str) -> None:
        action = {"HEAD": "GET"}.get(call.verb, call.verb)
        if action == verb and call.key.startswith(prefix):
            raise AccessDenied(f"{VERBS[verb]} is denied")

    cli.clock = VirtualClock()
    cli.store = MemoryStore(cli.clock, hook=deny)
    return cli.store


@pytest.mark.parametrize("prefix", ["results/", "progress/", "errors/", ".dropscribe/v1/"])
@pytest.mark.parametrize("verb", ["PUT", "GET", "DELETE", "LIST"])
def test_each_verb_under_each_prefix(cli: Cli, verb: str, prefix: str) -> None:
    """One missing action under one prefix is found, named as IAM names it, and nothing else is said to be missing."""
    store = closed(cli, verb, prefix)
    found = checks(cli, "s3://closed", "--only", "permissions", code=1)["permissions"]
    assert found["data"]["missing"] == [
        f"{VERBS[verb]} {'for' if verb == 'LIST' else 'on'} {store.url}/{prefix}" + ("*" if verb != "LIST" else "")
    ]
    assert VERBS[verb] in found["advice"]
    assert bool(found["data"]["left"]) == (verb == "DELETE")


@pytest.mark.parametrize(("verb", "action"), [("LIST", "s3:ListBucket"), ("GET", "s3:GetObject")])
def test_recordings_that_may_not_be_read(cli: Cli, verb: str, action: str) -> None:
    """Of the recordings no more than listing and reading is asked, and each is named when it is missing."""
    store = closed(cli, verb, "input/")
    [missing] = checks(cli, "s3://closed", "--only", "permissions", code=1)["permissions"]["data"]["missing"]
    assert missing.startswith(action)
    assert not [call for call in store.calls if call.verb in ("PUT", "DELETE") and call.key.startswith("input/")]


def test_nothing_is_left(cli: Cli) -> None:
    """With all that a worker needs, the check is ok and the bucket is as it was."""
    cli.clock = VirtualClock()
    cli.store = MemoryStore(cli.clock)
    cli.store.put("input/a.wav", b"a")
    found = checks(cli, "s3://open", "--only", "permissions", "--only", "clock")
    assert {check["status"] for check in found.values()} == {"ok"}
    assert [info.key for info in cli.store.list("")] == ["input/a.wav"]


class Skewed(MemoryStore):
    """A store whose clock is ``seconds`` behind this machine's."""

    seconds = 0.0

    def get(self, key: str) -> Found:
        found = super().get(key)
        return Found(found.body, found.etag, found.age, float(int(found.store_time - self.seconds)))


@pytest.mark.parametrize(
    ("seconds", "status"), [(0, "ok"), (4, "ok"), (60, "warn"), (-60, "warn"), (1000, "fail"), (-1000, "fail")]
)
def test_the_clock(cli: Cli, seconds: float, status: str) -> None:
    """A clock that is off is a warning, in which direction too; one so far off that S3 refuses it fails."""
    cli.clock = VirtualClock()
    cli.store = store = Skewed(cli.clock, "s3://skewed")
    store.seconds = seconds
    found = checks(cli, "s3://skewed", "--only", "clock", code=status == "fail")["clock"]
    assert found["status"] == status
    if status != "ok":
        assert ("ahead" if seconds > 0 else "behind") in found["detail"]
        assert "NTP" in found["advice"]


def test_only_what_is_asked(cli: Cli, bucket: Path) -> None:
    """--only makes these checks and no other: no engine is started for a probe that asks often."""
    assert list(checks(cli, bucket, "--only", "bucket", "--only", "memory")) == ["memory", "bucket"]
    assert cli.engines == []
    assert cli.probed == []


@pytest.mark.parametrize("args", [("--only", "clock"), ("--queue", "q"), ("bucket", "--only", "queue")])
def test_checks_of_nothing(cli: Cli, bucket: Path, args: tuple[str, ...]) -> None:
    """A check of what is not named is a mistake in the command, not a success."""
    given = [bucket if arg == "bucket" else arg for arg in args]
    result = cli("doctor", *given)
    assert result.exit_code == 2
    assert "BUCKET" in one_line(result)


# ── the queue ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def aws(cli: Cli, aws_environment: str) -> Cli:
    """A command line whose AWS is the test's own server."""
    for name in [name for name in cli.env if name.startswith("AWS_")]:
        cli.env[name] = os.environ.get(name)
    cli.env |= {name: os.environ[name] for name in os.environ if name.startswith("AWS_")}
    return cli


class Queue:
    """A queue on the test's server, with its client, and the bucket that may tell it."""

    def __init__(self, client: Any, s3: Any, bucket: str, *, receives: int = 1000) -> None:
        self.s3, self.bucket = s3, bucket
        name = f"told-{uuid.uuid4().hex}"
        dead = client.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
        redrive = {"deadLetterTargetArn": _arn(client, dead), "maxReceiveCount": receives}
        attributes = {"RedrivePolicy": json.dumps(redrive)}
        self.url = client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        self.arn = _arn(client, self.url)

    def wire(self, prefix: str, *, events: tuple[str, ...] = ("s3:ObjectCreated:*",), suffix: str = "") -> None:
        rules = [{"Name": "prefix", "Value": prefix}, *([{"Name": "suffix", "Value": suffix}] if suffix else [])]
        one = {"QueueArn": self.arn, "Events": list(events), "Filter": {"Key": {"FilterRules": rules}}}
        self.s3.put_bucket_notification_configuration(
            Bucket=self.bucket, NotificationConfiguration={"QueueConfigurations": [one]}
        )


def _arn(client: Any, url: str) -> str:
    return str(client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"])


@pytest.fixture
def sqs(aws_environment: str) -> Iterator[Any]:
    import boto3

    client = boto3.session.Session().client("sqs")
    yield client
    client.close()


def wired(cli: Cli, queue: Queue, code: int = 0) -> dict[str, dict[str, Any]]:
    only = ("--only", "queue", "--only", "notifications")
    return checks(cli, f"s3://{queue.bucket}/calls", "--queue", queue.url, *only, code=code)


def test_a_queue_that_is_wired(aws: Cli, sqs: Any, s3_client: Any, s3_bucket: str) -> None:
    """A queue with dead letters that the bucket tells of its recordings is ok, and says how much waits."""
    queue = Queue(sqs, s3_client, s3_bucket)
    queue.wire("calls/input/")
    found = wired(aws, queue)
    assert {check["status"] for check in found.values()} == {"ok"}
    waiting = found["queue"]["data"]["waiting"]
    assert found["queue"]["detail"].startswith(f"{waiting} messages wait")
    assert found["queue"]["data"]["denied"] == []


@pytest.mark.parametrize(
    ("prefix", "events", "suffix", "status", "words"),
    [
        ("calls/", ("s3:ObjectCreated:*",), "", "warn", "results send messages too"),
        ("calls/input/a/", ("s3:ObjectCreated:*",), "", "warn", "only of keys under calls/input/a/"),
        ("calls/input/", ("s3:ObjectCreated:Put",), "", "warn", "only of s3:ObjectCreated:Put"),
        ("calls/input/", ("s3:ObjectCreated:*",), ".mp3", "warn", "end in .mp3"),
    ],
)
def test_a_queue_that_is_told_too_much_or_too_little(
    aws: Cli, sqs: Any, s3_client: Any, s3_bucket: str, prefix: str, events: tuple[str, ...], suffix: str,
    status: str, words: str,
) -> None:  # fmt: skip
    """A rule that leaves out recordings, or that takes in results, is a warning that says which."""
    queue = Queue(sqs, s3_client, s3_bucket)
    queue.wire(prefix, events=events, suffix=suffix)
    found = wired(aws, queue)["notifications"]
    assert found["status"] == status
    assert words in f"{found['detail']} {found['advice']}"


def test_a_bucket_that_tells_nobody(aws: Cli, sqs: Any, s3_client: Any, s3_bucket: str) -> None:
    """Without a notification a fleet that waits for messages would wait for ever: that fails, with what to add."""
    queue = Queue(sqs, s3_client, s3_bucket)
    found = wired(aws, queue, code=1)["notifications"]
    assert found["status"] == "fail"
    assert queue.arn in found["advice"]


def test_a_queue_that_puts_busy_jobs_away(aws: Cli, sqs: Any, s3_client: Any, s3_bucket: str) -> None:
    """A small maxReceiveCount is a warning."""
    queue = Queue(sqs, s3_client, s3_bucket, receives=3)
    queue.wire("calls/input/")
    found = wired(aws, queue)["queue"]
    assert found["status"] == "warn"
    assert "maxReceiveCount is 3" in found["advice"]


def test_no_such_queue(aws: Cli, s3_bucket: str) -> None:
    """A queue that is not there fails its check with one line."""
    found = checks(aws, f"s3://{s3_bucket}", "--queue", "none", "--only", "queue", code=1)["queue"]
    assert "no queue none" in found["detail"]


# ── room ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def context(**changes: Any) -> Context:
    return Context(settings=load_settings(**changes), runtime=Runtime(), url=None)


@pytest.mark.parametrize(
    ("total", "limit", "ours", "status", "words"),
    [
        (64, None, None, "ok", "64.0 GiB, 40.0 GiB free"),
        (64, 8, None, "ok", "8.0 GiB allowed to this container"),
        (64, 2, None, "warn", "Large models need more"),
        (2, 8, None, "warn", "Large models need more"),
        (64, 8, 16, "warn", "DROPSCRIBE_ENGINE_MEMORY_BYTES is 16.0 GiB"),
    ],
)
def test_memory(tmp_path: Path, total: int, limit: int | None, ours: int | None, status: str, words: str) -> None:
    """What counts is the container's share, where there is one; too little of it, or a limit of ours beyond it, is a
    warning.
    """
    (tmp_path / "meminfo").write_text(f"MemTotal: {total << 20} kB\nMemFree: 1 kB\nMemAvailable: {40 << 20} kB\n")
    (tmp_path / "max").write_text("max\n" if limit is None else f"{limit << 30}\n")
    found = memory(
        context(engine_memory_bytes=None if ours is None else ours << 30), tmp_path / "meminfo", (tmp_path / "max",)
    )
    assert found.status == status
    assert words in f"{found.detail} {found.advice}"


def test_memory_that_nobody_tells(tmp_path: Path) -> None:
    """A system without /proc is no failure."""
    assert memory(context(), tmp_path / "none", ()).status == "ok"


def test_versions_that_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package out of the bounds that this program sets is found; extras that were not asked for, and what
    fits, are not spoken of.
    """
    for name, version, more in (
        ("scribe", "1.0", "Requires-Dist: old>=1.10\nRequires-Dist: young<2,>=1\nRequires-Dist: fits[all]>=1.9,<2\n"
         "Requires-Dist: absent>=3\nRequires-Dist: aside>=9; extra == 'gpu'\n"),
        ("old", "1.9.5", ""), ("young", "2.0", ""), ("fits", "1.10.0+cpu", ""), ("aside", "1", ""),
    ):  # fmt: skip
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}")
    monkeypatch.syspath_prepend(tmp_path)
    found = versions(context(), "scribe")
    assert found.status == "fail"
    assert found.detail.endswith("; old 1.9.5 in the place of old>=1.10; young 2.0 in the place of young<2,>=1")
    assert versions(context(), "no-such-program").status == "ok"


def test_the_disk_of_models(tmp_path: Path) -> None:
    """A folder that is yet to be made is looked at where it will lie."""
    found = models_disk(context(home=tmp_path / "a" / "b"))
    assert str(tmp_path / "a" / "b") in found.detail
    assert not (tmp_path / "a").exists()
