"""The stage cache: the digest of a recipe → the artifact it gave. First writer wins; artifacts are never rewritten.

A reference ``stages/<digest>.json`` holds the artifact itself when it is small, or names a blob. The blob is written
first and read last, so a missing or damaged blob is a miss, never an error. Knows nothing of what the artifacts mean.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from handler.clock import Clock
from handler.errors import Changed, NotFound, StoreError
from handler.layout import Layout
from handler.store.base import Found, Store
from handler.store.swap import Conflict, put_record
from pipeline.types import Facts, Frozen

log = logging.getLogger(__name__)

RENEW_SECONDS = 24 * 3600.0  # a hit renews its reference's age at most so often


class Reference(Frozen):
    """``stages/<digest>.json``. ``inline`` is the artifact's text; without it the artifact is the blob named
    ``sha256``.

    ``seconds`` is what the stage took, so that hits can say what they saved. ``facts`` belong to the results part
    alone. ``jid``: the job that made it, which may never have come to its end.
    """

    format: Literal[1] = 1
    stage: str
    sha256: str
    size: int
    seconds: float
    inline: str | None = None
    facts: Facts | None = None
    jid: str | None = None
    nonce: str = ""


@dataclass(frozen=True, slots=True)
class Hit:
    """A stored artifact; ``body`` is its bytes, whose SHA-256 was checked."""

    body: bytes
    reference: Reference


class StageCache:
    def __init__(self, store: Store, layout: Layout, clock: Clock, scratch: Path, inline_bytes: int) -> None:
        self._store = store
        self._layout = layout
        self._clock = clock
        self._scratch = scratch
        self._inline_bytes = inline_bytes

    def get(self, digest: str) -> Hit | None:
        """The artifact of this recipe, or None. A damaged one is a miss, with a line in the log."""
        key = self._layout.stage_key(digest)
        try:
            found = self._store.get(key)
        except NotFound:
            return None
        hit = self._read(digest, found)
        if hit is not None and found.age > RENEW_SECONDS:
            self._renew(key, hit.reference, found.etag)
        return hit

    def fetch(self, digest: str, path: Path) -> Reference | None:
        """The artifact of this recipe as the file ``path``, whole or not at all, however large; None as `get`."""
        key = self._layout.stage_key(digest)
        try:
            found = self._store.get(key)
        except NotFound:
            return None
        reference = self._parsed(digest, found)
        if reference is None or not self._laid(digest, reference, path):
            return None
        if found.age > RENEW_SECONDS:
            self._renew(key, reference, found.etag)
        return reference

    def put(
        self,
        digest: str,
        stage: str,
        artifact: Path,
        *,
        seconds: float = 0.0,
        facts: Facts | None = None,
        jid: str | None = None,
    ) -> Reference:
        """Keep an artifact. What is already stored wins, and then replaces ``artifact``'s bytes: GPU output is not
        bit-stable.
        """
        reference = self._reference(artifact, stage, seconds, facts).model_copy(update={"jid": jid})
        key = self._layout.stage_key(digest)
        if reference.inline is None:
            self._store.upload(self._layout.blob_key(reference.sha256), artifact)
        try:
            self._write(key, reference, None)
            return reference
        except Conflict as conflict:
            found = conflict.found
        stored = self._adopted(digest, found, artifact)
        if stored is not None:
            return stored
        try:
            self._write(key, reference, found.etag if found is not None else None)
        except Conflict as conflict:  # somebody else mended it first
            return self._adopted(digest, conflict.found, artifact) or reference
        return reference

    def _adopted(self, digest: str, found: Found | None, artifact: Path) -> Reference | None:
        """What is stored, if it is whole, in place of the artifact that was made here."""
        reference = self._parsed(digest, found) if found is not None else None
        return reference if reference is not None and self._laid(digest, reference, artifact) else None

    def _reference(self, artifact: Path, stage: str, seconds: float, facts: Facts | None) -> Reference:
        size = artifact.stat().st_size
        with artifact.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        inline = _text(artifact.read_bytes()) if size <= self._inline_bytes else None
        return Reference(stage=stage, sha256=sha256, size=size, seconds=round(seconds, 3), inline=inline, facts=facts)

    def _renew(self, key: str, reference: Reference, etag: str) -> None:
        """Write a reference again, so that the sweep takes it for young. Whatever comes in between does not matter."""
        try:
            self._write(key, reference, etag)
        except StoreError as error:
            log.debug("cache: %s was not renewed: %s", key, error.message)

    def _write(self, key: str, reference: Reference, etag: str | None) -> None:
        fields = reference.model_dump(mode="json", exclude={"nonce"}, exclude_none=True)
        put_record(self._store, key, fields, etag=etag, clock=self._clock)

    def _read(self, digest: str, found: Found) -> Hit | None:
        reference = self._parsed(digest, found)
        if reference is None:
            return None
        if reference.inline is not None:
            body = reference.inline.encode()
            return Hit(body, reference) if self._is_whole(digest, reference, hashlib.sha256(body).hexdigest()) else None
        path = self._scratch_file()
        try:
            return Hit(path.read_bytes(), reference) if self._downloaded(digest, reference, path) else None
        finally:
            path.unlink(missing_ok=True)

    def _laid(self, digest: str, reference: Reference, path: Path) -> bool:
        """Whether the artifact is whole and lies at ``path`` now; what lay there stays otherwise. By way of the scratch
        folder, never through memory if it is a blob.
        """
        temp = self._scratch_file()
        try:
            if reference.inline is None:
                whole = self._downloaded(digest, reference, temp)
            else:
                temp.write_text(reference.inline, encoding="utf-8", newline="")
                sha256 = hashlib.sha256(reference.inline.encode()).hexdigest()
                whole = self._is_whole(digest, reference, sha256)
            if whole:
                shutil.move(temp, path)  # the work directory may be another disk
            return whole
        finally:
            temp.unlink(missing_ok=True)

    def _downloaded(self, digest: str, reference: Reference, path: Path) -> bool:
        """A blob: downloads are streamed, hashed and retried by the store."""
        try:
            sha256 = self._store.download(self._store.head(self._layout.blob_key(reference.sha256)), path)
        except (NotFound, Changed):
            sha256 = ""
        return self._is_whole(digest, reference, sha256)

    def _parsed(self, digest: str, found: Found) -> Reference | None:
        try:
            return Reference.model_validate_json(found.body)
        except ValidationError:
            log.warning("cache: reference %s is unreadable, treated as a miss", digest)
            return None

    def _is_whole(self, digest: str, reference: Reference, sha256: str) -> bool:
        if sha256 != reference.sha256:
            log.warning(
                "cache: the artifact of %s (%s) is missing or damaged, treated as a miss", digest, reference.stage
            )
        return sha256 == reference.sha256

    def _scratch_file(self) -> Path:
        self._scratch.mkdir(parents=True, exist_ok=True)
        return self._scratch / f"{self._clock.new_id()}.blob"


def _text(body: bytes) -> str | None:
    """None where the bytes are no UTF-8 (sound, say): such an artifact is a blob, however small."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None
