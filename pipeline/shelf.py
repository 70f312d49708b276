"""Which models are here: folders on this machine by name, and those of a bucket that somebody else can bring.

Takes the setting DROPSCRIBE_MODELS and the folder of fetched models; reads folders, never the network: what is in a
bucket is a `Remote`'s business, which the handler passes in. Knows nothing of which model a job wants.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

from pipeline.errors import ModelUnavailable
from pipeline.family import FAMILY, HUB, canonical_name, fetch_command, name_of_folder, order, pinned
from pipeline.weights import identity, is_model, missing

MIRRORS = "mirrors"  # in the folder of fetched models: what came out of buckets


class Remote(Protocol):
    """Models that lie elsewhere."""

    def has(self, name: str) -> bool:
        """Whether there is a model with this canonical name."""

    def names(self) -> Sequence[str]:
        """The canonical names of all."""

    def bring(self, name: str, pin: str | None) -> Path:
        """The folder on this machine with that model, complete; brought here first if it has to be.
        `ModelUnavailable`, `OutOfSpace`.
        """


class Shelf:
    """Models by canonical name, best first. Those of ``models`` hide those of ``home``.

    A name may have several folders, ``name`` and ``name@revision``; the first one is what the bare name means.
    """

    def __init__(self, models: str | None, home: Path, remote: Remote | None = None) -> None:
        self._models = models
        self._remote = remote
        self._local: dict[str, list[Path]] = {}
        source = source_folder(models, home)
        if source is not None and (remote is None or source.is_dir()):
            self._add(_own(source, mirror=is_bucket(models)))
        self._add(_models_in(home))

    def __contains__(self, name: str) -> bool:
        return name in self._local or (self._remote is not None and self._remote.has(name))

    def __iter__(self) -> Iterator[str]:
        """Where models come from a bucket, what is there goes before what is here."""
        elsewhere = sorted(self._remote.names(), key=order) if self._remote is not None else []
        yield from elsewhere
        yield from (name for name in self.local() if name not in elsewhere)

    def __bool__(self) -> bool:
        return next(iter(self), None) is not None

    def local(self) -> tuple[str, ...]:
        """The names of those that are on this machine."""
        return tuple(sorted(self._local, key=order))

    def folders(self, name: str) -> tuple[Path, ...]:
        """Those on this machine with that name."""
        return tuple(self._local.get(name, ()))

    def folder(self, name: str, pin: str | None = None) -> Path:
        """The complete folder of a model that is in here, at the revision that begins with ``pin``.
        `ModelUnavailable`.
        """
        there = self._local.get(name, [])
        if pin is not None:
            for folder in there:
                if not missing(folder) and identity(folder)[0].startswith(pin):
                    return folder.resolve()
        if self._remote is not None and self._remote.has(name):
            return self._remote.bring(name, pin)
        if pin is not None:
            raise _another_revision(name, pin, there)
        # A link names the revision that is meant at present; who uses it now must not find another one there later.
        return complete(there[0], name).resolve()

    def _add(self, found: Iterator[tuple[str, Path]]) -> None:
        new: dict[str, list[Path]] = {}
        for name, folder in found:
            new.setdefault(name, []).append(folder)
        for name, folders in new.items():
            folders.sort(key=lambda folder: ("@" in folder.name, folder.name))
            self._local.setdefault(name, []).extend(folders)


def is_bucket(models: str | None) -> bool:
    return models is not None and models.strip().lower().startswith("s3://")


def source_folder(models: str | None, home: Path) -> Path | None:
    """The folder on this machine that ``models`` means: of a bucket, where its models are kept; None for the hub."""
    if not models or models == HUB:
        return None
    if not is_bucket(models):
        return Path(unquote(models.removeprefix("file://")) if models.startswith("file:///") else models)
    url = models.strip().rstrip("/")
    words = re.sub(r"[^A-Za-z0-9.-]+", "-", url.partition("://")[2]).strip("-.")[:60]
    return home / MIRRORS / f"{words}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"


def complete(folder: Path, name: str) -> Path:
    """The folder, which has all files that the recogniser needs. `ModelUnavailable` that names those it lacks."""
    if not folder.is_dir():
        raise ModelUnavailable(
            f"there is no model folder {name}", "Give the path of a Whisper model in CTranslate2's format."
        )
    if absent := missing(folder):
        raise ModelUnavailable(
            f"the model {name} is incomplete: its folder {folder} has no {' and no '.join(absent)}", _refetch(name)
        )
    return folder


def _own(source: Path, *, mirror: bool) -> Iterator[tuple[str, Path]]:
    if not source.is_dir():
        if mirror:  # nothing was brought yet
            return
        raise ModelUnavailable(
            f"DROPSCRIBE_MODELS is {source}, and there is no such folder",
            "Create or mount it, or correct the setting.",
        )
    # A person may point at the one model instead of at the folder around it.
    if is_model(source):
        yield name_of_folder(source.name), source
    else:
        yield from _models_in(source)


def _models_in(folder: Path) -> Iterator[tuple[str, Path]]:
    try:
        entries = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        reason = f"the models folder {folder} cannot be read: {error.strerror}"
        raise ModelUnavailable(reason, "Give this user the permission to read it.") from error
    for entry in entries:
        if not entry.name.startswith(".") and not entry.name.endswith(".partial") and is_model(entry):
            yield name_of_folder(entry.name), entry


def _another_revision(name: str, pin: str, there: Sequence[Path]) -> ModelUnavailable:
    here = [f"{identity(folder)[1]} in {folder}" for folder in there if not missing(folder)]
    message = f"the model {name} is not here at the revision {pin}: there is {' and '.join(here) or 'no complete one'}"
    hint = f"Run `{fetch_command(pinned(name, pin))}`" if name in FAMILY else "Bring that revision here"
    return ModelUnavailable(message, f"{hint}, or ask for the one that is here.")


def _refetch(name: str) -> str:
    canonical = canonical_name(name)
    return (
        f"Delete the folder and run `{fetch_command(canonical)}`."
        if canonical in FAMILY
        else "Copy the model again, with all of its files."
    )
