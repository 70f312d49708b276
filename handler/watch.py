"""The scan: which inputs are not settled yet. It alone keeps the system correct; events only make it fast.

Takes two listings, gives candidates. Knows nothing of jobs.
"""

from __future__ import annotations

import bisect
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass

from handler.layout import Layout, is_options, is_recording
from handler.settings import Settings
from handler.store.base import Info, Store
from handler.types import Source

log = logging.getLogger(__name__)

_ID_BYTES = 32  # a sid is a SHA-256
_SID = re.compile("[0-9a-f]{64}")


class SettledIds(Sequence[bytes]):
    """The settled sids of a listing, 32 bytes each and nothing more: a million inputs are 32 MB, looked up by
    bisection.
    """

    def __init__(self) -> None:
        self._ids = bytearray()

    def __len__(self) -> int:
        return len(self._ids) // _ID_BYTES

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return bytes(self._ids[index * _ID_BYTES : (index + 1) * _ID_BYTES])

    def append(self, sid: bytes) -> None:
        """Ids come in rising order, as listings do."""
        self._ids += sid

    def has(self, sid: str) -> bool:
        """``sid`` in hexadecimal digits, as names in the bucket are."""
        wanted = bytes.fromhex(sid)
        place = bisect.bisect_left(self, wanted)
        return place < len(self) and self[place] == wanted


@dataclass(frozen=True, slots=True)
class Candidate:
    """An unsettled input, as the listing shows it."""

    info: Info
    source: Source


@dataclass(frozen=True, slots=True)
class Scan:
    """``candidates``: oldest first. ``unready``: files that a writer may still be at. ``options``: all options files'
    keys.
    """

    candidates: tuple[Candidate, ...]
    unready: int
    options: frozenset[str]


def scan(store: Store, layout: Layout) -> Scan:
    """Compare the two listings: one request for each 1,000 inputs and each 1,000 settled markers.

    The markers are listed first: an input that is settled in between is looked at once more, which is harmless; the
    other way round a marker could be missed the same way, but a new input never is.
    """
    settled = _settled(store, layout)
    candidates: list[Candidate] = []
    options: set[str] = set()
    unready = 0
    for info in store.list(layout.input):
        key = info.key.removeprefix(layout.input)
        if is_options(key):
            options.add(info.key)
        if not is_recording(key):
            continue
        source = layout.source(info)
        if settled.has(source.sid):
            continue
        if not info.ready:
            unready += 1
            continue
        candidates.append(Candidate(info, source))
    candidates.sort(key=lambda candidate: (candidate.source.modified, candidate.source.key))
    return Scan(tuple(candidates), unready, frozenset(options))


def _settled(store: Store, layout: Layout) -> SettledIds:
    settled = SettledIds()
    prefix = layout.settled_key("")
    for info in store.list(prefix):
        name = info.key.removeprefix(prefix)
        if _SID.fullmatch(name) is None:  # in capitals, say, which sort elsewhere: one such would spoil the bisection
            log.warning("watch: %s is no settled marker", info.key)
            continue
        settled.append(bytes.fromhex(name))
    return settled


class Pace:
    """How long to wait until the next scan: short while there is work, longer and longer while an S3 bucket is idle.

    A folder is scanned at one pace: its listings cost nothing, and a newcomer expects a dropped file to be seen at
    once.
    """

    def __init__(self, settings: Settings, *, local: bool) -> None:
        self._least = settings.scan_seconds or (0.5 if local else 2.0)
        self._most = self._least if local else max(self._least, settings.scan_idle_seconds)
        self._pause = self._least

    def after(self, *, found_work: bool) -> float:
        """Seconds to wait after a scan that found work, or did not."""
        pause = self._pause = self._least if found_work else min(self._pause * 1.5, self._most)
        return pause
