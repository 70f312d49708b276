"""A result's other forms (`outputs`: captions, plain text, who spoke when), made by the engine's process.

Takes an input and the bytes of its results part, which are handed on and never parsed here; gives the files' bytes.
Forms that cannot be made are a warning: the transcript matters more. Knows nothing of how they are published.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from handler.child import Engine
from handler.clock import Clock
from handler.errors import EngineDied
from handler.settings import Settings
from handler.speakers import SpeakerNames
from handler.types import Subscriber
from pipeline.errors import ErrorDetail
from pipeline.export import export_name
from pipeline.types import ExportRequest, Warning

log = logging.getLogger(__name__)

_TRIES = 2  # a process that was killed for somebody else's memory does better the second time
_RESULTS = "results.json"


@dataclass(frozen=True, slots=True)
class Exports:
    """``files``: (kind, bytes), in the order of the options. ``warnings``: for the result's metadata."""

    files: tuple[tuple[str, bytes], ...] = ()
    warnings: tuple[Warning, ...] = ()


class Exporter:
    """``scratch``: a folder of the worker's own, which need not be there yet."""

    def __init__(self, engine: Engine, names: SpeakerNames, clock: Clock, settings: Settings, scratch: Path) -> None:
        self._engine = engine
        self._names = names
        self._clock = clock
        self._settings = settings
        self._scratch = scratch

    def make(self, subscriber: Subscriber, results: bytes) -> Exports:
        """Nothing, without any request, for an input that asks for none. OSError of the work directory, and
        `Unavailable`, pass through: the input is looked at again.
        """
        if not subscriber.outputs:
            return Exports()
        key = subscriber.key if subscriber.member is None else subscriber.member.source_key
        names, warnings = self._names.find(key)
        work = self._scratch / f"export-{self._clock.new_id()}"
        work.mkdir(mode=0o700, parents=True)
        try:
            (work / _RESULTS).write_bytes(results)
            request = ExportRequest(
                work=str(work), results=_RESULTS, kinds=subscriber.outputs, names=names, file=key.rpartition("/")[2]
            )
            error = self._ask(request)
            if error is not None:
                log.error("%s: no %s: %s", subscriber.key, ", ".join(subscriber.outputs), error.message)
                return Exports(warnings=(*warnings, _failed(subscriber.outputs, error)))
            files = tuple((kind, (work / export_name(kind)).read_bytes()) for kind in subscriber.outputs)
            return Exports(files, warnings)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _ask(self, request: ExportRequest) -> ErrorDetail | None:
        """None when the files lie there."""
        error: ErrorDetail | None = None
        for _ in range(_TRIES):
            try:
                error = self._engine.export(request, seconds=self._settings.time_limit_seconds)
            except EngineDied as died:
                error = died.to_detail()
            if error is None or not error.retryable:
                break
        return error


def _failed(kinds: tuple[str, ...], error: ErrorDetail) -> Warning:
    message = f"{', '.join(kinds)} could not be made: {error.message}. `dropscribe retry` tries again."
    return Warning(parameter="outputs", type="not_made", message=message)
