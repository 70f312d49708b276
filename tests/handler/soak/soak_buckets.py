"""The buckets of a soak, seen by their user: drop a recording, read what lies there, and every version that a result
ever had. In a folder a thread looks for new versions; on S3 the bucket keeps them.

Knows nothing of workers.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from handler.clock import SystemClock
from handler.store.base import Store
from handler.store.folder import FolderStore

_LOOK_SECONDS = 0.004
_INPUTS = {"Key": {"FilterRules": [{"Name": "prefix", "Value": "input/"}]}}


class SoakBucket(Protocol):
    """``argument``: what `dropscribe work` is given. ``store``: to look at what the workers left, not to write."""

    argument: str
    store: Store

    def drop(self, key: str, body: bytes) -> None:
        """As a careful user does: whole or not at all."""

    def versions(self) -> list[tuple[str, bytes]]:
        """(key, body) of every version of every object under results/ so far, in no order."""


class FolderBucket:
    def __init__(self, path: Path) -> None:
        self._path = path
        self.argument = str(path)
        self.store = FolderStore(path, SystemClock(), settle_seconds=0)
        self._versions: dict[tuple[str, str], bytes] = {}
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        (path / "input").mkdir(parents=True)

    def drop(self, key: str, body: bytes) -> None:
        temporary = self._path / "input" / f".{key}"
        temporary.write_bytes(body)
        temporary.rename(self._path / "input" / key)

    def versions(self) -> list[tuple[str, bytes]]:
        self._look()
        return [(key, body) for (key, _), body in self._versions.items()]

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        self._watcher.start()
        try:
            yield
        finally:
            self._over.set()
            self._watcher.join()

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            self._look()

    def _look(self) -> None:
        with contextlib.suppress(FileNotFoundError), os.scandir(self._path / "results") as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # a temporary file, renamed since
                    found = entry.stat()
                    version = (entry.name, f"{found.st_ino}-{found.st_mtime_ns}")
                    if not entry.name.startswith(".") and version not in self._versions:
                        self._versions[version] = Path(entry.path).read_bytes()


class S3Bucket:
    """A bucket with versioning, so that nothing ever written is forgotten."""

    def __init__(self, client: Any, name: str) -> None:
        from handler.store.s3 import S3Store

        self._client = client
        self._name = name
        self.argument = f"s3://{name}"
        client.create_bucket(Bucket=name)
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        self.store = S3Store(name, clock=SystemClock(), client_factory=lambda attempts: client)

    def tell(self, queue_arn: str) -> None:
        """From now on the queue hears of every recording."""
        told = {"QueueArn": queue_arn, "Events": ["s3:ObjectCreated:*"], "Filter": _INPUTS}
        self._client.put_bucket_notification_configuration(
            Bucket=self._name, NotificationConfiguration={"QueueConfigurations": [told]}
        )

    def drop(self, key: str, body: bytes) -> None:
        self._client.put_object(Bucket=self._name, Key=f"input/{key}", Body=body)

    def versions(self) -> list[tuple[str, bytes]]:
        pages = self._client.get_paginator("list_object_versions").paginate(Bucket=self._name, Prefix="results/")
        return [self._version(entry) for page in pages for entry in page.get("Versions", ())]

    def _version(self, entry: dict[str, Any]) -> tuple[str, bytes]:
        reply = self._client.get_object(Bucket=self._name, Key=entry["Key"], VersionId=entry["VersionId"])
        return entry["Key"].removeprefix("results/"), reply["Body"].read()
