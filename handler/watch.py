"""The scan: which inputs are not settled yet. It alone keeps the system correct; events only make it fast.

Takes two listings, gives candidates. Knows nothing of jobs, nor of what a batch asks for: who does looks at the same
listing (`Onlooker`).
"""

from __future__ import annotations

import bisect
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from handler.layout import Layout, is_batch, is_options, is_recording
from handler.settings import Settings
from handler.store.base import PAGE, Info, Listing, Store
from handler.types import Member, Source

log = logging.getLogger(__name__)

# The defaults of the settings scan_seconds, scan_idle_seconds and scan_page_seconds, by what a listing costs.
_LEAST: Mapping[Listing, float] = {"free": 0.5, "own": 2.0, "paid": 2.0}
_IDLE: Mapping[Listing, float] = {"free": 0.5, "own": 15.0, "paid": 30.0}
_PAGE: Mapping[Listing, float] = {"free": 0.0, "own": 0.0, "paid": 0.5}
_ID_BYTES = 32  # a sid is a SHA-256
SID = re.compile("[0-9a-f]{64}")


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
class Asked:
    """What a batch's line makes of a recording: an input of its own. ``since``: the batch's epoch seconds."""

    sid: str
    key: str  # of its outputs
    member: Member
    options: Mapping[str, Any]
    since: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """An unsettled input, as the listing shows it."""

    info: Info
    source: Source
    asked: Asked | None = None

    @property
    def sid(self) -> str:
        """The input's, which is not the recording's when a batch asks for it under options of its own."""
        return self.source.sid if self.asked is None else self.asked.sid

    @property
    def since(self) -> int:
        """Epoch seconds from which on it waits."""
        return self.source.modified if self.asked is None else max(self.source.modified, self.asked.since)


@dataclass(frozen=True, slots=True)
class Scan:
    """``candidates``: oldest first. ``unready``: files that a writer may still be at. ``options``: all options files'
    keys. ``listed``: how many objects were listed for it. ``batches``: the unsettled ones. ``ready_in``: seconds
    until the first unready one may be taken, infinite without any.
    """

    candidates: tuple[Candidate, ...]
    unready: int
    options: frozenset[str]
    listed: int = 0
    batches: tuple[Candidate, ...] = ()
    ready_in: float = math.inf


class Onlooker(Protocol):
    """Sees what the scan sees."""

    def begin(self, settled: SettledIds) -> None:
        """A scan begins; these were settled before it."""

    def see(self, info: Info, source: Source) -> None:
        """A recording, settled or not, ready or not."""

    def candidates(self) -> Sequence[Candidate]:
        """The scan is over: what else is to be done."""


def scan(store: Store, layout: Layout, onlooker: Onlooker | None = None) -> Scan:
    """Compare the two listings: one request for each 1,000 inputs and each 1,000 settled markers.

    The markers are listed first: an input that is settled in between is looked at once more, which is harmless; the
    other way round a marker could be missed the same way, but a new input never is.
    """
    settled = _settled(store, layout)
    if onlooker is not None:
        onlooker.begin(settled)
    candidates: list[Candidate] = []
    batches: list[Candidate] = []
    options: set[str] = set()
    unready, ready_in, listed = 0, math.inf, len(settled)
    for info in store.list(layout.input):
        listed += 1
        key = info.key.removeprefix(layout.input)
        if is_options(key):
            options.add(info.key)
        recording = is_recording(key)
        if not recording and not is_batch(key):
            continue
        source = layout.source(info)
        if recording and onlooker is not None:
            onlooker.see(info, source)
        if settled.has(source.sid):
            continue
        if not info.ready:
            unready += 1
            ready_in = min(ready_in, info.ready_in)
            continue
        (candidates if recording else batches).append(Candidate(info, source))
    if onlooker is not None:
        candidates += onlooker.candidates()
    candidates.sort(key=lambda candidate: (candidate.since, candidate.source.key))
    return Scan(tuple(candidates), unready, frozenset(options), listed, tuple(batches), ready_in)


def _settled(store: Store, layout: Layout) -> SettledIds:
    settled = SettledIds()
    prefix = layout.settled_key("")
    for info in store.list(prefix):
        name = info.key.removeprefix(prefix)
        if SID.fullmatch(name) is None:  # in capitals, say, which sort elsewhere: one such would spoil the bisection
            log.warning("watch: %s is no settled marker", info.key)
            continue
        settled.append(bytes.fromhex(name))
    return settled


class Pace:
    """How long to wait until the next scan: short while there is work, longer and longer while an S3 bucket is idle.

    A folder is scanned at one pace: its listings cost nothing, and a newcomer expects a dropped file to be seen at
    once. A worker that ``hears`` of inputs scans rarely, for what it was not told; but like any other while a batch is
    open, whose members nothing tells of. Where each 1,000 keys are a request on a bill, an idle bucket is looked at
    half as often as on a server of one's own, and the pause after a scan is never shorter than its requests are worth,
    so that a day's scans cost no more with a million keys than with a few.
    """

    def __init__(self, settings: Settings, listing: Listing, *, hears: bool = False) -> None:
        self.least = settings.scan_seconds or _LEAST[listing]  # seconds between two scans
        idle = settings.scan_idle_seconds or _IDLE[listing]
        self._most = self.least if listing == "free" else max(self.least, idle)
        self._rarely = settings.reconcile_seconds if hears else None
        page = settings.scan_page_seconds
        self._page = 0.0 if listing == "free" else _PAGE[listing] if page is None else page
        self._pause = self.least

    def after(self, *, found_work: bool, batches: bool = False, listed: int = 0) -> float:
        """Seconds to wait after a scan that found work, or did not. ``batches``: one is open; ``listed``: keys that the
        scan saw.
        """
        worth = self._page * (listed // PAGE)
        if self._rarely is not None and not batches:
            return max(self._rarely, worth)
        self._pause = self.least if found_work else min(self._pause * 1.5, self._most)
        return max(self._pause, worth)
