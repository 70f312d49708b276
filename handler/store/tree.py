"""Keys as paths in a folder, and a folder as a sorted listing.

Takes a root folder; gives real paths for keys and keys for what lies under it. Works in bytes, so that no locale
matters. Never leaves the root: a symbolic link that leads out is as good as absent. A listing warns, once each, of what
it has to leave out: such links, folders that may not be read, names that are no Unicode. Knows nothing of locks, ETags
or writing.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from handler.errors import BadKey
from handler.store.keys import encoded

COMPONENT_LIMIT = 240  # bytes; file systems allow 255, the rest is for what is written beside a file
RESERVED = b".dropscribe/locks"

_TEMP = re.compile(rb"\.dropscribe-[0-9a-f]{32}\.tmp")
_WARNED_LIMIT = 1000

_RENAME = "Use another key."
_RIGHT = "give the user that runs this the right to read it"

log = logging.getLogger(__name__)


def temp_name(unique: str) -> bytes:
    """A file name that no listing shows; ``unique`` is 32 hexadecimal digits."""
    return b".dropscribe-" + unique.encode() + b".tmp"


def is_temp(name: bytes) -> bool:
    return _TEMP.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class _Entry:
    """``key``: whole, relative to the root, ending in ``/`` for a folder. ``real``: where it is, links followed."""

    key: bytes
    real: bytes
    is_folder: bool


class Tree:
    """One folder. ``on_temp`` is called with the path of each temporary file that a listing meets."""

    def __init__(self, root: Path, on_temp: Callable[[bytes], None]) -> None:
        self.root = os.path.realpath(os.fsencode(root))
        self.locks = os.path.join(self.root, RESERVED)
        self._inside = self.root.rstrip(b"/") + b"/"
        self._on_temp = on_temp
        self._warned: set[tuple[bytes, str]] = set()

    # ── one key ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def find(self, key: str) -> bytes | None:
        """The real path to read ``key`` from, None where nothing can be: not a key, out of the root, or ours. May not
        exist.
        """
        try:
            raw = _checked(key, limit=None)
        except BadKey:
            return None
        return self._real(os.path.join(self.root, raw))

    def name_of(self, key: str) -> bytes | None:
        """The path of the name ``key`` itself: as `find`, but if it is a link, of the link."""
        try:
            return os.path.join(*self._split(_checked(key, limit=None), key))
        except BadKey:
            return None

    def place(self, key: str) -> tuple[bytes, bytes]:
        """The real folder and the file name to write ``key`` to. `BadKey` if this store cannot hold it."""
        return self._split(_checked(key, limit=COMPONENT_LIMIT), key)

    def _split(self, raw: bytes, key: str) -> tuple[bytes, bytes]:
        folder, _, name = raw.rpartition(b"/")
        real = self._real(os.path.join(self.root, folder)) if folder else self.root
        if real is None:
            raise BadKey(f"{key} lies behind a link that leads out of {os.fsdecode(self.root)}", _RENAME)
        return real, name

    def obstacle(self, folder: bytes) -> str | None:
        """The key of the file that stands where ``folder`` or one above it should be, None if nothing does."""
        path = self.root
        for part in folder[len(self._inside) :].split(b"/"):
            path = os.path.join(path, part)
            if os.path.lexists(path) and not os.path.isdir(path):
                return os.fsdecode(path[len(self._inside) :])
        return None

    def removable_parents(self, real: bytes) -> Iterator[bytes]:
        """The folders above a file that may go when they are empty, innermost first: all but the root and those in
        it.
        """
        folder = os.path.dirname(real)
        while folder.startswith(self._inside) and b"/" in folder[len(self._inside) :]:
            yield folder
            folder = os.path.dirname(folder)

    def _real(self, path: bytes) -> bytes | None:
        real = os.path.realpath(path)
        inside = real.startswith(self._inside) and real != self.locks and not real.startswith(self.locks + b"/")
        return real if inside else None

    # ── all keys ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def walk(self, prefix: str, start_after: str) -> Iterator[tuple[str, os.stat_result]]:
        """(key, stat) of every regular file, in the order of the keys' bytes. Holds one folder's names per level in
        memory.
        """
        # What is not Unicode is in no key: it must only not stop the comparison.
        wanted, after = prefix.encode(errors="surrogatepass"), start_after.encode(errors="surrogatepass")
        above = prefix.rpartition("/")[0]
        start = self.find(above) if above else self.root
        if start is None:
            self._warn_of_links(above)
            return
        levels = [(start, self._entries(start, above.encode() + b"/" if above else b"", (start,)))]
        while levels:
            entry = next(levels[-1][1], None)
            if entry is None:
                levels.pop()
            elif entry.is_folder:
                if _may_hold(entry.key, wanted, after):
                    reals = (*(real for real, _ in levels), entry.real)
                    levels.append((entry.real, self._entries(entry.real, entry.key, reals)))
            elif entry.key.startswith(wanted) and entry.key > after:
                found = self._stat(entry.real)
                if found is not None:
                    yield entry.key.decode(), found

    def meet_temps(self, folder: bytes) -> None:
        """Call ``on_temp`` for the temporary files in one folder."""
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_temp(entry.name):
                    self._on_temp(entry.path)

    def _entries(self, folder: bytes, key: bytes, above: tuple[bytes, ...]) -> Iterator[_Entry]:
        """What lies in ``folder``, sorted. ``above``: the real folders on the way here, so that a circle of links
        ends. PermissionError of the folder that the listing starts from alone: the others are left out.
        """
        try:
            with os.scandir(folder) as entries:
                found = [self._entry(entry, key, above) for entry in entries]
        except (FileNotFoundError, NotADirectoryError):
            return iter(())  # gone since its own folder was read
        except PermissionError as error:
            if len(above) == 1:
                raise
            self._warn(folder, f"{error.strerror}; {_RIGHT}")
            return iter(())
        # A folder sorts as `name/`: `a-b` and `a.b` come before everything in `a/`, `a0` after it.
        return iter(sorted((entry for entry in found if entry is not None), key=lambda entry: entry.key))

    def _entry(self, entry: os.DirEntry[bytes], key: bytes, above: tuple[bytes, ...]) -> _Entry | None:
        if is_temp(entry.name):
            self._on_temp(entry.path)
            return None
        if not self._decodable(entry.path, entry.name):
            return None
        real: bytes | None = entry.path
        if entry.is_symlink():
            real = self._real(entry.path)
            if real is None:
                self._warn_of_link(entry.path)
        if real is None or real == self.locks:
            return None
        is_folder = os.path.isdir(real) if real is not entry.path else entry.is_dir(follow_symlinks=False)
        if is_folder and real in above:
            return None
        return _Entry(key + entry.name + (b"/" if is_folder else b""), real, is_folder)

    def _decodable(self, path: bytes, name: bytes) -> bool:
        try:
            name.decode()
        except UnicodeDecodeError:
            self._warn(path, "its name is not valid UTF-8; rename it")
            return False
        return True

    def _stat(self, path: bytes) -> os.stat_result | None:
        try:
            found = os.stat(path, follow_symlinks=False)
        except PermissionError as error:  # a folder whose names may be read, and no more
            self._warn(os.path.dirname(path), f"{error.strerror}; {_RIGHT}")
            return None
        except OSError:
            return None  # deleted meanwhile, or a link that leads nowhere
        return found if stat.S_ISREG(found.st_mode) else None

    def _warn_of_links(self, key: str) -> None:
        """Say which link on the way to ``key`` leads out, if one does."""
        path = self.root
        for part in key.encode(errors="surrogatepass").split(b"/"):
            path = os.path.join(path, part)
            if self._real(path) is None:
                if os.path.islink(path):
                    self._warn_of_link(path)
                return

    def _warn_of_link(self, path: bytes) -> None:
        real = os.path.realpath(path)
        if real != self.root and not real.startswith(self._inside):  # those to the bucket itself and its locks are fine
            self._warn(path, f"it is a link that leads out of {os.fsdecode(self.root)}; move what it leads to in there")

    def _warn(self, path: bytes, why: str) -> None:
        """Once, not at every scan."""
        if (path, why) not in self._warned and len(self._warned) < _WARNED_LIMIT:
            self._warned.add((path, why))
            log.warning("%s is skipped: %s", _shown(path), why)


def _checked(key: str, limit: int | None) -> bytes:
    """The key's bytes, a relative path. `BadKey` if it is not one, or a component is longer than ``limit`` bytes."""
    raw = encoded(key)
    for part in raw.split(b"/"):
        if part in (b"", b".", b".."):
            raise BadKey(f"a folder cannot hold the key {key!r}: it has the component {part.decode()!r}", _RENAME)
        if limit is not None and len(part) > limit:
            raise BadKey(f"a folder cannot hold {part.decode()!r}: that is {len(part)} bytes, over {limit}", _RENAME)
        if is_temp(part):
            raise BadKey(f"the key {key!r} is the name of a temporary file", _RENAME)
    if raw == RESERVED or raw.startswith(RESERVED + b"/"):
        raise BadKey(f"{RESERVED.decode()}/ holds this store's locks, not objects", _RENAME)
    return raw


def _may_hold(folder: bytes, wanted: bytes, after: bytes) -> bool:
    """Whether a key that starts with ``folder`` can start with ``wanted`` and come after ``after``."""
    return (folder.startswith(wanted) or wanted.startswith(folder)) and (folder > after or after.startswith(folder))


def _shown(path: bytes) -> str:
    try:
        return path.decode()
    except UnicodeDecodeError:
        return repr(path)
