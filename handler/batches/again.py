"""A settled batch made ready to be settled anew (``dropscribe retry``): which of its members are to be done again, and
what was decided of it taken back.

Takes a store and a batch; the members' own retry is the caller's (`handler.retry`). Its marker goes last of all, there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from pydantic import ValidationError

from handler.batches.plan import stored_plan
from handler.errors import NotFound
from handler.layout import Layout, member_key
from handler.overview import READERS, read_manifest
from handler.store.base import Store
from handler.types import BatchResult, Manifest, Outcome, Source


@dataclass(frozen=True, slots=True)
class AnInput:
    """What is to be done again: ``key`` is that of its outputs."""

    key: str
    sid: str


def own_members(store: Store, layout: Layout, batch_key: str) -> Iterator[Manifest]:
    """The manifests of members with options, of every version of the batch: those that somebody began. A GET each."""
    keys = [info.key for info in store.list(layout.progress + member_key(batch_key, ""))]
    names = [key.removeprefix(layout.progress).removesuffix(".json") for key in keys if key.endswith(".json")]
    if names:
        with ThreadPoolExecutor(READERS) as readers:
            manifests = readers.map(partial(read_manifest, store, layout), names)
            yield from (m for name, m in zip(names, manifests, strict=True) if m is not None and m.key == name)


def members_again(store: Store, layout: Layout, batch: Source, ended: Collection[Outcome]) -> Iterator[AnInput]:
    """The members that may have ended so, as the batch's result has it: with options any of them, without only those
    that failed. Without a result (it was cancelled) all with options that somebody began.
    """
    try:
        result = BatchResult.model_validate_json(store.get(layout.result_key(batch.key)).body)
    except (NotFound, ValidationError):
        result = None
    if result is None or result.source_id != batch.sid:
        yield from (AnInput(one.key, one.source_id) for one in own_members(store, layout, batch.key))
        return
    for row in result.members:
        if row.status not in ended or (row.options is None and row.status != "failed"):
            continue
        try:
            recording = layout.source(store.head(layout.input_key(row.key)))
        except NotFound:
            continue
        if row.options is None:
            yield AnInput(row.key, recording.sid)
        else:
            yield AnInput(member_key(batch.key, row.key), layout.member(batch, recording, row.options)[0])


def take_back(store: Store, layout: Layout, batch: Source) -> None:
    """The result and the last manifest go; of a batch that failed as a whole the plan goes, too: it is made anew."""
    plan, _ = stored_plan(store, layout, batch.sid)
    if plan is None or plan.error is not None:
        store.delete(layout.plan_key(batch.sid))
    store.delete(layout.result_key(batch.key))
    store.delete(layout.progress_key(batch.key))
