"""How an input's callbacks stand, for people and for the commands that take things back.

Takes a store and inputs' ids; gives what lies under ``callbacks/``. Nothing is sent from here.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from handler.callbacks.records import parse_delivered, parse_delivery, shown
from handler.errors import NotFound
from handler.layout import Layout
from handler.overview import READERS
from handler.store.base import Store
from pipeline.types import Frozen

_SID = 64  # digits at the beginning of a delivery's name


class CallbackState(Frozen):
    """``url`` without what may be secret in it; ``message``: the last try's outcome, or why it was given up."""

    status: Literal["pending", "delivered", "failed"]
    url: str
    attempts: int
    message: str
    at: str


def keys_of(store: Store, layout: Layout, sid: str, *, pending: bool = True, done: bool = True) -> list[str]:
    """The keys of an input's deliveries: those that wait first, then those that are over. A LIST each."""
    prefixes = [prefix for prefix, wanted in ((layout.pending, pending), (layout.delivered, done)) if wanted]
    return [info.key for prefix in prefixes for info in store.list(f"{prefix}{sid}-")]


def over_by_input(store: Store, layout: Layout) -> dict[str, list[str]]:
    """The keys of all deliveries that are over, by input. One listing."""
    found: dict[str, list[str]] = {}
    for info in store.list(layout.delivered):
        found.setdefault(info.key.removeprefix(layout.delivered)[:_SID], []).append(info.key)
    return found


def state_of(store: Store, layout: Layout, sid: str) -> CallbackState | None:
    """Of one input: what still waits, or else what ended last; None without a callback. Two LISTs, a GET for each."""
    return _latest(_read(store, layout, key) for key in keys_of(store, layout, sid))


def states(store: Store, layout: Layout, sids: Iterable[str]) -> dict[str, CallbackState]:
    """Of many inputs: two listings, and a GET for each delivery of theirs."""
    wanted = set(sids)
    found: dict[str, list[str]] = {}
    for prefix in (layout.pending, layout.delivered):
        for info in store.list(prefix):
            sid = info.key.removeprefix(prefix)[:_SID]
            if sid in wanted:
                found.setdefault(sid, []).append(info.key)
    keys = [key for listed in found.values() for key in listed]
    with ThreadPoolExecutor(READERS) as readers:
        read = dict(zip(keys, readers.map(lambda key: _read(store, layout, key), keys), strict=True))
    latest = {sid: _latest(read[key] for key in listed) for sid, listed in found.items()}
    return {sid: state for sid, state in latest.items() if state is not None}


def _read(store: Store, layout: Layout, key: str) -> CallbackState | None:
    try:
        body = store.get(key).body
    except NotFound:
        return None
    if key.startswith(layout.pending):
        waits = parse_delivery(body)
        if waits is None:
            return None
        last = waits.tries[-1] if waits.tries else None
        return CallbackState(
            status="pending", url=shown(waits.url), attempts=waits.attempts,
            message=last.outcome if last is not None else "", at=last.at if last is not None else waits.created_at,
        )  # fmt: skip
    over = parse_delivered(body)
    if over is None:
        return None
    message = over.reason or (over.tries[-1].outcome if over.tries else "")
    return CallbackState(
        status="delivered" if over.outcome == "delivered" else "failed",
        url=over.url, attempts=over.attempts, message=message, at=over.finished_at,
    )  # fmt: skip


def _latest(states: Iterable[CallbackState | None]) -> CallbackState | None:
    there = [state for state in states if state is not None]
    return max(there, key=lambda state: (state.status == "pending", state.at), default=None)
