"""Checks of what these credentials may do in a bucket, each verb that a worker needs; and of this machine's clock.

A small object is written under each prefix that a worker writes to, read, and deleted again. Recordings are listed, and
one is looked at; nothing of theirs is read, and nothing is written among them.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable

from handler.cli.bucket import Bucket
from handler.cli.doctor.finding import Context, Finding
from handler.errors import AccessDenied, NotFound
from handler.layout import is_recording
from handler.store.base import PAGE

_NAME = ".dropscribe-doctor-"  # a dot file: nobody takes it for a result
_SKEW_SECONDS = 5.0  # of a clock, beyond which times that people read are misleading
_REFUSED_SECONDS = 900.0  # beyond which S3 refuses signatures


def permissions(context: Context) -> Finding:
    bucket, layout = context.bucket, context.bucket.layout
    missing, left = _reading(bucket), []
    for prefix in (layout.state, layout.results, layout.progress, layout.errors):
        key = f"{prefix}{_NAME}{context.runtime.clock.new_id()}"
        lacks, is_left = _writing(bucket, prefix, key)
        missing += lacks
        left += [key] if is_left else []
    data = {"missing": missing, "left": left}
    if not missing:
        done = "list, read, write and delete are allowed where a worker does so"
        return Finding(status="ok", detail=done, data=data)
    advice = f"Allow these actions, or use other credentials: {', '.join(missing)}."
    if left:
        advice += f" What could be written and not deleted is left: {', '.join(map(bucket.where, left))}."
    return Finding(status="fail", detail=f"{len(missing)} permissions are missing", advice=advice, data=data)


def _reading(bucket: Bucket) -> list[str]:
    """Of the recordings: to list them, and to read one."""
    layout, store = bucket.layout, bucket.store
    try:
        page = list(itertools.islice(store.list(layout.input), PAGE))
    except AccessDenied:
        return [f"s3:ListBucket for {bucket.where(layout.input)}"]
    found = (info.key for info in page if is_recording(info.key.removeprefix(layout.input)))
    key = next(found, f"{layout.input}{_NAME}none")
    return _lacking("s3:GetObject", lambda: store.head(key), bucket.where(layout.input))


def _writing(bucket: Bucket, prefix: str, key: str) -> tuple[list[str], bool]:
    """The actions that are missing under a prefix; and whether an object is left there for want of one."""
    store, where = bucket.store, bucket.where(prefix)
    missing = _lacking("s3:PutObject", lambda: store.put(key, b"dropscribe doctor"), where)
    written = not missing
    missing += _lacking("s3:ListBucket", lambda: next(iter(store.list(prefix)), None), where)
    if written or len(missing) == 1:  # without s3:ListBucket, S3 refuses to tell of a key that is not there
        missing += _lacking("s3:GetObject", lambda: store.get(key), where)
    undeleted = _lacking("s3:DeleteObject", lambda: store.delete(key), where)
    return [*missing, *undeleted], written and bool(undeleted)


def _lacking(action: str, call: Callable[[], object], where: str) -> list[str]:
    try:
        with contextlib.suppress(NotFound):  # an answer of somebody who was let in
            call()
    except AccessDenied:
        return [f"{action} on {where}*" if action != "s3:ListBucket" else f"{action} for {where}"]
    return []


def clock(context: Context) -> Finding:
    """This machine's against the bucket's. Leases go by the latter alone; what people read, and S3's own signatures, do
    not.
    """
    bucket, clock = context.bucket, context.runtime.clock
    if bucket.local:
        return Finding(status="ok", detail="the bucket is a folder: its clock is this machine's")
    key = f"{bucket.layout.state}{_NAME}{clock.new_id()}"
    bucket.store.put(key, b"dropscribe doctor")
    try:
        before = clock.time()
        store_time = bucket.store.get(key).store_time
        after = clock.time()
    finally:
        bucket.store.delete(key)
    # The store's is in whole seconds: anything from that second on, to the next, is right.
    ahead = before - (store_time + 1) if before > store_time + 1 else min(0.0, after - store_time)
    data = {"ahead_seconds": round(ahead, 1)}
    if abs(ahead) <= _SKEW_SECONDS:
        return Finding(status="ok", detail="this machine's clock and the bucket's agree", data=data)
    how = "ahead of" if ahead > 0 else "behind"
    detail = f"this machine's clock is {abs(ahead):.0f} s {how} the bucket's"
    advice = "Set the clock (NTP, chrony): S3 refuses what is signed more than 15 minutes off."
    return Finding(status="fail" if abs(ahead) >= _REFUSED_SECONDS else "warn", detail=detail, advice=advice, data=data)
