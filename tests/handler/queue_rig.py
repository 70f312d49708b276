"""A queue in memory for a bucket called ``b``, and bodies of its events."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus

from handler.clock import Clock
from handler.fake_sqs import FakeSqs, Hook
from handler.queue import SqsQueue
from handler.sqs import Sqs
from handler.store.opening import event_keys

BUCKET = "s3://b"
VISIBILITY = 90


def told(*keys: str, bucket: str = "b", name: str = "ObjectCreated:Put") -> str:
    """An event of S3's own form, one record a key."""
    records = [
        {"eventName": name, "s3": {"bucket": {"name": bucket}, "object": {"key": quote_plus(key)}}} for key in keys
    ]
    return json.dumps({"Records": records})


@dataclass
class Post:
    """The queue, a dead-letter queue beside it, and sources that receive from it."""

    clock: Clock
    sqs: FakeSqs = field(init=False)
    url: str = field(init=False)
    dead: str = field(init=False)

    def __post_init__(self) -> None:
        self.sqs = FakeSqs(self.clock)
        self.dead = self.sqs.make("dead")
        self.url = self.sqs.make("told", dead_letters="dead")

    def send(self, *bodies: str) -> None:
        for body in bodies:
            self.sqs.send(self.url, body)

    def source(
        self, *, client: FakeSqs | None = None, url: str = "", dead_letters: str = "dead", **given: Any
    ) -> SqsQueue:
        """A worker's source, in virtual time unless told otherwise."""
        connection = Sqs(client or self.sqs, url or self.url, dead_letters=dead_letters)
        given = {"visibility": VISIBILITY, "inline": True} | given
        return SqsQueue(connection, event_keys(BUCKET), self.clock, **given)

    def client(self, hook: Hook) -> FakeSqs:
        """One more connection, whose requests go wrong as ``hook`` says."""
        return self.sqs.client(hook)

    @property
    def left(self) -> list[str]:
        """What is still in the queue, hidden or not."""
        return self.sqs.bodies(self.url)
