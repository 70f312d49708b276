"""Stores for tests: in memory, in a folder, and S3's protocol from a server on loopback. `store` is each of them in
turn.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from handler.clock import SystemClock, VirtualClock
from handler.store.base import Store
from handler.store.folder import FolderStore
from handler.store.memory import MemoryStore


@pytest.fixture
def virtual_clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def memory_store(virtual_clock: VirtualClock) -> MemoryStore:
    """Its clock is `virtual_clock`."""
    return MemoryStore(virtual_clock)


@pytest.fixture
def folder_store(tmp_path: Path) -> FolderStore:
    """In ``tmp_path / "bucket"``, on the system's clock."""
    return FolderStore(tmp_path / "bucket", SystemClock())


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The URL of an S3 server that lives as long as the tests. It checks, then writes: it shows no atomicity."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws_environment(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The AWS variables of somebody who uses `s3_endpoint`, and nobody's own configuration. Gives the endpoint."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return s3_endpoint


@pytest.fixture
def s3_client(aws_environment: str) -> Iterator[Any]:
    """A plain boto3 client, for what the `Store` protocol has no word for."""
    import boto3

    client = boto3.session.Session().client("s3")
    yield client
    client.close()


@pytest.fixture
def s3_bucket(s3_client: Any) -> str:
    """A new bucket's name."""
    name = f"bucket-{uuid.uuid4().hex}"
    s3_client.create_bucket(Bucket=name)
    return name


@pytest.fixture
def s3_store(s3_bucket: str) -> Iterator[Any]:
    """A `handler.store.s3.S3Store` under the prefix ``some/prefix`` of a new bucket."""
    from handler.store.s3 import S3Store

    store = S3Store(s3_bucket, "some/prefix", clock=SystemClock())
    yield store
    store.close()


@pytest.fixture(params=["memory", "folder", "s3"])
def store(request: pytest.FixtureRequest) -> Store:
    """Each implementation in turn."""
    found: Store = request.getfixturevalue(f"{request.param}_store")
    return found
