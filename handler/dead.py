"""Dead letters: jobs that failed for good, as ``dead/`` keeps them, and their being tried again.

Takes a store, a layout and `Retry`; gives rows, newest first. Inputs that failed before there was a job (wrong options,
an empty file) have no letter here; `handler.retry` takes those, too.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor

from pydantic import ValidationError

from handler.errors import NotFound
from handler.layout import Layout
from handler.overview import READERS
from handler.retry import Retried, Retry
from handler.store.base import Store
from handler.types import JobRecord, Subscriber
from pipeline.types import Frozen

log = logging.getLogger(__name__)


class DeadLetter(Frozen):
    """``at``: when it failed for the last time (ISO 8601); None for a job that only ever lost its workers.

    ``waiting``: the inputs that it failed for, each in the version that was dropped then.
    """

    jid: str
    keys: tuple[str, ...]
    error_class: str
    message: str
    hint: str
    retryable: bool
    attempts: int
    takeovers: int
    at: str | None
    waiting: tuple[Subscriber, ...]


def dead_letters(store: Store, layout: Layout) -> list[DeadLetter]:
    """Those whose job is dead still: a listing, and two GETs for each. Dropped again, it may be under way or done."""
    prefix = layout.dead_key("").removesuffix(".json")

    def read(key: str) -> DeadLetter | None:
        letter = _read(store, key)
        return letter if letter is not None and _is_dead(store, layout, letter.jid) else None

    with ThreadPoolExecutor(READERS) as readers:
        found = readers.map(read, [info.key for info in store.list(prefix)])
        return sorted((one for one in found if one is not None), key=lambda one: (one.at or "", one.jid), reverse=True)


def retry_dead(letters: Collection[DeadLetter], retry: Retry, keys: Collection[str] | None = None) -> Iterator[Retried]:
    """Have them tried again: all inputs that are still there in the version that failed, or those with ``keys``. Of a
    batch's member with options both must be there, the recording and the batch.
    """
    for letter in letters:
        for subscriber in letter.waiting:
            if keys is None or subscriber.key in keys:
                retried = retry.failed(subscriber)
                if retried is not None:
                    yield retried


def _is_dead(store: Store, layout: Layout, jid: str) -> bool:
    """Without a record that can be read the letter is believed."""
    try:
        return JobRecord.model_validate_json(store.get(layout.job_key(jid)).body).state == "dead"
    except (NotFound, ValidationError):
        return True


def _read(store: Store, key: str) -> DeadLetter | None:
    try:
        record = JobRecord.model_validate_json(store.get(key).body)
    except NotFound:
        return None
    except ValidationError:
        log.warning("%s is unreadable", key)
        return None
    error = record.error
    return DeadLetter(
        jid=record.jid,
        keys=tuple(subscriber.key for subscriber in record.subscribers),
        error_class=error.error_class if error is not None else "unknown",
        message=error.message if error is not None else "",
        hint=error.hint if error is not None else "",
        retryable=error is not None and error.retryable,
        attempts=record.attempts,
        takeovers=record.takeovers,
        at=record.failures[-1].at if record.failures else None,
        waiting=record.subscribers,
    )
