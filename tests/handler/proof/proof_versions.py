"""Which version of which input there was when: recordings, batches, and what batches make of recordings.

Takes what users do; answers for the ledger which input is there and wanted, and which of two versions is the later one.
Every version has a sid (docs/format.md), and a batch's member that has options of its own is an input, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from handler.layout import Layout, is_batch, member_key
from handler.types import Source


@dataclass(frozen=True, slots=True)
class Version:
    """``number``: the how-manieth drop of anything it was; of a member the later of its batch's and its recording's.

    ``parents``: the sids of these two.
    """

    key: str
    number: int
    parents: tuple[str, ...] = ()


@dataclass
class Versions:
    layout: Layout
    of: dict[str, Version] = field(default_factory=dict)  # by sid
    current: dict[str, str] = field(default_factory=dict)  # key of a recording or batch → sid of what is there now
    cancelled: set[str] = field(default_factory=set)  # sids whose cancellation was asked for
    _drops: int = 0
    _sources: dict[str, Source] = field(default_factory=dict)  # by key: what lies there now
    _asked: dict[str, Mapping[str, Any]] = field(default_factory=dict)  # batch's key → its members' options

    def dropped(self, source: Source, options: Mapping[str, Any] | None = None) -> None:
        """A recording; or a batch, with the options that its lines give to any recording."""
        key = source.key
        self._drops += 1
        self.of[source.sid] = Version(key, self._drops)  # the same bytes again within the second are the same version
        self.current[key] = source.sid
        self._sources[key] = source
        if is_batch(key):
            self._asked[key] = options or {}
        for batch_key, asked in self._asked.items():
            batch = self._sources.get(batch_key)
            for recording in [one for one in self._sources.values() if not is_batch(one.key)] if batch else ():
                assert batch is not None
                sid, member = self.layout.member(batch, recording, asked)
                parents = (member.batch_sid, member.source_sid)
                number = max(self.of[parent].number for parent in parents)
                self.of[sid] = Version(member_key(batch_key, recording.key), number, parents)

    def removed(self, key: str) -> None:
        self.current.pop(key, None)
        self._sources.pop(key, None)

    def is_current(self, sid: str) -> bool:
        """Whether it is there: a member, as long as its recording and its batch are."""
        version = self.of[sid]
        if version.parents:
            return all(self.is_current(parent) for parent in version.parents)
        return self.current.get(version.key) == sid

    def wanted(self, sid: str) -> bool:
        """There, and not cancelled, nor its batch."""
        version = self.of[sid]
        batch = version.parents[:1]
        return self.is_current(sid) and not self.cancelled.intersection({sid, *batch})

    def number(self, sid: str) -> int:
        return self.of[sid].number if sid in self.of else 0
