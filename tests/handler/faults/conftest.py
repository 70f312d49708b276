"""A bucket behind a faulty proxy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from faults_rig import FaultRig, client_factory, settings_in
from faulty_proxy import FaultyProxy

from handler.clock import SystemClock
from handler.store.s3 import S3Store


@pytest.fixture
def faulty(s3_endpoint: str, s3_bucket: str, tmp_path: Path) -> Iterator[FaultRig]:
    """An empty bucket; no fault happens before one is planned."""
    store = S3Store(s3_bucket, clock=SystemClock(), client_factory=client_factory(s3_endpoint))
    with FaultyProxy(s3_endpoint).serving() as proxy:
        yield FaultRig(proxy, s3_bucket, store, settings_in(tmp_path))
    store.close()
