"""A bucket behind a faulty proxy."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults_rig import FaultRig, client_factory, settings_in
from faulty_proxy import FaultyProxy

from handler.clock import SystemClock
from handler.store.s3 import S3Store


@pytest.fixture
def faulty(s3_endpoint: str, aws_environment: str, tmp_path: Path) -> Iterator[FaultRig]:
    """An empty bucket; no fault happens before one is planned."""
    factory, bucket = client_factory(s3_endpoint), f"bucket-{uuid.uuid4().hex}"
    client = factory(1)
    client.create_bucket(Bucket=bucket)
    client.close()
    store = S3Store(bucket, clock=SystemClock(), client_factory=factory)
    with FaultyProxy(s3_endpoint).serving() as proxy:
        yield FaultRig(proxy, bucket, store, settings_in(tmp_path))
    store.close()
