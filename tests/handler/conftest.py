"""Stores for tests: in memory, in a folder, and on S3 (`s3_bucket` of tests/conftest.py). `store` is each in turn."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from handler.clock import SystemClock, VirtualClock
from handler.store.base import Store
from handler.store.folder import FolderStore
from handler.store.memory import MemoryStore
from tests.s3_place import Place


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
def s3_store(s3_place: Place) -> Iterator[Any]:
    """A `handler.store.s3.S3Store` under a prefix of its own: ``some/prefix`` of a new bucket, without ``--s3``."""
    from handler.errors import UnsafeStore
    from handler.store.probe import probe
    from handler.store.s3 import S3Store

    store = S3Store(s3_place.bucket, s3_place.prefix, clock=SystemClock())
    with contextlib.suppress(UnsafeStore):  # of a server that ``--s3`` names: other promises it may keep all the same
        probe(store, SystemClock())  # as a worker does: so the store learns how this server wants its ETags
    yield store
    store.close()


@pytest.fixture(params=["memory", "folder", "s3"])
def store(request: pytest.FixtureRequest) -> Store:
    """Each implementation in turn."""
    found: Store = request.getfixturevalue(f"{request.param}_store")
    return found
