"""Checks of a bucket: it answers, it lists, and it keeps the promises that the protocol rests on."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

from handler.cli.bucket import Bucket, folder_of
from handler.cli.doctor.finding import Context, Finding
from handler.errors import NotFound
from handler.layout import is_recording
from handler.store.base import PAGE
from handler.store.probe import probe


def bucket_answers(context: Context) -> Finding:
    bucket = context.bucket
    started = context.runtime.clock.monotonic()
    with contextlib.suppress(NotFound):  # an answer like any other
        bucket.store.get(f"{bucket.layout.state}doctor")
    milliseconds = (context.runtime.clock.monotonic() - started) * 1000
    return Finding(status="ok", detail=f"{bucket.store.url} answers in {milliseconds:.0f} ms")


def inputs_can_be_listed(context: Context) -> Finding:
    layout, store = context.bucket.layout, context.bucket.store
    if (led := _led_out(context.bucket)) is not None:
        return Finding(
            status="fail",
            detail=f"{context.bucket.where(layout.input)} leads out of the bucket, to {led}: nothing in it is seen",
            advice="Make it a folder of its own; mount (bind) the other one there, or give its parent as the bucket.",
        )
    page = list(itertools.islice(store.list(layout.input), PAGE))
    count = sum(is_recording(info.key.removeprefix(layout.input)) for info in page)
    where = context.bucket.where(layout.input)
    if not count:
        return Finding(
            status="ok", detail=f"none yet in {where}", advice="`dropscribe submit` drops some, or copy them there."
        )
    return Finding(status="ok", detail=f"{count}{' or more' if len(page) == PAGE else ''} in {where}")


def _led_out(bucket: Bucket) -> Path | None:
    """Where a link in the place of the input folder leads to, if that is not in the bucket."""
    folder = folder_of(bucket.store)
    if folder is None:
        return None
    led = (folder / bucket.layout.input).resolve()
    return None if led.is_relative_to(folder.resolve()) else led


def bucket_is_safe(context: Context) -> Finding:
    """What a worker asks before it starts: create-if-absent and compare-and-swap are honoured."""
    bucket = context.bucket
    probe(bucket.store, context.runtime.clock, prefix=f"{bucket.layout.state}probe/")
    return Finding(status="ok", detail="create-if-absent and compare-and-swap are honoured")
