"""A queue in memory for a bucket called ``b``, bodies of its events, and what goes wrong with its requests."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus

from handler.clock import Clock
from handler.fake_sqs import FakeSqs, Hook, SqsError
from handler.queue import Message, SqsQueue
from handler.sqs import Sqs
from handler.store.opening import event_keys

BUCKET = "s3://b"
VISIBILITY = 90
NEVER = threading.Event()


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


def only(source: SqsQueue) -> Message:
    """The one message that comes."""
    messages = source.wait(20, NEVER)
    assert messages is not None
    [message] = messages
    return message


def failing(*methods: str, times: int = 10**9, phase: str = "before") -> Callable[..., None]:
    """A hook that lets requests of these kinds fail."""
    left = [times]

    def hook(method: str, given: dict[str, Any], when: str) -> None:
        if method in methods and when == phase and left[0]:
            left[0] -= 1
            raise SqsError("InternalError", "no answer")

    return hook
