"""What a queue should hold and does not: found by the scan, told to it again.

Where workers run only while a queue has messages, an event that was lost is a recording that nobody ever looks at.
Takes a store and the connection to its queue; sends a message for each recording and batch that is not settled and that
the queue cannot be holding. Transcribes nothing, and knows nothing of workers: a message too many costs a look.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from itertools import islice

from handler.clock import Clock
from handler.errors import NotFound
from handler.events import created_event
from handler.layout import Layout
from handler.sqs import Sqs
from handler.store.base import Store
from handler.store.opening import event_names
from handler.watch import Candidate, scan
from pipeline.types import Frozen

log = logging.getLogger(__name__)

SILENT_SECONDS = 900.0  # a manifest that is older tells of a worker that is gone
LONG_SECONDS = 6 * 3600.0  # of waiting, after which an input is told of whatever the queue seems to hold
AT_MOST = 10  # of these in a sweep


class Told(Frozen):
    """``unsettled``: recordings and batches. ``held``: messages that the queue had, about. ``sent``: those added."""

    unsettled: int
    held: int
    sent: int


def tell_missed(store: Store, layout: Layout, sqs: Sqs, clock: Clock) -> Told:
    """One scan, and a message for each of the oldest inputs that the queue cannot be holding and nobody is at.

    Which inputs its messages are about cannot be asked; only how many there are. So as many are told as there are
    inputs beyond the messages: a queue with a backlog is not doubled by each sweep, and one that lost something has it
    again, at the latest when all that was dropped before it is done. Messages may also be about other things, so what
    has waited for long is told in any case, a few at a time. An input that a worker is at is passed over: a message
    about it would bring a second worker, which could only wait. `Usage` for a store that sends no events, `StoreError`,
    and what `Sqs.send` raises.
    """
    named = event_names(store.url)
    held = sqs.held()  # before the scan: what is finished in between is no longer unsettled
    seen = scan(store, layout)
    waiting = sorted((*seen.candidates, *seen.batches), key=lambda one: (one.since, one.source.key))
    long = sum(one.since < clock.time() - LONG_SECONDS for one in waiting)
    most = max(len(waiting) - held, min(long, AT_MOST))
    chosen = list(islice(_unattended(store, layout, waiting), most))
    sqs.send([created_event(*named(layout.input_key(one.source.key))) for one in chosen])
    log.info("sweep: %d not settled, %d messages were there, %d sent", len(waiting), held, len(chosen))
    return Told(unsettled=len(waiting), held=held, sent=len(chosen))


def _unattended(store: Store, layout: Layout, waiting: Sequence[Candidate]) -> Iterator[Candidate]:
    """Those that no worker is at, by their manifests: a read for each that is looked at."""
    return (one for one in waiting if not _attended(store, layout, one))


def _attended(store: Store, layout: Layout, one: Candidate) -> bool:
    try:
        found = store.get(layout.progress_key(one.source.key))
        manifest = json.loads(found.body)
    except (NotFound, ValueError):
        return False
    if found.age > SILENT_SECONDS or not isinstance(manifest, dict):
        return False
    return manifest.get("status") == "processing" and manifest.get("source_id") == one.sid
