"""A model of this machine into a bucket or a folder, for workers that cannot reach the hub.

Takes a model's folder; writes its files under a name of their own revision, and last the record that says which
revision is meant. So a half-pushed model is never seen, and the one before stays whole under its readers. Knows nothing
of where the model came from.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from handler.clock import Clock
from handler.errors import CannotWrite, NotFound
from handler.models.places import PARTIAL, held, holds, mean, place_of, put_in_place
from handler.store.base import KeepsMetadata, Store
from handler.store.files import CHUNK, receive
from pipeline.errors import ModelUnavailable, OutOfSpace
from pipeline.weights import RECORD, Record, damage, described, write_record

_AT = 16  # digits of a revision that name its files' folder in a bucket


@dataclasses.dataclass(frozen=True, slots=True)
class Pushed:
    """``already``: that revision was there, and nothing was written."""

    name: str
    revision: str
    where: str
    bytes: int
    already: bool


def to_push(folder: Path) -> Record:
    """The record of a model that may go out; reads all of it. `ModelUnavailable` if other files are recorded."""
    if wrong := damage(folder):
        raise ModelUnavailable(f"the model in {folder} is damaged: {wrong}", "Fetch it again, then push it.")
    return described(folder)


def push(
    store: Store, name: str, folder: Path, record: Record, sent: Callable[[int], None] = lambda count: None
) -> Pushed:
    """Into a bucket, as ``<name>/…``. Idempotent. Errors of the store, of the disk OSError."""
    record = record.model_copy(update={"at": record.revision[:_AT]})
    total = sum(record.files.values())
    where = f"{store.url}/{name}"
    if _present(store, name) == record and all(
        _size(store, f"{name}/{record.at}/{file}") == size for file, size in record.files.items()
    ):
        return Pushed(name, record.revision, where, total, already=True)
    for file in sorted(record.files):
        key = f"{name}/{record.at}/{file}"
        if isinstance(store, KeepsMetadata):
            store.upload_described(key, folder / file, {}, sent)
        else:
            store.upload(key, folder / file)
            sent(record.files[file])
    store.put(f"{name}/{RECORD}", record.dump())
    return Pushed(name, record.revision, where, total, already=False)


def push_into_folder(
    target: Path,
    name: str,
    folder: Path,
    record: Record,
    clock: Clock,
    sent: Callable[[int], None] = lambda count: None,
) -> Pushed:
    """Into a folder of models, as DROPSCRIBE_MODELS may name it. Idempotent. `OutOfSpace`, `CannotWrite`."""
    record = record.model_copy(update={"at": ""})
    place = place_of(target, name, record.revision)
    total = sum(record.files.values())
    try:
        with held(target, name, clock, lambda: None):
            already = holds(place, record) or _is_same(target / name, record)
            if not already:
                partial = place.with_name(f"{place.name}{PARTIAL}")
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
                for file in sorted(record.files):
                    _copy(folder / file, partial / file, record.sha256[file], sent)
                write_record(partial, record)
                put_in_place(partial, place)
            if place.is_dir():
                mean(target, name, place)
    except OSError as error:
        if OutOfSpace.explains(error):
            raise OutOfSpace(f"no space left in {target} for the model {name}", "Free space there.") from error
        raise CannotWrite(f"{name} cannot be written to {target}: {error.strerror or error}") from error
    return Pushed(name, record.revision, os.fspath(target / name), total, already=already)


def _is_same(folder: Path, record: Record) -> bool:
    """Whether the folder already has that very model."""
    return folder.is_dir() and not damage(folder) and described(folder).sha256 == record.sha256


def _copy(source: Path, target: Path, sha256: str, sent: Callable[[int], None]) -> None:
    with source.open("rb") as file:
        if receive(target, iter(lambda: file.read(CHUNK), b"")) != sha256:
            raise ModelUnavailable(f"{source} changed while it was copied", "Push it again.")
    sent(target.stat().st_size)


def _present(store: Store, name: str) -> Record | None:
    try:
        return Record.model_validate_json(store.get(f"{name}/{RECORD}").body)
    except (NotFound, ValidationError):
        return None


def _size(store: Store, key: str) -> int | None:
    try:
        return store.head(key).size
    except NotFound:
        return None
