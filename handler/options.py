"""Where an input's options come from: the nearest ``options.json``, the sidecar, the object's own metadata;
then a batch's line. Design §3.

Takes an input's `Info`, gives the parsed options. What the options mean is `pipeline.options`' business.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from typing import Any

from handler.clock import Clock
from handler.errors import NotFound
from handler.layout import OPTIONS_FILE, SIDECAR_SUFFIX, Layout
from handler.store.base import Info, Store
from pipeline.errors import OptionsError
from pipeline.options import Parsed, parse, parse_query

METADATA_NAME = "dropscribe"  # x-amz-meta-dropscribe
CACHE_SECONDS = 60.0
_MAX_BYTES = 64 * 1024

Layer = tuple[str, Mapping[str, Any]]


class OptionsFinder:
    """Looks options up; folders' ``options.json`` are remembered for a minute."""

    def __init__(self, store: Store, layout: Layout, clock: Clock) -> None:
        self._store = store
        self._layout = layout
        self._clock = clock
        self._folders: dict[str, tuple[float, bytes | None]] = {}

    def find(self, info: Info, *, present: Set[str] | None = None, last: Layer | None = None) -> Parsed:
        """The options of one input, later layers winning. `OptionsError` names the option and where it stands.

        ``present``: the keys of all options files, where a listing has just shown them; then no request is made for
        others. ``last``: a layer that wins over all of them (a batch's line).
        """
        key = info.key.removeprefix(self._layout.input)
        layers: list[Layer] = []
        folder = self._nearest(key, present)
        if folder is not None:
            layers.append(folder)
        sidecar = self._layout.input_key(key + SIDECAR_SUFFIX)
        if present is None or sidecar in present:
            body = self._read(sidecar, key + SIDECAR_SUFFIX)
            if body is not None:
                layers.append((key + SIDECAR_SUFFIX, _object(key + SIDECAR_SUFFIX, body)))
        query = info.metadata.get(METADATA_NAME)
        if query:
            layers.append((f"the metadata x-amz-meta-{METADATA_NAME}", parse_query(query)))
        if last is not None:
            layers.append(last)
        return parse(*layers)

    def _nearest(self, key: str, present: Set[str] | None) -> Layer | None:
        folder = key
        while folder:
            folder = folder.rpartition("/")[0]
            name = f"{folder}/{OPTIONS_FILE}" if folder else OPTIONS_FILE
            path = self._layout.input_key(name)
            if present is not None and path not in present:
                continue
            body = self._cached(path, name, listed=present is not None)
            if body is not None:
                return name, _object(name, body)
        return None

    def _cached(self, path: str, name: str, *, listed: bool) -> bytes | None:
        """``listed``: a listing has just shown that it is there; then it is not taken for absent on an old word."""
        now = self._clock.monotonic()
        kept = self._folders.get(path)
        if kept is None or now - kept[0] > CACHE_SECONDS or (listed and kept[1] is None):
            if len(self._folders) > 10_000:
                self._folders.clear()
            kept = self._folders[path] = (now, self._read(path, name))
        return kept[1]

    def _read(self, path: str, name: str) -> bytes | None:
        """None if it is not there. `OptionsError` of one that is too large, which is then neither read nor kept."""
        try:
            _check_size(name, self._store.head(path).size)
            body = self._store.get(path).body
        except NotFound:
            return None
        _check_size(name, len(body))  # replaced in between
        return body


def _check_size(name: str, size: int) -> None:
    if size > _MAX_BYTES:
        raise OptionsError(
            f"{name} is {size:,} bytes long; options fit into {_MAX_BYTES:,}",
            'Write an object, for example {"language": "en"}.',
        )


def _object(name: str, body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise OptionsError(
            f"{name} is not JSON: {error}", 'Write an object, for example {"language": "en"}.'
        ) from error
    if not isinstance(value, dict):
        raise OptionsError(f"{name} is not a JSON object", 'Write an object, for example {"language": "en"}.')
    return value
