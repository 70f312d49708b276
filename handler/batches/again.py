"""A settled batch made ready to be settled anew (``dropscribe retry``): which of its members failed, and what was
decided of it taken back.

Takes a store and a batch; the members' own retry is the caller's (`handler.retry`). Its marker goes last of all, there.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

from handler.batches.plan import stored_plan
from handler.errors import NotFound
from handler.layout import Layout, member_key
from handler.store.base import Store
from handler.types import BatchResult, Source


def failed_members(store: Store, layout: Layout, batch: Source) -> Iterator[Source]:
    """Those whose recordings are still there, as the inputs that they are: ``key`` is that of their outputs."""
    try:
        result = BatchResult.model_validate_json(store.get(layout.result_key(batch.key)).body)
    except (NotFound, ValidationError):
        return
    if result.source_id != batch.sid:
        return
    for row in result.members:
        if row.status != "failed":
            continue
        try:
            recording = layout.source(store.head(layout.input_key(row.key)))
        except NotFound:
            continue
        if row.options is None:
            yield recording
        else:
            sid, _ = layout.member(batch, recording, row.options)
            yield recording.model_copy(update={"sid": sid, "key": member_key(batch.key, row.key)})


def take_back(store: Store, layout: Layout, batch: Source) -> None:
    """The result and the last manifest go; of a batch that failed as a whole the plan goes, too: it is made anew."""
    plan, _ = stored_plan(store, layout, batch.sid)
    if plan is None or plan.error is not None:
        store.delete(layout.plan_key(batch.sid))
    store.delete(layout.result_key(batch.key))
    store.delete(layout.progress_key(batch.key))
