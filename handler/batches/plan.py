"""What a batch means, decided once: its members, or why it has none. ``batches/<sid>/plan.json``, create-if-absent.

Whoever sees a batch first makes its plan from the file and a listing; everybody uses the one that is stored. Takes a
store; knows nothing of how far the members are.
"""

from __future__ import annotations

import logging
from typing import Any, Literal

from pydantic import ValidationError

from handler.batches.lines import MAX_BYTES, MAX_MEMBERS, Ask, Lines, read_lines
from handler.clock import Clock
from handler.errors import BadBatch, Changed, NotFound
from handler.layout import Layout, common_start, is_recording
from handler.store.base import Store
from handler.store.swap import Conflict, put_bytes
from handler.types import Source, canonical_json
from pipeline.errors import ErrorDetail
from pipeline.formats.times import iso_time
from pipeline.types import Frozen

log = logging.getLogger(__name__)

_WRITE_TRIES = 5


class Plan(Frozen):
    """``members``: (key, place in ``options``, or None for the key's ordinary job), in the order of the keys.

    With an ``error`` the batch failed as a whole. ``planned_at``: ISO 8601, the store's time.
    """

    format: Literal[1] = 1
    batch: Source
    planned_at: str
    options: tuple[dict[str, Any], ...] = ()
    members: tuple[tuple[str, int | None], ...] = ()
    error: ErrorDetail | None = None


def stored_plan(store: Store, layout: Layout, sid: str) -> tuple[Plan | None, str | None]:
    """The plan and None; or None and the ETag of what lies there unreadable, None if nothing does."""
    try:
        found = store.get(layout.plan_key(sid))
    except NotFound:
        return None, None
    plan = _read(found.body, sid)
    if plan is None:
        log.warning("batches/%s/plan.json is unreadable", sid)
    return plan, None if plan is not None else found.etag


def member_sid(store: Store, layout: Layout, batch: Source, recording: Source) -> str | None:
    """The sid of the input that a batch makes of a recording; None where it asks for no options, or has no plan."""
    plan, _ = stored_plan(store, layout, batch.sid)
    place = dict(plan.members).get(recording.key) if plan is not None else None
    return layout.member(batch, recording, plan.options[place])[0] if plan is not None and place is not None else None


def freeze(
    store: Store, layout: Layout, clock: Clock, batch: Source, *, etag: str | None, error: ErrorDetail | None = None
) -> Plan:
    """Make the plan and store it, in place of ``etag``; the one that is stored in the end. ``error``: it is known that
    the batch cannot be. `Changed`, `NotFound` when the file is no longer that version, and other store errors.
    """
    if error is not None:  # it may be that not even a HEAD is allowed
        plan = Plan(batch=batch, planned_at=iso_time(clock.time()), error=error)
    else:
        plan = _made(store, layout, batch)
    body = canonical_json(plan.model_dump(mode="json"))
    for _ in range(_WRITE_TRIES):
        try:
            put_bytes(store, layout.plan_key(batch.sid), body, etag=etag, clock=clock)
            return plan
        except Conflict as conflict:
            theirs = _read(conflict.found.body, batch.sid) if conflict.found is not None else None
            if theirs is not None:
                return theirs
            etag = conflict.found.etag if conflict.found is not None else None
    raise Changed(f"the plan of {batch.key} keeps changing")


def _read(body: bytes, sid: str) -> Plan | None:
    try:
        plan = Plan.model_validate_json(body)
    except ValidationError:
        return None
    places = range(len(plan.options))
    sound = all(place is None or place in places for _, place in plan.members) and plan.batch.sid == sid
    return plan if sound else None


def _made(store: Store, layout: Layout, batch: Source) -> Plan:
    key = layout.input_key(batch.key)
    body = store.get(key).body if batch.size <= MAX_BYTES else b""
    now = store.head(key)
    if layout.source(now).sid != batch.sid:
        raise Changed(f"{batch.key} was replaced while it was being read")
    plan = Plan(batch=batch, planned_at=iso_time(now.store_time))
    try:
        if batch.size > MAX_BYTES:
            raise BadBatch(f"it has {batch.size:,} bytes; the limit is {MAX_BYTES:,}", "Divide it.")
        lines = read_lines(body)
        members = _members(store, layout, lines)
        lines.problems.refuse(batch.key)
    except BadBatch as bad:
        return plan.model_copy(update={"error": bad.to_detail()})
    return plan.model_copy(update={"options": tuple(lines.options), "members": members})


def _members(store: Store, layout: Layout, lines: Lines) -> tuple[tuple[str, int | None], ...]:
    """The recordings that the lines name, by one listing of no more than they have in common. What names none is added
    to the problems.
    """
    members: dict[str, int | None] = {}
    starts = [glob.fixed for glob in lines.globs]
    if lines.keys:
        starts += [min(lines.keys), max(lines.keys)]
    # What two sorted keys have in common, all between them have, too.
    for info in store.list(layout.input_key(common_start(starts))) if starts else ():
        key = info.key.removeprefix(layout.input)
        if not is_recording(key):
            continue
        ask = _asked(lines, key)
        if ask is not None:
            members[key] = ask.options
            if len(members) > MAX_MEMBERS:
                raise BadBatch(f"it asks for more than {MAX_MEMBERS:,} recordings", "Divide it.")
    for key, ask in lines.keys.items():
        if key not in members:
            lines.problems.add(ask.number, f"there is no recording {key}")
    for glob in lines.globs:
        if not glob.matched:
            lines.problems.add(glob.ask.number, f"no recording matches {glob.text}")
    return tuple(sorted(members.items()))


def _asked(lines: Lines, key: str) -> Ask | None:
    """The last line that asks for this key."""
    last = lines.keys.get(key)
    for glob in lines.globs:
        later = last is None or glob.ask.number > last.number
        if (later or not glob.matched) and glob.pattern.match(key):
            glob.matched = True
            last = glob.ask if later else last
    return last
