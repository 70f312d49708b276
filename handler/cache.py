"""The stage cache: the digest of a recipe → the artifact it gave. First writer wins; artifacts are never rewritten.

A reference ``stages/<digest>.json`` holds the artifact itself when it is small, or names a blob. The blob is written
first and read last, so a missing or damaged blob is a miss, never an error. Knows nothing of what the artifacts mean.
"""

from __future__ import annotations

import hashlib
import logging
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
        stored = self._read(digest, found) if found is not None else None
        if stored is not None:
            artifact.write_bytes(stored.body)
            return stored.reference
        try:
            self._write(key, reference, found.etag if found is not None else None)
        except Conflict:  # somebody else mended it first
            mended = self.get(digest)
            if mended is not None:
                artifact.write_bytes(mended.body)
                return mended.reference
        return reference

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
        try:
            reference = Reference.model_validate_json(found.body)
        except ValidationError:
            log.warning("cache: reference %s is unreadable, treated as a miss", digest)
            return None
        body = reference.inline.encode() if reference.inline is not None else self._blob(reference)
        if body is None or hashlib.sha256(body).hexdigest() != reference.sha256:
            log.warning(
                "cache: the artifact of %s (%s) is missing or damaged, treated as a miss", digest, reference.stage
            )
            return None
        return Hit(body, reference)

    def _blob(self, reference: Reference) -> bytes | None:
        """A large artifact, through the scratch folder: downloads are streamed, checked and retried by the store."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        path = self._scratch / f"{self._clock.new_id()}.blob"
        try:
            self._store.download(self._store.head(self._layout.blob_key(reference.sha256)), path)
            return path.read_bytes()
        except (NotFound, Changed):
            return None
        finally:
            path.unlink(missing_ok=True)


def _text(body: bytes) -> str | None:
    """None where the bytes are no UTF-8 (sound, say): such an artifact is a blob, however small."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None
