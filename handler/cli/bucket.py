"""From what a person typed for BUCKET to a store with its settings and layout; and from the names they use to keys.

Imports no boto3 unless the bucket is on S3. Knows nothing of what a command does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from handler.cli.runtime import Runtime
from handler.errors import NotFound, Usage
from handler.layout import Layout, batch_of
from handler.settings import Settings, load_settings
from handler.store.base import Store


@dataclass(frozen=True, slots=True)
class Bucket:
    store: Store
    settings: Settings
    layout: Layout

    @property
    def local(self) -> bool:
        return folder_of(self.store) is not None

    def where(self, key: str) -> str:
        """What a person would type to get at an object: a path, or a URL."""
        folder = folder_of(self.store)
        return str(folder / key) if folder is not None else f"{self.store.url.rstrip('/')}/{key}"


def open_bucket(url: str, runtime: Runtime, *, make: bool = False, **overrides: Any) -> Bucket:
    """The store and the settings, ``overrides`` being options of the command line.

    ``make``: a folder that is not there is going to be made. `Usage` for what is no store, `SettingsError`.
    """
    settings = load_settings(**overrides)
    store = runtime.store(url, runtime.clock, settings)
    folder = folder_of(store)
    if folder is not None and not make and not folder.is_dir():
        raise Usage(f"there is no folder {folder}", "Check the path; `dropscribe work` and `submit` make a new one.")
    return Bucket(store, settings, Layout.of(store.url, settings))


def folder_of(store: Store) -> Path | None:
    """The folder that a store is, None for any other."""
    parts = urlsplit(store.url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def recording_key(bucket: Bucket, name: str) -> str:
    """The key relative to the input prefix, from what a person typed: with that prefix or without. `NotFound`."""
    for key in (name, name.removeprefix(bucket.layout.input)):
        try:
            bucket.store.head(bucket.layout.input_key(key))
            return key
        except NotFound:
            continue
    batch = batch_of(name)
    if batch is not None:
        raise NotFound(f"{name} is no recording but what a batch makes of one", f"Name the batch, {batch}.")
    raise NotFound(f"there is no recording {name} in {bucket.store.url}", "`dropscribe status BUCKET` lists them.")


def given_options(pairs: tuple[str, ...]) -> dict[str, str | list[str]]:
    """``--option name=value``, as a mapping for `pipeline.options.parse`; a repeated name becomes a list. `Usage`."""
    found: dict[str, list[str]] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise Usage(f"--option {pair} is not NAME=VALUE", "For example --option language=en.")
        found.setdefault(name.strip(), []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}
