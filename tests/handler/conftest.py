"""Stores for tests: in memory, in a folder, and on S3 (`s3_bucket` of tests/conftest.py). `store` is each in turn."""

from __future__ import annotations

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
