"""A bucket with one result, one delivery of it, and workers that try."""

from __future__ import annotations

from typing import Any

from callback_rig import Scripted

from handler.callbacks.deliveries import Deliveries, Held
from handler.callbacks.records import Delivered, Delivery, delivery_name, sha256_of
from handler.callbacks.transport import Answer
from handler.clock import VirtualClock
from handler.layout import Layout
from handler.settings import Settings
from handler.store.memory import MemoryStore
from handler.types import Subscriber

URL = "https://me:hunter2@hooks.example/transcripts?token=s3cret"
OUTPUT, BODY = "results/a.wav.json", b'{"metadata":{"request_id":"r"},"results":{}}'
SETTINGS = Settings()
WAITS = Subscriber(sid="5" * 64, key="a.wav", queued_at="", callback=URL)
NAME = delivery_name(WAITS, sha256_of(BODY))


class Bench:
    """A bucket with one result, and those who deliver it."""

    def __init__(self, *answers: Answer, **changes: Any) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore(self.clock)
        self.layout = Layout.of(self.store.url, SETTINGS)
        self.settings = SETTINGS.model_copy(update=changes)
        self.network = Scripted(list(answers))
        self.store.drop(OUTPUT, BODY)

    def by(self, worker: str, store: MemoryStore | None = None, network: Scripted | None = None) -> Deliveries:
        send = (network or self.network).send
        return Deliveries(store or self.store, self.layout, self.settings, self.clock, worker=worker, send=send)

    def made(self, worker: str = "one", waits: Subscriber = WAITS, body: bytes = BODY) -> Held | None:
        made = self.by(worker).make(waits, "r-1", OUTPUT, body, self.clock.time())
        return made[1] if made is not None else None

    def pending(self, name: str = NAME) -> Delivery | None:
        body = self.store.peek(self.layout.pending_key(name))
        return None if body is None else Delivery.model_validate_json(body)

    def done(self, name: str = NAME) -> Delivered | None:
        body = self.store.peek(self.layout.delivered_key(name))
        return None if body is None else Delivered.model_validate_json(body)

    def to_the_end(self, worker: str = "one", held: Held | None = None) -> list[float]:
        """The waits between tries."""
        waits: list[float] = []
        while (again := self.by(worker).deliver(NAME, held)) is not None:
            held = None
            waits.append(again)
            self.clock.sleep(again)
        return waits
