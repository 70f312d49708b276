"""Wait for exactly these versions of these inputs, or of a batch, with a progress bar each. For ``submit --wait`` and
the demo.

A manifest of another version under the same key is not ours, whatever it says; a settled marker is, even without a
manifest. Reads only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.progress import Progress as Bars
from rich.progress import TaskID

from handler.cli.bucket import Bucket
from handler.cli.runtime import escaped
from handler.cli.screen import note, progress_bars
from handler.clock import Clock
from handler.errors import NotInTime
from handler.layout import is_batch, job_id_of
from handler.overview import read_batch_manifest, read_manifest
from handler.settled import read_marker
from handler.types import BatchManifest, Manifest, SettledMarker, Source, Status
from pipeline.errors import sentence

_LOCAL_SECONDS = 0.25  # between looks at a folder, which costs nothing
_REMOTE_SECONDS = 2.0  # manifests are not written more often
_EACH_SECONDS = 0.02  # added for each input that is waited for: a thousand of them are no reason to flood the store
_LONELY_SECONDS = 20.0  # without a sign of life, say what may be missing


@dataclass(frozen=True, slots=True)
class Ended:
    """How one input ended, or how far it is. ``result`` and ``error`` are keys; ``message`` says why it failed.
    ``job_id`` is None while there is no job. ``members_bad``: of a batch, how many failed or were cancelled.
    """

    source: Source
    status: Status
    job_id: str | None
    message: str
    result: str | None
    error: str | None
    cached: bool
    outputs: tuple[tuple[str, str], ...] = ()  # the result's other forms: kind and key
    members_bad: int = 0

    @property
    def over(self) -> bool:
        return self.status in ("completed", "failed", "cancelled")


class OutOfTime(NotInTime):
    """``so_far``: what is known of every one, in the order given."""

    def __init__(self, message: str, hint: str, so_far: list[Ended]) -> None:
        super().__init__(message, hint)
        self.so_far = so_far


def follow(
    bucket: Bucket,
    sources: Sequence[Source],
    clock: Clock,
    timeout: float | None = None,
    *,
    between: Callable[[], None] = lambda: None,
) -> list[Ended]:
    """Wait until every one has ended; in the order given. ``timeout`` in seconds: `OutOfTime`.

    ``between`` is called after each look; what it raises ends the wait.
    """
    known = {source.sid: Ended(source, "queued", None, "", None, None, False) for source in sources}
    started = clock.monotonic()
    pause = _LOCAL_SECONDS if bucket.local else _REMOTE_SECONDS
    with progress_bars() as bars:
        view = _View(bucket, bars, sources, started)
        while True:
            for source in sources:
                if not known[source.sid].over:
                    found = known[source.sid] = _look(bucket, source, view) or known[source.sid]
                    if found.over:
                        view.finish(found)
            left = sum(not one.over for one in known.values())
            if not left:
                return [known[source.sid] for source in sources]
            now = clock.monotonic()
            if timeout is not None and now - started >= timeout:
                raise OutOfTime(
                    f"{left} of {len(sources)} recordings are not done after {timeout:g} s",
                    "They stay in the bucket; `dropscribe status BUCKET` shows how far they are.",
                    [known[source.sid] for source in sources],
                )
            view.lonely(now)
            between()
            rest = float("inf") if timeout is None else started + timeout - now
            clock.sleep(min(pause + _EACH_SECONDS * left, rest))


def _look(bucket: Bucket, source: Source, view: _View) -> Ended | None:
    read = read_batch_manifest if is_batch(source.key) else read_manifest
    manifest: Manifest | BatchManifest | None = read(bucket.store, bucket.layout, source.key)
    if manifest is not None and manifest.source_id == source.sid:
        view.show(source, manifest)
        return _from_manifest(bucket, source, manifest)
    marker = read_marker(bucket.store, bucket.layout, source.sid)
    return _from_marker(bucket, source, marker) if marker is not None else None


def _from_manifest(bucket: Bucket, source: Source, manifest: Manifest | BatchManifest) -> Ended:
    error = manifest.error
    counts = manifest.counts if isinstance(manifest, BatchManifest) else None
    return Ended(
        source=source,
        status=manifest.status,
        job_id=manifest.job_id,
        message=sentence(error.message, error.hint) if error is not None else manifest.message,
        result=manifest.result,
        error=bucket.layout.error_key(source.key) if manifest.status == "failed" else None,
        cached=isinstance(manifest, Manifest) and bool(manifest.cached_stages) and not manifest.timings,
        outputs=tuple(manifest.outputs.items()) if isinstance(manifest, Manifest) else (),
        members_bad=counts.failed + counts.cancelled if counts is not None else 0,
    )


def _from_marker(bucket: Bucket, source: Source, marker: SettledMarker) -> Ended:
    """The manifest speaks of another version: ours was replaced, or nothing could be written under its name."""
    return Ended(
        source=source,
        status=marker.outcome,
        job_id=marker.job_id or job_id_of(marker.jid, source.sid),
        message=marker.reason,
        result=bucket.layout.result_key(source.key) if marker.outcome == "completed" else None,
        error=None,
        cached=False,
    )


class _View:
    """One bar for each input; where there is no terminal, a line when one ends."""

    def __init__(self, bucket: Bucket, bars: Bars, sources: Sequence[Source], started: float) -> None:
        self._bucket = bucket
        self._bars = bars
        self._tasks: dict[str, TaskID] = {
            source.sid: bars.add_task(escaped(source.key), total=100.0, note="queued") for source in sources
        }
        self._sign_of_life = started

    def show(self, source: Source, manifest: Manifest | BatchManifest) -> None:
        self._sign_of_life = float("inf")
        self._bars.update(self._tasks[source.sid], completed=manifest.percent, note=escaped(manifest.message))

    def finish(self, ended: Ended) -> None:
        completed = ended.status == "completed"
        words = "from the cache" if ended.cached else ended.status if completed else f"{ended.status}: {ended.message}"
        task = self._tasks[ended.source.sid]
        self._bars.update(task, note=escaped(words), completed=100.0 if completed else None)
        self._bars.stop_task(task)
        if self._bars.disable:
            note(f"{ended.source.key}: {words}")

    def lonely(self, now: float) -> None:
        if now - self._sign_of_life >= _LONELY_SECONDS:
            self._sign_of_life = float("inf")
            self._bars.console.print(
                f"No worker has begun yet. If none is running: dropscribe work {self._bucket.store.url}",
                markup=False, soft_wrap=True,
            )  # fmt: skip
