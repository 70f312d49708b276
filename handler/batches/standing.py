"""How far the members of one batch are, as the last scan showed them.

Takes a plan, and what a listing shows, recording by recording; gives inputs that are to be done, and counts. Keeps 33
bytes for each member beside the plan. Makes no request of its own but the listings that `counts` is given.
"""

from __future__ import annotations

import bisect
import operator
from collections.abc import Iterable, Iterator
from typing import Any

from handler.batches.plan import Plan
from handler.layout import Layout, common_start, member_key
from handler.store.base import Info
from handler.types import BatchCounts, Source
from handler.watch import Asked, SettledIds

_ID_BYTES = 32
_LISTED, _SETTLED, _RESULT, _ERROR = 1, 2, 4, 8
_KEY = operator.itemgetter(0)


class Standing:
    """A member whose recording is not listed counts as cancelled: there is nothing left to do for it."""

    def __init__(self, plan: Plan, layout: Layout) -> None:
        self.plan = plan
        self._layout = layout
        self._flags = bytearray(len(plan.members))
        self._sids = bytearray(_ID_BYTES * len(plan.members))

    @property
    def batch(self) -> Source:
        return self.plan.batch

    # ── a scan ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def begin(self) -> None:
        self._flags = bytearray(len(self.plan.members))

    def see(self, source: Source, settled: SettledIds) -> Asked | None:
        """A recording that is listed. What it is to be done as for this batch, None if there is nothing to be done, or
        nothing beyond its ordinary job.
        """
        place = self._place(source.key)
        if place is None:
            return None
        options = self._options(place)
        sid, asked = source.sid, None
        if options is not None:
            sid, member = self._layout.member(self.batch, source, options)
            key = member_key(self.batch.key, source.key)
            asked = Asked(sid, key, member, options, self.batch.modified)
        self._sids[place * _ID_BYTES : (place + 1) * _ID_BYTES] = bytes.fromhex(sid)
        done = settled.has(sid)
        self._flags[place] = _LISTED | (_SETTLED if done else 0)
        return None if done else asked

    # ── where it stands ──────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def queued(self) -> int:
        """Members that are there and not settled."""
        return self._flags.translate(_MASK).count(_LISTED)

    @property
    def settled(self) -> int:
        """All others: those that are settled or gone."""
        return len(self._flags) - self.queued

    def members(self) -> Iterator[tuple[str, dict[str, Any] | None, str | None]]:
        """(key, options, sid; None if it is gone) of each member, in the order of the keys."""
        for place, (key, _) in enumerate(self.plan.members):
            listed = self._flags[place] & _LISTED
            sid = self._sids[place * _ID_BYTES : (place + 1) * _ID_BYTES].hex() if listed else None
            yield key, self._options(place), sid

    def unfinished(self) -> Iterator[tuple[str, str]]:
        """(key of its outputs, sid) of each member with options that is there and not settled."""
        for place, (key, options, sid) in enumerate(self.members()):
            if sid is not None and options is not None and not self._flags[place] & _SETTLED:
                yield member_key(self.batch.key, key), sid

    def prefixes(self) -> tuple[str, ...]:
        """What the keys of all outputs begin with, below results/ and errors/: listings of these show every one."""
        ordinary = [key for key, number in self.plan.members if number is None]
        own = [member_key(self.batch.key, key) for key, number in self.plan.members if number is not None]
        found = [common_start([keys[0], keys[-1]]) for keys in (ordinary, own) if keys]  # they are sorted
        return tuple(one for one in found if not any(one != other and one.startswith(other) for other in found))

    def counts(self, results: Iterable[Info], errors: Iterable[Info]) -> BatchCounts:
        """By what lies there: an error, or else a result. A settled member with neither was cancelled."""
        for flag, prefix, infos in ((_RESULT, self._layout.results, results), (_ERROR, self._layout.errors, errors)):
            for info in infos:
                place = self._output(info.key.removeprefix(prefix).removesuffix(".json"))
                if place is not None:
                    self._flags[place] |= flag
        failed = completed = 0
        for flags in self._flags:
            if flags & _SETTLED:
                failed += bool(flags & _ERROR)
                completed += flags & (_RESULT | _ERROR) == _RESULT
        total, queued = len(self._flags), self.queued
        return BatchCounts(
            total=total, completed=completed, failed=failed, queued=queued,
            cancelled=total - queued - completed - failed,
        )  # fmt: skip

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _place(self, key: str) -> int | None:
        members = self.plan.members
        place = bisect.bisect_left(members, key, key=_KEY)
        return place if place < len(members) and members[place][0] == key else None

    def _output(self, key: str) -> int | None:
        """The member whose outputs have this key."""
        own = key.removeprefix(member_key(self.batch.key, ""))
        place = self._place(own)
        if place is None or (self._options(place) is not None) != (own != key):
            return None
        return place

    def _options(self, place: int) -> dict[str, Any] | None:
        number = self.plan.members[place][1]
        return None if number is None else self.plan.options[number]


_MASK = bytes(flags & (_LISTED | _SETTLED) for flags in range(256))
