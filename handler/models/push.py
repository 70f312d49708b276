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

from handler.clock import Clock
from handler.errors import CannotWrite, NotFound, Usage
from handler.models.places import NAME, PARTIAL, held, holds, mean, place_of, put_in_place
from handler.models.wares import COMPANIONS, WHISPERS, AnyRecord, Wares
from handler.store.base import KeepsMetadata, Store
from handler.store.files import CHUNK, receive
from pipeline.aligners import AlignerModel
from pipeline.beside import Companion, Found, Problem, look, name_of
from pipeline.beside import damage as damage_of
from pipeline.beside import described as described_beside
from pipeline.catalog import canonical_name, resolve
from pipeline.companions import everything
from pipeline.errors import ModelUnavailable, OutOfSpace
from pipeline.family import short
from pipeline.known import known_name
from pipeline.weights import Record, damage, described

_AT = 16  # digits of a revision that name its files' folder in a bucket


@dataclasses.dataclass(frozen=True, slots=True)
class Pushed:
    """``already``: that revision was there, and nothing was written."""

    name: str
    revision: str
    where: str
    bytes: int
    already: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Parcel:
    """A model of this machine that may go out. ``name``: what it is called elsewhere; ``folder``: where the files of
    ``record`` lie.
    """

    name: str
    version: str
    folder: Path
    record: AnyRecord
    wares: Wares


def parcel(name: str, models: str | None, home: Path) -> Parcel:
    """The model that ``name`` means on this machine, of whichever sort: a name, or the path of its folder. Reads all of
    it. `ModelUnavailable` if it is not here or damaged, `OptionsError`, `Usage`.
    """
    found = beside_called(name, models, home)
    if found is not None:
        if wrong := damage_of(found):
            raise ModelUnavailable(f"the model in {found.folder} is damaged: {wrong}", "Fetch it again, then push it.")
        kept, folder, version = found.info.name.lower(), Path(found.folder), found.info.version
        return Parcel(_checked(kept), version, folder, described_beside(found), COMPANIONS)
    model = resolve(name, models, home, trusted=True)
    if model.folder is None:
        raise Usage(f"{model.name} comes with its package: every worker has it", "Push a Whisper model.")
    kept, folder = _checked(canonical_name(model.name)), Path(model.folder)
    return Parcel(kept, model.version, folder, to_push(folder), WHISPERS)


def beside_called(name: str, models: str | None, home: Path) -> Companion | AlignerModel | None:
    """The model beside the recogniser that ``name`` means, or that lies at that path. None if there is none of that
    name; `ModelUnavailable` if it is of no use.
    """
    bare, pin = name.strip(), None
    found: Found | None = None
    if bare.startswith(("/", "./", "../")):
        path = Path(bare).resolve()
        found = look(path) if path.exists() else None
    else:
        bare, _, pin = bare.partition("@")
        wanted = known_name(bare) or bare
        found = next((one for one in everything(models, home) if name_of(one).lower() == wanted.lower()), None)
    if isinstance(found, Problem):
        raise ModelUnavailable(found.message, found.hint)
    if found is not None and pin and not (found.info.revision.startswith(pin) or found.info.version.startswith(pin)):
        raise ModelUnavailable(
            f"{found.info.name} is here at the revision {found.info.version}, not {pin}",
            "Ask for the one that is here.",
        )
    return found


def _checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise Usage(f"{short(name)} cannot be a model's name in a bucket", "Rename its folder: letters, digits, - _ .")
    return name


def to_push(folder: Path) -> Record:
    """The record of a Whisper that may go out; reads all of it. `ModelUnavailable` if other files are recorded."""
    if wrong := damage(folder):
        raise ModelUnavailable(f"the model in {folder} is damaged: {wrong}", "Fetch it again, then push it.")
    return described(folder)


def push(
    store: Store,
    name: str,
    folder: Path,
    record: AnyRecord,
    sent: Callable[[int], None] = lambda count: None,
    wares: Wares = WHISPERS,
) -> Pushed:
    """Into a bucket, as ``<name>/…``. Idempotent. Errors of the store, of the disk OSError."""
    record = record.model_copy(update={"at": record.revision[:_AT]})
    total = sum(record.files.values())
    where = f"{store.url}/{name}"
    if _present(store, name, wares) == record and all(
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
    store.put(f"{name}/{wares.record}", record.dump())
    return Pushed(name, record.revision, where, total, already=False)


def push_into_folder(
    target: Path,
    name: str,
    folder: Path,
    record: AnyRecord,
    clock: Clock,
    sent: Callable[[int], None] = lambda count: None,
    wares: Wares = WHISPERS,
) -> Pushed:
    """Into a folder of models, as DROPSCRIBE_MODELS may name it. Idempotent. `OutOfSpace`, `CannotWrite`."""
    record = record.model_copy(update={"at": ""})
    place = place_of(target, name, record.revision)
    total = sum(record.files.values())
    try:
        with held(target, name, clock, lambda: None):
            already = holds(place, record, wares) or _is_same(target / name, record, wares)
            if not already:
                partial = place.with_name(f"{place.name}{PARTIAL}")
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
                for file in sorted(record.files):
                    _copy(folder / file, partial / file, record.sha256[file], sent)
                (partial / wares.record).write_bytes(record.dump())
                put_in_place(partial, place)
            if place.is_dir():
                mean(target, name, place, wares)
    except OSError as error:
        if OutOfSpace.explains(error):
            raise OutOfSpace(f"no space left in {target} for the model {name}", "Free space there.") from error
        raise CannotWrite(f"{name} cannot be written to {target}: {error.strerror or error}") from error
    return Pushed(name, record.revision, os.fspath(target / name), total, already=already)


def _is_same(folder: Path, record: AnyRecord, wares: Wares) -> bool:
    """Whether the folder already has that very model."""
    whole = folder.is_dir() and wares.whole(folder) and not wares.damage(folder)
    return whole and wares.describe(folder).sha256 == record.sha256


def _copy(source: Path, target: Path, sha256: str, sent: Callable[[int], None]) -> None:
    with source.open("rb") as file:
        if receive(target, iter(lambda: file.read(CHUNK), b"")) != sha256:
            raise ModelUnavailable(f"{source} changed while it was copied", "Push it again.")
    sent(target.stat().st_size)


def _present(store: Store, name: str, wares: Wares) -> AnyRecord | None:
    try:
        return wares.parse(store.get(f"{name}/{wares.record}").body, "")
    except (NotFound, ModelUnavailable):
        return None


def _size(store: Store, key: str) -> int | None:
    try:
        return store.head(key).size
    except NotFound:
        return None
