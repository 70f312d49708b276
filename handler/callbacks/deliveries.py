"""One delivery, from its object in the bucket to its end: made, taken, tried, put back or finished.

Whoever tries has taken it by a compare-and-swap, for a lease on the store's clock, so that workers side by side do not
send the same, and what a killed one was at is taken over. Knows nothing of when to look or of threads (`courier`), nor
of networks (`Send`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from handler.callbacks.records import Delivered, Delivery, Fate, Try, delivery_name, parse_delivery, sha256_of, shown
from handler.callbacks.signing import headers, parse_secrets
from handler.callbacks.transport import Answer
from handler.clock import Clock
from handler.errors import NotFound
from handler.job import EXPIRY_SLACK
from handler.layout import Layout
from handler.settings import Settings
from handler.store.base import Found, Store
from handler.store.swap import Conflict, put_record
from handler.types import Subscriber, canonical_json
from pipeline.formats.times import iso_time

log = logging.getLogger(__name__)

LEASE_MARGIN = 30.0  # seconds of a lease beyond a try's own, for the requests around it
LOOK_AGAIN_SECONDS = 5.0  # at one that somebody else has

Send = Callable[[str, str, bytes, Mapping[str, str]], Answer]
"""URL, method, body, headers: one try. See `handler.callbacks.transport.Transport.send`."""


@dataclass(frozen=True, slots=True)
class Held:
    """A delivery that is this worker's to try. ``since``: monotonic seconds before the write that took it was sent;
    ``store_time``: the store's epoch seconds then.
    """

    delivery: Delivery
    etag: str
    since: float
    store_time: float


class Deliveries:
    """In the name of ``worker``, which no other process may have. Every method may raise the store's errors."""

    def __init__(
        self, store: Store, layout: Layout, settings: Settings, clock: Clock, *, worker: str, send: Send
    ) -> None:
        self._store = store
        self._layout = layout
        self._clock = clock
        self._worker = worker
        self._send = send
        secret = settings.callback_secret
        self._keys = parse_secrets(secret.get_secret_value()) if secret is not None else ()
        self._most = 1 + settings.callback_retries
        self._pause = settings.callback_seconds
        self._timeout = settings.callback_timeout_seconds

    # ── making ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def make(
        self, subscriber: Subscriber, request_id: str, output: str, body: bytes, store_time: float
    ) -> tuple[str, Held | None] | None:
        """Its name, and the delivery, taken already; None in the latter's place if it was there before. None if these
        bytes were delivered there before, or given up.
        """
        assert subscriber.callback is not None
        sha256 = sha256_of(body)
        name = delivery_name(subscriber, sha256)
        if self._is_done(name):
            return None
        delivery = Delivery(
            sid=subscriber.sid, key=subscriber.key, request_id=request_id, url=subscriber.callback,
            method=subscriber.callback_method, output=output, sha256=sha256, created_at=iso_time(store_time),
            worker=self._worker, lease_seconds=self._timeout + LEASE_MARGIN, attempts=1,
        )  # fmt: skip
        try:
            return name, self._write(name, delivery, None, store_time)
        except Conflict:
            return name, None

    def _is_done(self, name: str) -> bool:
        try:
            self._store.head(self._layout.delivered_key(name))
        except NotFound:
            return False
        return True

    # ── trying ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def deliver(self, name: str, held: Held | None = None) -> float | None:
        """One try, if it is due and nobody else has it. Gives the seconds until it makes sense to look again; None when
        it is over, infinity for an object that is none of ours.
        """
        if held is None or not self._is_fresh(held):
            taken = self._take(name)
            if not isinstance(taken, Held):
                return taken
            held = taken
        if held.delivery.given_up is not None:  # its worker was killed before it had finished
            self._finish(name, held.delivery, "given_up", self._now(held))
            return None
        if held.delivery.attempts > self._most:  # likewise
            return self._give_up(name, held, f"{self._most} tries failed; the last was not seen to its end")
        return self._try(name, held)

    def _now(self, held: Held) -> float:
        """The store's epoch seconds."""
        return held.store_time + self._clock.monotonic() - held.since

    def _is_fresh(self, held: Held) -> bool:
        return self._clock.monotonic() - held.since < LEASE_MARGIN / 2

    def _take(self, name: str) -> Held | float | None:
        try:
            found = self._store.get(self._layout.pending_key(name))
        except NotFound:
            return None
        delivery = parse_delivery(found.body)
        if delivery is None:
            log.warning("callbacks/pending/%s.json is unreadable, and is left alone", name)
            return math.inf
        left = self._left(delivery, found)
        if left > 0:
            return left
        mine = delivery.model_copy(
            update={
                "worker": self._worker, "lease_seconds": self._timeout + LEASE_MARGIN, "not_before": None,
                "attempts": min(delivery.attempts, self._most) + 1,
            }
        )  # fmt: skip
        try:
            return self._write(name, mine, found.etag, found.store_time)
        except Conflict as conflict:
            return None if conflict.found is None else LOOK_AGAIN_SECONDS

    def _left(self, delivery: Delivery, found: Found) -> float:
        """Seconds until it may be taken, or may be over: who has it is hardly at it for as long as its lease. A Date
        that was wrong for one answer puts it off by no more than a pause.
        """
        if delivery.worker is not None and delivery.worker != self._worker:
            alive = found.age <= delivery.lease_seconds + EXPIRY_SLACK
            return LOOK_AGAIN_SECONDS if alive else 0.0
        if delivery.not_before is None:
            return 0.0
        return min(delivery.not_before - found.store_time, self._pause + EXPIRY_SLACK - found.age)

    def _try(self, name: str, held: Held) -> float | None:
        delivery = held.delivery
        try:
            found = self._store.get(delivery.output)
        except NotFound:
            return self._give_up(name, held, "what was to be sent is not there any more")
        if sha256_of(found.body) != delivery.sha256:
            return self._give_up(name, held, "what was to be sent was replaced by a newer one")
        sent = {
            "Content-Type": "application/json",
            "User-Agent": "dropscribe",
            "dropscribe-request-id": delivery.request_id,
            **headers(self._keys, delivery.message_id, int(found.store_time), found.body),
        }
        return self._after(name, held, self._send(delivery.url, delivery.method, found.body, sent))

    def _after(self, name: str, held: Held, answer: Answer) -> float | None:
        delivery, now = held.delivery, self._now(held)
        if answer.aborted:
            return self._put_back(name, held, {"attempts": delivery.attempts - 1})
        one = Try(attempt=delivery.attempts, at=iso_time(now), worker=self._worker, outcome=answer.outcome)
        if answer.delivered:
            tried = delivery.model_copy(update={"tries": delivery.tried(one)})
            self._finish(name, tried, "delivered", now)
            return None
        if answer.hopeless:
            return self._give_up(name, held, answer.outcome, one)
        if delivery.attempts >= self._most:
            reason = f"{delivery.attempts} tries failed; the last: {answer.outcome}"
            return self._give_up(name, held, reason, one)
        log.warning(
            "%s: callback to %s: %s; try %d of %d, the next one follows in %g s",
            delivery.key, shown(delivery.url), answer.outcome, delivery.attempts, self._most, self._pause,
        )  # fmt: skip
        return self._put_back(name, held, {"tries": delivery.tried(one), "not_before": now + self._pause})

    # ── ending ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _put_back(self, name: str, held: Held, changes: Mapping[str, Any]) -> float | None:
        again = held.delivery.model_copy(update={"worker": None, **changes})
        try:
            self._write(name, again, held.etag, self._now(held))
        except Conflict as conflict:  # taken over, which was too slow of us; or finished by then
            return None if conflict.found is None else LOOK_AGAIN_SECONDS
        return self._pause if again.not_before is not None else 0.0

    def _give_up(self, name: str, held: Held, reason: str, one: Try | None = None) -> float | None:
        """A swap first: whoever has taken it over meanwhile may have delivered it, and that is what must stand."""
        tries = held.delivery.tries if one is None else held.delivery.tried(one)
        over = held.delivery.model_copy(update={"worker": None, "given_up": reason, "tries": tries})
        try:
            self._write(name, over, held.etag, self._now(held))
        except Conflict as conflict:
            return None if conflict.found is None else LOOK_AGAIN_SECONDS
        self._finish(name, over, "given_up", self._now(held))
        return None

    def _finish(self, name: str, delivery: Delivery, fate: Fate, now: float) -> None:
        """First what tells that it is over, then the delivery goes."""
        done = Delivered(
            sid=delivery.sid, key=delivery.key, request_id=delivery.request_id, url=shown(delivery.url),
            method=delivery.method, output=delivery.output, sha256=delivery.sha256, outcome=fate,
            reason=delivery.given_up or "", attempts=min(delivery.attempts, self._most), tries=delivery.tries,
            created_at=delivery.created_at, finished_at=iso_time(now),
        )  # fmt: skip
        self._store.put(self._layout.delivered_key(name), canonical_json(done.model_dump(mode="json")))
        self._store.delete(self._layout.pending_key(name))
        if fate == "delivered":
            log.info("%s: callback to %s: %s", done.key, done.url, done.tries[-1].outcome)
        else:
            log.error("%s: callback to %s given up: %s", done.key, done.url, done.reason)

    def _write(self, name: str, delivery: Delivery, etag: str | None, store_time: float) -> Held:
        started = self._clock.monotonic()
        fields = delivery.model_dump(mode="json", exclude={"nonce"})
        written = put_record(self._store, self._layout.pending_key(name), fields, etag=etag, clock=self._clock)
        return Held(delivery, written.etag, started, store_time)
