"""Progress manifests: ``progress/<key>.json``, the one object a person polls.

Written at most every two seconds and on every change of stage. A manifest never replaces one that is newer: the token
decides between claims of one job, the source's present version between different ones.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import ValidationError

from handler.clock import Clock
from handler.errors import BadKey
from handler.layout import Layout
from handler.store.base import Store
from handler.store.swap import Conflict, put_bytes
from handler.types import BatchManifest, Manifest, canonical_json
from pipeline.errors import sentence

log = logging.getLogger(__name__)

WRITE_TRIES = 5


@dataclass(frozen=True, slots=True)
class Wrote:
    """``etag``: of what lies there now if the write was ours; ``replaced``: what lay there before, if it was read;
    ``newer``: what lies there instead of ours.
    """

    etag: str | None = None
    replaced: Manifest | None = None
    newer: Manifest | None = None


def write_manifest(
    store: Store,
    layout: Layout,
    clock: Clock,
    manifest: Manifest,
    *,
    etag: str | None,
    is_current: Callable[[], bool],
) -> Wrote:
    """Write ``manifest`` unless what lies there is newer. ``etag``: of our own last write, None for the first.

    ``is_current`` asks the store whether the input still is the version this manifest speaks of; it is asked only when
    what lies there belongs to another job.
    """
    key = layout.progress_key(manifest.key)
    body = canonical_json(manifest.model_dump(mode="json"))
    replaced: Manifest | None = None
    for _ in range(WRITE_TRIES):
        try:
            return Wrote(put_bytes(store, key, body, etag=etag, clock=clock).etag, replaced)
        except Conflict as conflict:
            found = conflict.found
        if found is None:  # deleted by hand
            etag = None
            continue
        replaced = parse_manifest(found.body)
        if replaced is not None and not _may_replace(manifest, replaced, is_current):
            return Wrote(newer=replaced)
        etag = found.etag
    log.warning("progress of %s: given up after %d refusals", manifest.key, WRITE_TRIES)
    return Wrote(replaced=replaced)


def parse_manifest(body: bytes) -> Manifest | None:
    """None when it is no manifest of ours: then it may be replaced."""
    try:
        return Manifest.model_validate_json(body)
    except ValidationError:
        return None


def parse_batch_manifest(body: bytes) -> BatchManifest | None:
    """As `parse_manifest`, of a batch."""
    try:
        return BatchManifest.model_validate_json(body)
    except ValidationError:
        return None


def _may_replace(mine: Manifest, theirs: Manifest, is_current: Callable[[], bool]) -> bool:
    if mine.job_id == theirs.job_id:
        if mine.token == theirs.token:  # an end that was published stands over a cancel, as with the markers
            return not theirs.terminal or (theirs.status == "cancelled" and mine.status in ("completed", "failed"))
        return mine.token > theirs.token
    if mine.source_id == theirs.source_id:  # the same recording under other options: the later claim
        return mine.token >= theirs.token
    return is_current()


class ManifestWriter:
    """Keeps one input's manifest current while its job runs: one for each claim. Not thread-safe: the worker's thread
    owns it.
    """

    def __init__(
        self,
        store: Store,
        layout: Layout,
        clock: Clock,
        *,
        least_seconds: float,
        is_current: Callable[[], bool],
    ) -> None:
        self._store = store
        self._layout = layout
        self._clock = clock
        self._least_seconds = least_seconds
        self._is_current = is_current
        self._etag: str | None = None
        self._last: Manifest | None = None
        self._written_at = float("-inf")
        self._unwritable = False
        self.newer: Manifest | None = None  # lies there instead: this writer is silent from now on
        self.replaced: Manifest | None = None  # what the first write found

    def write(self, manifest: Manifest, *, force: bool = False) -> None:
        """Write if it is time to, the stage changed, or with ``force``. Percent never goes back.

        A store that cannot hold the manifest's key is no error: whoever publishes the result meets it again.
        """
        last = self._last
        now = self._clock.monotonic()
        if self.newer is not None or self._unwritable:
            return
        changed = last is None or last.stage != manifest.stage or last.status != manifest.status
        if not (force or changed) and now - self._written_at < self._least_seconds:
            return
        if last is not None and manifest.percent < last.percent:
            manifest = manifest.model_copy(update={"percent": last.percent})
        try:
            wrote = write_manifest(
                self._store, self._layout, self._clock, manifest, etag=self._etag, is_current=self._is_current
            )
        except BadKey as error:
            log.error("progress of %s: %s", manifest.key, sentence(error.message, error.hint))
            self._unwritable = True
            return
        if last is None:
            self.replaced = wrote.replaced
        self.newer = wrote.newer
        self._etag, self._last, self._written_at = wrote.etag, manifest, now
