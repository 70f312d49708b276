"""The models beside the recogniser that jobs on this machine get: what takes voices out of music, gives words their
times, and tells speakers apart.

Takes the folders where Whispers lie, too, what the operator chose, and what a bucket has; gives frozen facts for a
job's plan and its request. Reads folders, never the network. Knows nothing of how a model runs: no torch or numpy here,
because the handler imports it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pydantic import field_validator

from pipeline import aligners
from pipeline.aligners import AlignerModel
from pipeline.beside import NEMO, ROLES, Companion, Found, Problem, Role, kind_of, look, name_of
from pipeline.errors import ModelUnavailable
from pipeline.family import HUB, fetch_command, short
from pipeline.known import UNKNOWN, Kind, known_name, order
from pipeline.punctuators import Punctuator, punctuator_in
from pipeline.records import RECORD, Record, version_of
from pipeline.shelf import is_bucket, source_folder
from pipeline.types import Frozen, ModelInfo
from pipeline.weights import is_model

__all__ = [
    "AUTO", "NONE", "Choice", "Companion", "Companions", "Elsewhere", "Problem", "checked", "companions_in",
    "everything", "folders_of", "places",
]  # fmt: skip

AUTO, NONE = "auto", "none"

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,120}")
_WORDS = {"separator": "separator of voices", "aligner": "aligner of words", "diarizer": "diarizer"}
_SUGGESTED = {"separator": "htdemucs", "aligner": "aligner-en", "diarizer": "sortformer"}


class Choice(Frozen):
    """What the operator chose for each part: ``auto`` is the best that is here, ``none`` switches it off; or names,
    with commas between them. ``diarizer``: a Sortformer, a model of voices, or one of each.
    """

    separator: str = AUTO
    aligner: str = AUTO
    diarizer: str = AUTO

    @field_validator("*")
    @classmethod
    def _known(cls, value: str) -> str:
        return checked(value)

    def names(self, role: Role) -> tuple[str, ...] | None:
        """Those that were chosen; None for ``auto``."""
        value: str = getattr(self, role)
        if value in (AUTO, NONE):
            return None if value == AUTO else ()
        return tuple(value.split(","))


class Companions(Frozen):
    """What the stages beside the recogniser have to work with. ``few``: a Sortformer, for up to four speakers;
    ``many``: a model of voices, for any number. ``off``: what the operator switched off. ``problems``: what was passed
    over.
    """

    separator: Companion | None = None
    aligners: tuple[AlignerModel, ...] = ()
    few: Companion | None = None
    many: Companion | None = None
    punctuator: Punctuator | None = None
    off: tuple[Role, ...] = ()
    problems: tuple[Problem, ...] = ()

    def all(self) -> tuple[Companion | AlignerModel, ...]:
        return tuple(one for one in (self.separator, *self.aligners, self.few, self.many) if one is not None)

    def on_record(self) -> dict[str, Any]:
        """What a job's record keeps of it: what its recipes are made of, not where that lies on this machine."""
        aligners_broken = self.broken("aligner")  # jobs are to be aligned where there is but a broken one
        if not self.all() and self.punctuator is None and not aligners_broken:
            return {}
        bare = self.model_copy(
            update={
                "problems": tuple(
                    one.model_copy(update={"folder": "", "message": "", "hint": ""}) for one in aligners_broken
                ),
                "aligners": tuple(one.model_copy(update={"folder": Path()}) for one in self.aligners),
                **{
                    part: one.model_copy(update={"folder": ""})
                    for part in ("separator", "few", "many", "punctuator")
                    if (one := getattr(self, part)) is not None
                },
            }
        )
        return bare.model_dump(mode="json", exclude_defaults=True)

    def broken(self, role: Role) -> tuple[Problem, ...]:
        """What would be there for the part, if it were whole. A file that does not say what it is could be a diarizer:
        the others have something beside them that says it.
        """
        wanted = (role, None) if role == "diarizer" else (role,)
        return tuple(one for one in self.problems if one.role in wanted)

    def why_not(self, role: Role) -> tuple[str, str]:
        """Why there is nothing for a part, and what a person can do about it."""
        what, setting = _WORDS[role], f"DROPSCRIBE_{role.upper()}"
        if role in self.off:
            return f"the {what} is switched off by {setting}", f"Set {setting} to auto or to a model's name."
        if broken := self.broken(role):
            return broken[0].message, broken[0].hint
        return f"there is no {what} on this machine", f"Run `{fetch_command(_SUGGESTED[role])}`."


class Elsewhere(Protocol):
    """Models that lie in a bucket. What it raises passes through."""

    def names(self) -> Sequence[str]:
        """All that are there."""

    def record(self, name: str) -> Record:
        """What it says of one, checksums included. `ModelUnavailable` for what cannot be used."""

    def spoilt(self, name: str) -> Problem | None:
        """What was wrong with it when it was brought, a short while ago."""

    def place(self, name: str, record: Record) -> Path:
        """The folder on this machine where that model lies, or will once it is brought."""


def checked(value: str) -> str:
    """A setting as it is kept. ValueError."""
    parts = [part.strip() for part in value.split(",")]
    words = {part.lower() for part in parts} & {AUTO, NONE}
    if (words and len(parts) > 1) or not all(_NAME.fullmatch(part) for part in parts):
        raise ValueError("auto, none, or names of models with commas between them")
    return words.pop() if words else ",".join(known_name(part) or part for part in parts)


def companions_in(
    models: str | None, home: Path, choice: Choice | None = None, elsewhere: Elsewhere | None = None
) -> Companions:
    """What there is on this machine and ``elsewhere``, and was chosen. ``models`` and ``home`` as in `catalog.resolve`.

    What lies elsewhere may not have been brought yet: its revision is known, its folder is not there. Nothing is said
    of a folder that cannot be listed; Whispers are looked for there, too. `ModelUnavailable`: a name that was chosen
    is not there, or is of no use. Problems are those of parts where nothing was chosen by name.
    """
    choice = choice or Choice()
    found = list(everything(models, home, elsewhere))
    able = [one for one in found if not isinstance(one, Problem)]
    problems = tuple(one for one in found if isinstance(one, Problem))
    automatic = {role for role in ROLES.values() if choice.names(role) is None}
    for role in ("separator", "aligner", "diarizer"):
        _demand(role, choice, able, problems)
    return Companions(
        separator=_best("separator", able, choice),
        aligners=tuple(one for one in able if isinstance(one, AlignerModel) and _chosen(one, choice, "aligner")),
        few=_best("sortformer", able, choice),
        many=_best("voices", able, choice),
        punctuator=punctuator_in(folders_of(models, home)),
        off=tuple(role for role in ("separator", "aligner", "diarizer") if getattr(choice, role) == NONE),
        problems=tuple(one for one in problems if (one.role or "diarizer") in automatic),
    )


def everything(models: str | None, home: Path, elsewhere: Elsewhere | None = None) -> Iterator[Found]:
    """All of them, each name once: what is elsewhere goes before what is here, what is whole before what is not."""
    found: dict[str, Found] = {}
    for one in (*_elsewhere(elsewhere), *_here(folders_of(models, home))):
        name = name_of(one)
        before = found.get(name)
        if before is None or (isinstance(before, Problem) and not isinstance(one, Problem)):
            found[name] = one
    yield from (found[name] for name in sorted(found))


def folders_of(models: str | None, home: Path) -> tuple[Path, ...]:
    """The folders that models lie in, first the one whose models hide those of the other."""
    source = None if models == HUB else source_folder(models, home)
    if source is None or (not is_bucket(models) and is_model(source)):  # the one model, not a folder of some
        return (home,)
    return (source, home)


class Place(NamedTuple):
    """Where a model may lie: a folder, or a bare ``.nemo``. ``current``: it is what the name means, not another
    revision.
    """

    path: Path
    name: str
    current: bool


def places(shelf: Path) -> Iterator[Place]:
    """What may be models in a folder of models, in order: folders, and ``.nemo`` files as people download them, also
    several in one folder. Nothing, where the folder cannot be listed.
    """
    try:
        there = sorted(shelf.iterdir(), key=lambda entry: ("@" in entry.name, entry.name))
    except OSError:
        return
    for entry in there:
        if entry.name.startswith(".") or entry.name.endswith(".partial"):
            continue
        if entry.suffix == NEMO and entry.is_file():
            yield Place(entry, entry.stem, current=True)
        elif entry.is_dir():
            folder = entry.resolve()  # a link names what is meant at present; who uses it keeps it
            files = sorted(folder.glob(f"*{NEMO}"))
            if len(files) > 1 and not any((folder / record).exists() for record in (RECORD, aligners.RECORD)):
                yield from (Place(file, file.stem, current=True) for file in files)
            else:
                yield Place(folder, entry.name.partition("@")[0], current="@" not in entry.name)


def promised(name: str, record: Record, place: Path) -> Companion | AlignerModel:
    """A model that is not here yet, by its record. `ModelUnavailable` where that says too little."""
    try:
        revision = record.revision
        arch = {"separator": "htdemucs", "aligner": "ctc"}.get(str(record.kind), str(record.kind))
        info = ModelInfo(name=name, version=version_of(revision, record.commit), arch=arch, revision=revision)
        if record.kind == "aligner":
            licence = record.licence or UNKNOWN
            spoken = aligners.Record(backend="nemo", file=record.file, languages=record.languages, licence=licence)
            return AlignerModel(folder=place, record=spoken, info=info)
    except ValueError as error:
        raise ModelUnavailable(f"the record of {name} cannot be used: {error}", "Push the model again.") from error
    assert record.kind is not None  # or there is no revision
    return Companion(
        kind=record.kind, name=name, folder=str(place), file=record.file, licence=record.licence or UNKNOWN, info=info
    )


# ── what is chosen ───────────────────────────────────────────────────────────────────────────────────────────────────


def _best(kind: Kind, found: Iterable[Companion | AlignerModel], choice: Choice) -> Companion | None:
    able = [one for one in found if isinstance(one, Companion) and one.kind == kind]
    able = [one for one in able if _chosen(one, choice, ROLES[kind])]
    return min(able, key=lambda one: order(kind, one.name, one.licence), default=None)


def _chosen(one: Companion | AlignerModel, choice: Choice, role: Role) -> bool:
    names = choice.names(role)
    return names is None or one.info.name in names


def _demand(role: Role, choice: Choice, able: Sequence[Companion | AlignerModel], problems: Sequence[Problem]) -> None:
    """A name that somebody chose is there, or jobs wait until it is: they must not become poorer in silence."""
    there = {one.info.name for one in able if ROLES[kind_of(one)] == role}
    for name in choice.names(role) or ():
        if name in there:
            continue
        setting = f"DROPSCRIBE_{role.upper()}"
        for problem in problems:
            if problem.name == name:
                raise ModelUnavailable(f"{setting} names {name}: {problem.message}", problem.hint)
        other = next((one for one in able if one.info.name == name), None)
        if other is not None:
            raise ModelUnavailable(f"{setting} names {name}, which is a model for another part", "Correct the setting.")
        hint = f"Run `{fetch_command(name)}`" if known_name(name) else "Put it into the folder of models"
        at_hand = f" There are {', '.join(sorted(there))}." if there else ""
        raise ModelUnavailable(
            f"{setting} names {short(name)}, which is not on this machine", f"{hint}, or correct the setting.{at_hand}"
        )


# ── what there is ────────────────────────────────────────────────────────────────────────────────────────────────────


def _here(shelves: Iterable[Path]) -> Iterator[Found]:
    for shelf in shelves:
        for place in places(shelf):
            if place.current and (one := look(place.path, place.name)) is not None:
                yield one


def _elsewhere(source: Elsewhere | None) -> Iterator[Found]:
    for name in source.names() if source is not None else ():
        assert source is not None
        if (spoilt := source.spoilt(name)) is not None:
            yield spoilt
            continue
        try:
            record = source.record(name)
            place = source.place(name, record)
            one = look(place, name) if place.is_dir() else None
            yield one if one is not None and not isinstance(one, Problem) else promised(name, record, place)
        except ModelUnavailable as error:
            yield Problem(role=None, name=name, folder="", message=error.message, hint=error.hint)
