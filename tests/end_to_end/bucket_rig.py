"""A bucket, a worker on it, and the engine that it drives: drop something in, drain, look at what came out.

The worker runs in this process and one sweep at a time; the engine is whatever it is given, as a rule the real child
process. `SkippingClock` spares the waits between attempts, so nothing here depends on how fast the machine is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from handler.child import Engine
from handler.clock import SystemClock
from handler.errors import NotFound
from handler.layout import Layout
from handler.settings import Settings
from handler.store.base import Store
from handler.store.folder import FolderStore
from handler.store.memory import MemoryStore
from handler.worker import Worker
from tests.deepgram_contract import check_result

SWEEPS = 200  # more than any case needs: a drain that is not over by then hangs
SKIP_SECONDS = 6.0  # over the worker's pause before it looks again at an input that met trouble
LARGE = 10_000_000  # bytes; a file over that is moved into a folder, not copied
PATIENCE_SECONDS = 0.02  # of real time between sweeps, for servers whose clock cannot be skipped


class SkippingClock(SystemClock):
    """The real time, and what was skipped of it: sleeping is skipping. Only the heart, which waits, waits for real."""

    def __init__(self) -> None:
        super().__init__()
        self._skipped = 0.0

    def time(self) -> float:
        return super().time() + self._skipped

    def monotonic(self) -> float:
        return super().monotonic() + self._skipped

    def sleep(self, seconds: float) -> None:
        self.skip(seconds)

    def skip(self, seconds: float) -> None:
        self._skipped += seconds


class Bucket(Protocol):
    """A bucket as its user sees it. Keys are whole: ``input/a.wav``."""

    def drop(self, key: str, body: bytes | Path, metadata: Mapping[str, str] | None = None) -> None: ...

    def store(self, clock: SystemClock) -> Store: ...


@dataclass
class FolderBucket:
    path: Path

    def drop(self, key: str, body: bytes | Path, metadata: Mapping[str, str] | None = None) -> None:
        assert not metadata, "a file has no metadata"
        target = self.path / key
        target.parent.mkdir(parents=True, exist_ok=True)
        temp = target.with_name(".dropping")
        if isinstance(body, Path) and body.stat().st_size > LARGE:
            body.rename(temp)  # a sparse file stays sparse
        else:
            temp.write_bytes(body.read_bytes() if isinstance(body, Path) else body)
        temp.replace(target)

    def store(self, clock: SystemClock) -> Store:
        return FolderStore(self.path, clock, settle_seconds=0.0)


@dataclass
class S3Bucket:
    name: str
    client: Any

    def drop(self, key: str, body: bytes | Path, metadata: Mapping[str, str] | None = None) -> None:
        data = body.read_bytes() if isinstance(body, Path) else body
        self.client.put_object(Bucket=self.name, Key=key, Body=data, Metadata=dict(metadata or {}))

    def store(self, clock: SystemClock) -> Store:
        from handler.store.s3 import S3Store

        return S3Store(self.name, clock=clock)


@dataclass
class MemoryBucket:
    """``server`` is the store that faults are hooked into; the user's own drops and looks are not hooked."""

    server: MemoryStore

    def drop(self, key: str, body: bytes | Path, metadata: Mapping[str, str] | None = None) -> None:
        self.server.drop(key, body.read_bytes() if isinstance(body, Path) else body, metadata)

    def store(self, clock: SystemClock) -> Store:
        return self.server


@dataclass
class Rig:
    """``store`` is the worker's own; what a person reads goes through it, too, unless it is hooked."""

    bucket: Bucket
    engine: Engine
    settings: Settings
    clock: SkippingClock
    store: Store = field(init=False)
    worker: Worker = field(init=False)
    reader: Store = field(init=False)

    def __post_init__(self) -> None:
        self.store = self.bucket.store(self.clock)
        self.reader = self.store.client() if isinstance(self.store, MemoryStore) else self.store
        self.new_worker()

    def new_worker(self) -> Worker:
        """As after a restart: nothing is remembered but what the bucket holds."""
        name = f"worker-{self.clock.new_id()[:8]}"
        self.worker = Worker(self.store, self.settings, self.clock, self.engine, name=name)
        return self.worker

    @property
    def layout(self) -> Layout:
        return Layout.of(self.store.url, self.settings)

    # ── what a user does ─────────────────────────────────────────────────────────────────────────────────────────────

    def drop(
        self,
        key: str,
        body: bytes | Path,
        *,
        sidecar: Mapping[str, Any] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Drop a recording; its sidecar, if it has one, goes first."""
        if sidecar is not None:
            self.bucket.drop(f"input/{key}.options.json", json.dumps(sidecar).encode())
        self.bucket.drop(f"input/{key}", body, metadata)

    def drain(self) -> None:
        """Sweep until everything is settled."""
        for _ in range(SWEEPS):
            pending, _ = self.worker.sweep()
            if not pending:
                return
            self.clock.skip(SKIP_SECONDS)
            time.sleep(PATIENCE_SECONDS)
        raise AssertionError(f"not settled after {SWEEPS} sweeps: {self.unsettled()}")

    def sweep(self, times: int) -> None:
        """So many sweeps, whatever is left."""
        for _ in range(times):
            self.worker.sweep()
            self.clock.skip(SKIP_SECONDS)

    # ── what a user sees ─────────────────────────────────────────────────────────────────────────────────────────────

    def read(self, key: str) -> bytes | None:
        try:
            return self.reader.get(key).body
        except NotFound:
            return None

    def keys(self, prefix: str) -> list[str]:
        """Relative to the prefix."""
        return [info.key.removeprefix(prefix) for info in self.reader.list(prefix)]

    def result(self, key: str) -> dict[str, Any]:
        """The published result, which keeps Deepgram's contract; and there is no error beside it."""
        body = self.read(f"results/{key}.json")
        assert body is not None, f"{key} has no result: {self.read(f'errors/{key}.json')!r}"
        assert self.read(f"errors/{key}.json") is None
        assert self.manifest(key)["status"] == "completed"
        return check_result(body)

    def error(self, key: str) -> dict[str, Any]:
        """The published error, which a person can act on; and there is no result beside it."""
        body = self.read(f"errors/{key}.json")
        assert body is not None, f"{key} has no error: {(self.read(f'results/{key}.json') or b'')[:200]!r}"
        assert self.read(f"results/{key}.json") is None
        assert self.manifest(key)["status"] == "failed"
        error: dict[str, Any] = json.loads(body)
        assert error["key"] == key
        assert error["err_msg"]
        assert error["hint"], f"nothing to act on: {error}"
        assert error["attempts"] >= 1
        return error

    def manifest(self, key: str) -> dict[str, Any]:
        body = self.read(f"progress/{key}.json")
        assert body is not None, f"{key} has no manifest"
        found: dict[str, Any] = json.loads(body)
        return found

    def settled(self) -> int:
        return len(self.keys(".dropscribe/v1/settled/"))

    def unsettled(self) -> list[str]:
        from handler.watch import scan

        return [candidate.source.key for candidate in scan(self.reader, self.layout).candidates]


def words_of(result: Mapping[str, Any], channel: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = result["results"]["channels"][channel]["alternatives"][0]["words"]
    return found


def transcript_of(result: Mapping[str, Any], channel: int = 0) -> str:
    found: str = result["results"]["channels"][channel]["alternatives"][0]["transcript"]
    return found


def warnings_of(result: Mapping[str, Any]) -> set[str]:
    """The types of the result's warnings."""
    return {warning["type"] for warning in result["metadata"].get("warnings", ())}
