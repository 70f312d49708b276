"""kill -9 at random moments, of workers and of engines, over a folder and over S3: nothing is lost, nothing is
published twice with different bytes, nothing is charged that did not fail, and no lease is left behind.

50 kills in CI, 25 on a folder and 25 on S3; 1,000 with --long, 500 on each. The seed of each soak is printed;
DROPSCRIBE_SOAK_SEED replays what was dropped, whom it killed, and after what pause: the rest is the machine's.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from soak_buckets import FolderBucket, S3Bucket, SoakBucket
from soak_rig import Course, Nursery, Soak

from handler.layout import Layout
from handler.settings import Settings
from handler.types import JobRecord

pytestmark = [pytest.mark.proof, pytest.mark.timeout(3600)]

KILLS = 25  # of one soak, on one store
LONG_ROUNDS = 20
STAGES = 2
AWS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
QUEUE = {
    "DROPSCRIBE_RECONCILE_SECONDS": "300",  # no scan but the one at the start
    # A worker that drains the queue never scans. The messages of the killed show up again before its patience ends.
    "DROPSCRIBE_DRAIN_SECONDS": "6",
}

Tell = Callable[[str], None]


def seeds(long: bool) -> list[int]:
    given = os.environ.get("DROPSCRIBE_SOAK_SEED")
    return [int(given)] if given else [secrets.randbits(32) for _ in range(LONG_ROUNDS if long else 1)]


@pytest.fixture(scope="module")
def serial_s3() -> Iterator[str]:
    """The URL of S3 and SQS in a process of their own."""
    script = Path(__file__).with_name("serial_moto.py")
    server = subprocess.Popen([sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    yield server.stdout.readline().strip()
    server.communicate()


def nursery_in(folder: Path, environment: dict[str, str]) -> Nursery:
    folder.mkdir()
    return Nursery(folder, environment)


def test_killed_workers_on_a_folder(tmp_path: Path, long: bool, tell: Tell) -> None:
    """Workers and engines that are killed over and over on a folder lose nothing and publish nothing twice."""
    for number, seed in enumerate(seeds(long)):
        print(f"DROPSCRIBE_SOAK_SEED={seed} replays this")
        nursery = nursery_in(tmp_path / f"{number}", {})
        bucket = FolderBucket(tmp_path / f"{number}" / "bucket")
        try:
            with bucket.watched():
                course = Soak(bucket, nursery, seed).run(KILLS)
        finally:
            nursery.close()
        check("folder", course, bucket, nursery, tell)


def test_killed_workers_on_s3(serial_s3: str, tmp_path: Path, long: bool, tell: Tell) -> None:
    """The same on S3, whose bucket keeps every version of every result, with workers that hear of recordings from a
    queue; in the end all are killed, and the queue alone tells another one what is not done. It is empty then.
    """
    aws = {**AWS, **QUEUE, "AWS_ENDPOINT_URL": serial_s3, "NO_PROXY": "127.0.0.1"}
    for number, seed in enumerate(seeds(long)):
        print(f"DROPSCRIBE_SOAK_SEED={seed} replays this")
        nursery = nursery_in(tmp_path / f"{number}", aws)
        s3, sqs = client_at(serial_s3, "s3"), client_at(serial_s3, "sqs")
        name = f"soak-{seed}-{number}"
        bucket = S3Bucket(s3, name)
        queue = sqs.create_queue(QueueName=name)["QueueUrl"]
        asked = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
        bucket.tell(asked["Attributes"]["QueueArn"])
        try:
            soak = Soak(bucket, nursery, seed, options=("--queue", queue), last_signal=signal.SIGKILL)
            check("s3", soak.run(KILLS), bucket, nursery, tell)
            assert messages_left(sqs, queue) == 0
        finally:
            nursery.close()
            s3.close()
            sqs.close()


def client_at(url: str, service: str) -> Any:
    import boto3

    return boto3.session.Session().client(
        service,
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def messages_left(sqs: Any, queue: str) -> int:
    """Hidden ones too."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    counts = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
    return sum(int(counts[name]) for name in names)


# ── what must hold ───────────────────────────────────────────────────────────────────────────────────────────────────


def check(where: str, course: Course, bucket: SoakBucket, nursery: Nursery, tell: Tell) -> None:
    ran = Counter(nursery.ran())
    lost = nursery.logged("is lost")  # leases of living workers, on a machine that is too busy to let them beat
    records = [
        JobRecord.model_validate_json(bucket.store.get(info.key).body)
        for info in bucket.store.list(".dropscribe/v1/jobs/")
    ]
    least = STAGES * len(course.contents)
    line = (
        f"soak {where}: seed {course.seed}, {course.workers_killed} workers and {course.engines_killed} engines killed,"
        f" {len(course.present)} inputs, {len(course.contents)} contents, {ran.total()} stages run for at most {least}"
        f" that are needed, {sum(record.takeovers for record in records)} takeovers, {lost} leases lost"
    )
    tell(line)
    print(line)
    check_nothing_is_lost(course, bucket)
    check_published_once(bucket)
    check_no_lease_is_left(course, records)
    check_charges(course, records, lost)
    assert ran.total() <= least + STAGES * (course.kills + lost)
    check_nothing_is_left(course, nursery)


def check_nothing_is_lost(course: Course, bucket: SoakBucket) -> None:
    """Every input is settled, with the result of its own bytes, and without an error."""
    layout = Layout.of(bucket.store.url, Settings())
    for key, body in course.present.items():
        sha256 = hashlib.sha256(body).hexdigest()
        sid = layout.source(bucket.store.head(f"input/{key}")).sid
        assert read(bucket, layout.settled_key(sid))["outcome"] == "completed", key
        result = read(bucket, f"results/{key}.json")
        assert result["metadata"]["sha256"] == sha256, key
        assert said(result).split()[0] == sha256, key
        manifest = read(bucket, f"progress/{key}.json")
        assert (manifest["status"], manifest["source_id"]) == ("completed", sid), key
    assert list(bucket.store.list("errors/")) == []
    assert list(bucket.store.list(".dropscribe/v1/dead/")) == []


def check_published_once(bucket: SoakBucket) -> None:
    """Whatever lay under results/ at any time: one transcript of one content, and one document under one job id."""
    transcripts: dict[str, set[str]] = {}
    documents: dict[str, set[bytes]] = {}
    versions = bucket.versions()
    for _, body in versions:
        result = json.loads(body)
        transcripts.setdefault(result["metadata"]["sha256"], set()).add(said(result))
        documents.setdefault(result["metadata"]["request_id"], set()).add(body)
    assert versions
    assert {sha256: texts for sha256, texts in transcripts.items() if len(texts) > 1} == {}
    assert {job_id: bodies for job_id, bodies in documents.items() if len(bodies) > 1} == {}


def check_no_lease_is_left(course: Course, records: list[JobRecord]) -> None:
    """Every job that an input wants is done. One that lost its last input while its holder was dead is nobody's: it
    lies as it was, and whoever drops these bytes again takes it over.
    """
    wanted = {hashlib.sha256(body).hexdigest() for body in course.present.values()}
    states = {record.content.sha256: record.state for record in records}
    assert wanted <= set(states)
    assert {sha256: states[sha256] for sha256 in wanted if states[sha256] != "done"} == {}


def check_charges(course: Course, records: list[JobRecord], lost: int) -> None:
    """An attempt is charged for a killed engine alone, a takeover for a killed worker or a lost lease."""
    failures = [failure.error for record in records for failure in record.failures]
    assert all(error.error_class == "EngineDied" and "SIGKILL" in error.message for error in failures), failures
    assert sum(record.attempts for record in records) == len(failures) <= course.engines_killed
    assert sum(record.takeovers for record in records) <= course.workers_killed + lost


def check_nothing_is_left(course: Course, nursery: Nursery) -> None:
    """No engine lives on, and no scratch folder lies about."""
    assert course.processes_left == []
    assert sorted(path.name for path in (nursery.folder / "work").iterdir()) == []


def read(bucket: SoakBucket, key: str) -> Any:
    return json.loads(bucket.store.get(key).body)


def said(result: Any) -> str:
    return str(result["results"]["channels"][0]["alternatives"][0]["transcript"])
