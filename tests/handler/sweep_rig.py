"""What tests of the cache's sweep share: artifacts with short names, and the sweep's own connection to the store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from protocol_rig import layout_of

from handler.cache import StageCache
from handler.clock import VirtualClock
from handler.layout import digest_of
from handler.store.memory import MemoryStore
from handler.sweep import Limits, Sweep, Swept

DAY = 24 * 3600.0
STAGES, BLOBS = ".dropscribe/v1/stages/", ".dropscribe/v1/blobs/"
INLINE = 100  # bytes


@dataclass
class Cache:
    """A stage cache in which artifacts are named by a word, and its store seen from the sweep's own connection."""

    store: MemoryStore
    clock: VirtualClock
    folder: Path

    def __post_init__(self) -> None:
        self.stages = StageCache(self.store, layout_of(self.store), self.clock, self.folder / "scratch", INLINE)
        self.seen = self.store.client()

    def keep(self, name: str, body: bytes) -> None:
        artifact = self.folder / "artifact"
        artifact.write_bytes(body)
        self.stages.put(digest_of(name), "transcribing", artifact)

    def has(self, *names: str) -> list[bool]:
        return [self.stages.get(digest_of(name)) is not None for name in names]

    def names(self, *names: str) -> list[bool]:
        """Whether there are references, without using them."""
        return [self.store.peek(self.key(name)) is not None for name in names]

    def key(self, name: str) -> str:
        return f"{STAGES}{digest_of(name)}.json"

    def sweep(self, *, dry_run: bool = False, **limits: float) -> Swept:
        self.seen.calls.clear()
        return Sweep(self.seen, layout_of(self.seen)).run(Limits(**limits), dry_run=dry_run)  # type: ignore[arg-type]

    def size(self) -> int:
        return sum(len(self.store.peek(key) or b"") for key in (*self.store.keys(STAGES), *self.store.keys(BLOBS)))


def large(text: str) -> bytes:
    return text.encode() * 1000
