"""A recording's file on this machine's disk: brought from the store, in the hand of the worker, or on its way there.

`Hand` keeps the one recording that is fetched ahead of its turn: filled from a thread of its own, emptied from the
worker's. Knows nothing of why a recording is wanted.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from handler.clock import Clock
from handler.store.base import Info, Store
from pipeline.errors import OutOfSpace

_LOOK_SECONDS = 0.2  # how often somebody who waits for a recording on its way looks around


@dataclass(frozen=True, slots=True)
class Recording:
    """``prepared``: the folder into which the engine was asked to decode it. ``ahead``: it was brought before its
    turn.
    """

    path: Path
    sha256: str  # of its bytes, in hex
    prepared: Path | None = None
    ahead: bool = False

    def remove(self) -> None:
        """Whatever of it is still there."""
        self.path.unlink(missing_ok=True)
        if self.prepared is not None:
            shutil.rmtree(self.prepared, ignore_errors=True)


def bring(store: Store, clock: Clock, scratch: Path, info: Info, go_on: Callable[[], None]) -> Recording:
    """The recording in a file of its own in ``scratch``. `OutOfSpace`, `Changed`, `NotFound`, other store errors, and
    what ``go_on`` raises, which is called again and again: then no file is left.
    """
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = scratch / f"{clock.new_id()}{_suffix(info.key)}"
    try:
        return Recording(path, store.download(info, path, check=go_on))
    except OSError as error:
        path.unlink(missing_ok=True)
        if OutOfSpace.explains(error):
            raise OutOfSpace(f"the work directory's disk has no room for {info.size:,} bytes") from error
        raise
    except BaseException:
        path.unlink(missing_ok=True)
        raise


class Fetch:
    """One recording on its way, or here. ``name``: of the input it is for; ``key``: in the store."""

    def __init__(self, name: str, key: str) -> None:
        self.name = name
        self.key = key
        self.info: Info | None = None  # of the version that is fetched, once that is known
        self.over = threading.Event()
        self._given_up = threading.Event()
        self._recording: Recording | None = None
        self._lock = threading.Lock()

    @property
    def given_up(self) -> bool:
        return self._given_up.is_set()

    @property
    def failed(self) -> bool:
        """It is over, and nothing is here."""
        return self.over.is_set() and self._recording is None

    def end(self, recording: Recording | None) -> None:
        """By whoever fetches, in any case. What nobody wants any more is removed."""
        with self._lock:
            unwanted = self.given_up
            self._recording = None if unwanted else recording
            self.over.set()
        if unwanted and recording is not None:
            recording.remove()

    def give_up(self) -> None:
        """It is not wanted: end it soon, and leave nothing."""
        with self._lock:
            self._given_up.set()
        recording = self.take()
        if recording is not None:
            recording.remove()

    def take(self) -> Recording | None:
        """It is the caller's from now on. None if it is not here."""
        with self._lock:
            recording, self._recording = self._recording, None
        return recording


class Hand:
    """Room for one `Fetch`. Owned by the worker's thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.fetch: Fetch | None = None

    def take(self, info: Info, go_on: Callable[[], None]) -> Recording | None:
        """This version, if it is here or on its way, for which is then waited; ``go_on`` is called meanwhile. Another
        version of it is thrown away. None where it has to be brought.
        """
        fetch = self.fetch
        if fetch is None or fetch.key != info.key:
            return None
        try:
            while not fetch.over.is_set() and _may_be(fetch, info):
                go_on()
                self._clock.wait(fetch.over, _LOOK_SECONDS)
            found = fetch.take() if _may_be(fetch, info) else None
        finally:
            self.drop()
        return found

    def drop(self, name: str | None = None) -> Fetch | None:
        """Throw away what is here or on its way, if it is for the input ``name``; whoever it is for without a name.
        What was given up.
        """
        fetch = self.fetch
        if fetch is None or name not in (None, fetch.name):
            return None
        self.fetch = None
        fetch.give_up()
        return fetch


def _may_be(fetch: Fetch, info: Info) -> bool:
    """Whether it is, or may turn out to be, this version."""
    return fetch.info is None or version_of(fetch.info) == version_of(info)


def version_of(info: Info) -> tuple[str, str, int, int]:
    """What tells one version of one object from all others."""
    return info.key, info.version, info.modified, info.size


def _suffix(key: str) -> str:
    """The key's extension where it is harmless: some containers are told apart by it alone."""
    suffix = Path(key.rsplit("/", 1)[-1]).suffix
    return suffix if suffix[1:].isascii() and suffix[1:].isalnum() and len(suffix) <= 8 else ""
