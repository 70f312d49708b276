"""Have a settled recording done again: its job's record is made claimable, then its settled marker goes, last of all.

A crash in between leaves a settled recording whose job may run again: nothing is lost, and a second retry finishes it.
Takes a store and keys; says what became of each. Knows nothing of how the worker runs what it then finds.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from pydantic import ValidationError

from handler.errors import NotFound, Unavailable
from handler.job import Jobs
from handler.layout import is_recording
from handler.overview import READERS, read_marker
from handler.store.swap import Conflict
from handler.types import SettledMarker
from pipeline.types import Frozen

_REVIVE_TRIES = 5


class Retried(Frozen):
    """``not_settled``: it is still queued or being worked on, and was left alone. ``was``: how it had ended."""

    key: str
    outcome: Literal["retried", "not_settled"]
    was: str | None = None


class Retry:
    """``jobs``: only to write records; nothing is claimed."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._store = jobs.store
        self._layout = jobs.layout

    def key(self, key: str) -> Retried:
        """One recording, by its key relative to the input prefix. `NotFound` if there is none."""
        source = self._layout.source(self._store.head(self._layout.input_key(key)))
        marker = read_marker(self._store, self._layout, source.sid)
        if marker is None:
            return Retried(key=key, outcome="not_settled")
        self._again(source.sid, marker)
        return Retried(key=key, outcome="retried", was=marker.outcome)

    def all(self, *, failed_only: bool = False) -> Iterator[Retried]:
        """Every settled recording that is still there; with ``failed_only``, those that failed."""
        prefix = self._layout.settled_key("")
        settled = {info.key.removeprefix(prefix) for info in self._store.list(prefix)}
        inputs = (self._layout.source(info) for info in self._store.list(self._layout.input))
        present = [source for source in inputs if source.sid in settled and is_recording(source.key)]
        with ThreadPoolExecutor(READERS) as readers:
            markers = readers.map(lambda source: read_marker(self._store, self._layout, source.sid), present)
            for source, marker in zip(present, markers, strict=True):
                if marker is None or (failed_only and marker.outcome != "failed"):
                    continue
                self._again(source.sid, marker)
                yield Retried(key=source.key, outcome="retried", was=marker.outcome)

    def _again(self, sid: str, marker: SettledMarker) -> None:
        if marker.jid is not None:
            self._revive(marker.jid)
            self._store.delete(self._layout.dead_key(marker.jid))
        self._store.delete(self._layout.settled_key(sid))

    def _revive(self, jid: str) -> None:
        """Make a dead, cancelled or degraded job claimable.

        A healthy one stays: its result is published again, or the input is another job by now (new code, new options).
        """
        for _ in range(_REVIVE_TRIES):
            try:
                record, found = self._jobs.read(jid)
            except (NotFound, ValidationError):
                return  # the worker makes a new record
            if record.state not in ("dead", "cancelled") and not (record.state == "done" and record.degraded):
                return
            try:
                self._jobs.revive(record, found)
                return
            except Conflict:
                continue
        raise Unavailable(f"job {jid}: its record keeps changing", "Try again.")
