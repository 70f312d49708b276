"""The two sorts of models that lie in buckets, as far as carrying them goes: Whispers, and those beside them.

Gives, for each sort, the name of its record and how one is read, and who lies in a folder. So one mirror and one push
carry both, and a listing tells the sorts apart by a name. Knows nothing of how anything is carried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from pydantic import ValidationError

from pipeline import records, weights
from pipeline.aligners import AlignerModel
from pipeline.beside import Companion, damage, described, look
from pipeline.companions import places
from pipeline.errors import ModelUnavailable
from pipeline.family import name_of_folder
from pipeline.records import own_files
from pipeline.shelf import Shelf

AnyRecord: TypeAlias = weights.Record | records.Record


@dataclass(frozen=True, slots=True)
class Wares:
    """``record``: the file that says what lies beside it. ``parse``: its bytes; the second argument is where they came
    from, for words; raises `ModelUnavailable` with no hint. ``whole``: whether a model lies in a folder, with all of
    its files. ``revision``, ``describe``: of one that does; ``damage``: what is wrong with its
    files, by its record, all of them read. ``local``: the whole ones of a name in a folder of models,
    first the one that the name means; ``names``: of all there.
    """

    record: str
    parse: Callable[[bytes, str], AnyRecord]
    whole: Callable[[Path], bool]
    revision: Callable[[Path], str]
    describe: Callable[[Path], AnyRecord]
    damage: Callable[[Path], str]
    local: Callable[[Path, str], tuple[Path, ...]]
    names: Callable[[Path], tuple[str, ...]]


# ── Whispers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _whisper(body: bytes, url: str) -> AnyRecord:
    try:
        record = weights.Record.model_validate_json(body)
    except ValidationError as error:
        raise ModelUnavailable(f"{url}/{weights.RECORD} cannot be read") from error
    if not record.sha256:
        raise ModelUnavailable(f"{url}/{weights.RECORD} has no checksums")
    if absent := weights.lacking(record.files):
        raise ModelUnavailable(f"{url} has no {' and no '.join(absent)}")
    return record


def _whispers(folder: Path, name: str) -> tuple[Path, ...]:
    found = Shelf(str(folder), folder).folders(name_of_folder(name))
    return tuple(one for one in found if not weights.missing(one))


WHISPERS = Wares(
    record=weights.RECORD,
    parse=_whisper,
    whole=lambda folder: not weights.missing(folder),
    revision=lambda folder: weights.identity(folder)[0],
    describe=weights.described,
    damage=weights.damage,
    local=_whispers,
    names=lambda folder: Shelf(str(folder), folder).local(),
)


# ── those beside them ────────────────────────────────────────────────────────────────────────────────────────────────


def _beside(body: bytes, url: str) -> AnyRecord:
    try:
        record = records.Record.model_validate_json(body)
        _ = record.revision
    except ValueError as error:
        raise ModelUnavailable(f"{url}/{records.RECORD} cannot be used: {_first(error)}") from error
    assert record.kind is not None  # or it had no revision
    if set(record.files) != set(own_files(record.kind, record.file)):
        raise ModelUnavailable(f"{url}/{records.RECORD} names files that are no part of the model")
    return record


def _first(error: ValueError) -> str:
    return error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)


def _look(folder: Path) -> Companion | AlignerModel | None:
    found = look(folder)
    return found if isinstance(found, (Companion, AlignerModel)) else None


def _described(folder: Path) -> AnyRecord:
    found = _look(folder)
    if found is None:
        raise ModelUnavailable(f"there is no whole model in {folder}")
    return described(found)


def _damage(folder: Path) -> str:
    found = look(folder)
    return (
        damage(found) if isinstance(found, (Companion, AlignerModel)) else getattr(found, "message", "it is no model")
    )


def _revision(folder: Path) -> str:
    found = _look(folder)
    return "" if found is None else found.info.revision


def _those_beside(folder: Path, name: str) -> tuple[Path, ...]:
    there = (folder / name, *sorted(folder.glob(f"{name}@*")))
    return tuple(one for one in there if one.is_dir() and _look(one.resolve()) is not None)


COMPANIONS = Wares(
    record=records.RECORD,
    parse=_beside,
    whole=lambda folder: _look(folder) is not None,
    revision=_revision,
    describe=_described,
    damage=_damage,
    local=_those_beside,
    names=lambda folder: tuple(
        place.name
        for place in places(folder)
        if place.current and place.path.is_dir() and _look(place.path) is not None
    ),
)
