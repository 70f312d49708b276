"""Where the names of a recording's speakers come from: ``<key>.speakers.json``, or else the nearest ``speakers.json``
in its folder or above. One file speaks, the others are not looked at: who is 0 there is somebody else here.

Takes a recording's key, gives names and warnings. What cannot be read or understood costs the names, never the job.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from handler.clock import Clock
from handler.errors import AccessDenied, BadKey, NotFound
from handler.layout import SPEAKERS_FILE, SPEAKERS_SUFFIX, Layout
from handler.store.base import Store
from pipeline.formats.captions.names import MAX_BYTES, Names, read_names
from pipeline.types import Warning

log = logging.getLogger(__name__)

CACHE_SECONDS = 60.0
_MAX_FOLDERS = 10_000


class SpeakerNames:
    """Folders' files, and that there is none, are remembered for a minute."""

    def __init__(self, store: Store, layout: Layout, clock: Clock) -> None:
        self._store = store
        self._layout = layout
        self._clock = clock
        self._folders: dict[str, tuple[float, Names | None]] = {}

    def find(self, key: str) -> tuple[dict[str, str], tuple[Warning, ...]]:
        """``key``: the recording's, relative to the input prefix. `Unavailable` passes through: then it is too early
        to publish.
        """
        for name in _places(key):
            found = self._read(name) if name.endswith(SPEAKERS_SUFFIX) else self._cached(name)
            if found is None:
                continue
            if not found.problem:
                return found.names, ()
            message = f"{name}: {found.problem}"
            log.warning("%s: %s", key, message)
            return found.names, (Warning(parameter="speakers.json", type="malformed_file", message=message),)
        return {}, ()

    def _cached(self, name: str) -> Names | None:
        now = self._clock.monotonic()
        kept = self._folders.get(name)
        if kept is None or now - kept[0] > CACHE_SECONDS:
            if len(self._folders) > _MAX_FOLDERS:
                self._folders.clear()
            kept = self._folders[name] = (now, self._read(name))
        return kept[1]

    def _read(self, name: str) -> Names | None:
        """None if it is not there."""
        key = self._layout.input_key(name)
        try:
            size = self._store.head(key).size
            if size > MAX_BYTES:
                return Names({}, f"it is {size:,} bytes long; names fit into {MAX_BYTES:,}.")
            return read_names(self._store.get(key).body)
        except (NotFound, BadKey):  # a name that is too long for this store
            return None
        except AccessDenied:
            return Names({}, "it may not be read. Give the worker's credentials the permission.")


def _places(key: str) -> Iterator[str]:
    """Nearest first."""
    yield key + SPEAKERS_SUFFIX
    folder = key
    while folder:
        folder = folder.rpartition("/")[0]
        yield f"{folder}/{SPEAKERS_FILE}" if folder else SPEAKERS_FILE
