"""Settled markers: ``settled/<sid>`` says that one version of one input is done with, and how.

A marker tells what the outputs do. So one that says *completed* or *failed*, whose outputs lie there, goes in the place
of one that says *cancelled*, never the other way round. Knows nothing of jobs or outputs.
"""

from __future__ import annotations

import logging

from pydantic import ValidationError

from handler.clock import Clock
from handler.errors import NotFound, Unavailable
from handler.layout import Layout
from handler.store.base import Store
from handler.store.swap import Conflict, put_record
from handler.types import SettledMarker

log = logging.getLogger(__name__)

_TRIES = 10
_RANK = {"cancelled": 0, "failed": 1, "completed": 2}  # a job that failed may have been run again for somebody else


def read_marker(store: Store, layout: Layout, sid: str) -> SettledMarker | None:
    """The settled marker; None while that version is not settled. One that cannot be read is taken for a success."""
    try:
        body = store.get(layout.settled_key(sid)).body
    except NotFound:
        return None
    return _parsed(sid, body)


def settle(store: Store, layout: Layout, clock: Clock, marker: SettledMarker) -> SettledMarker:
    """Put the marker there, unless one of the same rank or a higher one is. Gives what lies there then: ``marker``
    itself, or what was found. `Unavailable` when it keeps changing.
    """
    key, etag = layout.settled_key(marker.sid), None
    for _ in range(_TRIES):
        try:
            put_record(store, key, marker.model_dump(mode="json"), etag=etag, clock=clock)
            return marker
        except Conflict as conflict:
            found = conflict.found
        if found is not None:
            there = _parsed(marker.sid, found.body)
            if _RANK[there.outcome] >= _RANK[marker.outcome]:
                return there
        etag = found.etag if found is not None else None
    raise Unavailable(f"settled/{marker.sid} keeps changing", "Try again.")


def uncancel(store: Store, layout: Layout, sid: str) -> None:
    """Take back a marker that says *cancelled*: the input's job had ended before; whoever publishes that settles it.

    Should it become another one in between, the input is unsettled once too often, and published again: same bytes.
    """
    marker = read_marker(store, layout, sid)
    if marker is not None and marker.outcome == "cancelled":
        store.delete(layout.settled_key(sid))


def _parsed(sid: str, body: bytes) -> SettledMarker:
    try:
        return SettledMarker.model_validate_json(body)
    except ValidationError:
        log.warning("settled/%s is unreadable", sid)
        return SettledMarker(key="", sid=sid, outcome="completed", job_id="", settled_at="")
