"""Where revisions of models lie on this machine's disk: ``name@revision`` folders, and a link ``name`` to the present
one.

Takes a folder that somebody filled; makes it what the name means in one rename. A revision's folder never changes once
it is there, so who reads it keeps it. Knows nothing of where the files came from.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from handler.clock import Clock
from handler.models.wares import WHISPERS, AnyRecord, Wares

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,120}")  # of a model in a bucket: it becomes keys, and folders here
PARTIAL = ".partial"
_SHOWN = 16  # digits of a revision in a folder's name
_WAIT_SECONDS = 0.2


def place_of(folder: Path, name: str, revision: str) -> Path:
    """Where that revision of a model lies in ``folder``."""
    return folder / f"{name}@{revision[:_SHOWN]}"


def holds(place: Path, record: AnyRecord, wares: Wares = WHISPERS) -> bool:
    """Whether the model of ``record`` lies there whole, by its files' names and sizes."""
    return place.is_dir() and wares.whole(place) and sizes(place, record) == record.files


def sizes(place: Path, record: AnyRecord) -> dict[str, int]:
    """Of those files of the record that are there, in bytes."""
    return {name: (place / name).stat().st_size for name in record.files if (place / name).is_file()}


def put_in_place(partial: Path, place: Path) -> None:
    """A filled folder gets its name: readers see the whole model or none."""
    if place.is_dir() and not place.is_symlink():  # of an older try, or damaged: out of the way, not under a reader
        _aside(place)
    partial.rename(place)


def mean(folder: Path, name: str, place: Path, wares: Wares = WHISPERS) -> None:
    """From now on ``name`` in ``folder`` is what lies in ``place``, which is in ``folder``, too.

    A folder of that name that is no link gets the name of its own revision. OSError.
    """
    link = folder / name
    if link.is_dir() and not link.is_symlink():
        own = place_of(folder, name, wares.revision(link)) if wares.whole(link) else None
        if own is not None and own == place:
            return
        if own is not None and not own.exists():
            link.rename(own)
        else:
            _aside(link)
    if link.is_symlink() and os.readlink(link) == place.name:
        return
    new = folder / f".{name}.{os.getpid()}.link"
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    new.symlink_to(place.name)
    new.replace(link)


@contextlib.contextmanager
def held(folder: Path, name: str, clock: Clock, check: Callable[[], None]) -> Iterator[None]:
    """One process of this machine at a time brings a model; ``check`` is called while another one does. The kernel
    lets go when a process dies.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fd = os.open(folder / f".{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        while True:
            check()
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                clock.sleep(_WAIT_SECONDS)
        yield
    finally:
        os.close(fd)


def _aside(folder: Path) -> None:
    """Out of the way under a name that nobody looks at; a person may want it back."""
    number = 1
    while (away := folder.with_name(f".{folder.name}.old{number}")).exists():
        number += 1
    folder.rename(away)
