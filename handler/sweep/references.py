"""Which references and blobs of the stage cache go, and their going: references first, then the blobs that none names.

Takes listings and limits. A reference's age is that of its last write: whoever uses its artifact renews it, at most
once a day (`handler.cache`). Knows nothing of outputs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from handler.cache import Reference
from handler.errors import NotFound
from handler.layout import Layout
from handler.store.base import Info, Store
from handler.sweep.hands import Hands, delete_unchanged, store_now
from handler.sweep.limits import GRACE_SECONDS, Limits


@dataclass(frozen=True, slots=True)
class Entry:
    """A reference and the blob that it names, if it names one that is there."""

    info: Info
    blob: str | None


@dataclass(frozen=True, slots=True)
class Shelves:
    """The cache as it was listed. ``blobs`` by name, ``now`` on the store's clock."""

    entries: tuple[Entry, ...]
    blobs: Mapping[str, Info]
    now: float

    @property
    def bytes(self) -> int:
        """All that lies there, whether it is named or not."""
        return sum(entry.info.size for entry in self.entries) + sum(info.size for info in self.blobs.values())

    def old(self, info: Info) -> bool:
        return self.now - info.modified > GRACE_SECONDS

    def due(self, limits: Limits) -> Iterator[Entry]:
        """The references that go: too old, or, oldest first, until the rest fits. A blob that several name counts once,
        and until the last of them goes.
        """
        named = Counter(entry.blob for entry in self.entries)
        left = sum(entry.info.size for entry in self.entries)
        left += sum(info.size for name, info in self.blobs.items() if name in named)
        for entry in sorted(self.entries, key=lambda entry: (entry.info.modified, entry.info.key)):
            age = self.now - entry.info.modified
            too_old = limits.cache_ttl is not None and age > limits.cache_ttl
            too_much = limits.cache_bytes is not None and left > limits.cache_bytes
            if not self.old(entry.info) or not (too_old or too_much):
                continue
            left -= entry.info.size
            named[entry.blob] -= 1
            if entry.blob is not None and not named[entry.blob]:
                left -= self.blobs[entry.blob].size
            yield entry

    def orphans(self, gone: Iterable[Info]) -> list[Info]:
        """The blobs that no reference names but these, and that nobody can be about to name."""
        without = {info.key for info in gone}
        wanted = {entry.blob for entry in self.entries if entry.info.key not in without}
        return [info for name, info in self.blobs.items() if name not in wanted and self.old(info)]


@dataclass(frozen=True, slots=True)
class Gone:
    """What went."""

    references: tuple[Info, ...]
    blobs: tuple[Info, ...]


def look(store: Store, layout: Layout, hands: Hands) -> Shelves:
    """Two listings, a HEAD, and a GET for each reference, which alone tells whose blob is whose; none without blobs.

    Blobs are listed first: one whose reference was there before that listing of references is never taken for an
    orphan.
    """
    prefix = layout.blob_key("")
    blobs = {info.key.removeprefix(prefix): info for info in store.list(prefix)}
    references = list(store.list(layout.stage_key("").removesuffix(".json")))
    now = store_now(store, (*references, *blobs.values()))

    def blob_of(info: Info) -> str | None:
        name = _blob_of(store, info.key) if blobs else None
        return name if name in blobs else None

    named = hands.map(blob_of, references)
    return Shelves(tuple(Entry(info, blob) for info, blob in zip(references, named, strict=True)), blobs, now)


def clear_out(store: Store, shelves: Shelves, limits: Limits, hands: Hands) -> Gone:
    """Let go what is due. A reference that was used since it was listed stays, and so does its blob."""
    due = [entry.info for entry in shelves.due(limits)]
    references = _delete(store, due, hands)
    blobs = _delete(store, shelves.orphans(references), hands)
    return Gone(references, blobs)


def would_go(shelves: Shelves, limits: Limits) -> Gone:
    """What `clear_out` would let go. No requests."""
    due = tuple(entry.info for entry in shelves.due(limits))
    return Gone(due, tuple(shelves.orphans(due)))


def _delete(store: Store, infos: Sequence[Info], hands: Hands) -> tuple[Info, ...]:
    """Those that really went."""
    gone = hands.map(lambda info: delete_unchanged(store, info), infos)
    return tuple(info for info, really in zip(infos, gone, strict=True) if really)


def _blob_of(store: Store, key: str) -> str | None:
    """The name of the blob that a reference names; None if it holds its artifact itself or cannot be read."""
    try:
        reference = Reference.model_validate_json(store.get(key).body)
    except (NotFound, ValidationError):
        return None
    return None if reference.inline is not None else reference.sha256
