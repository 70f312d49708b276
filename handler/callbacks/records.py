"""The objects of a callback: one that is to be delivered, and one that was, or was given up.

Takes what is sent and where; gives names under which they lie. Knows nothing of stores or networks.
"""

from __future__ import annotations

import hashlib
from typing import Literal
from urllib.parse import urlsplit

from pydantic import ValidationError

from handler.layout import digest_of
from handler.types import Subscriber
from pipeline.types import Frozen

KEPT_TRIES = 20
_DIGITS = 16  # hexadecimal, of the digest that tells deliveries of one input apart

Fate = Literal["delivered", "given_up"]


class Try(Frozen):
    """One attempt to deliver. ``outcome``: a status, or why there was none; never a word of what the receiver said."""

    attempt: int
    at: str
    worker: str
    outcome: str


class _Sent(Frozen):
    """``output``: the key, in the bucket, of what is sent; ``sha256`` of its bytes."""

    format: Literal[1] = 1
    sid: str
    key: str
    request_id: str
    url: str
    method: Literal["POST", "PUT"]
    output: str
    sha256: str


class Delivery(_Sent):
    """``callbacks/pending/<name>.json``: what is to be sent where. Written by create and swap only.

    ``attempts`` counts those begun. ``worker`` has it for ``lease_seconds`` from the object's last write; None: nobody
    has. ``not_before``: epoch seconds on the store's clock. ``given_up``: why nothing is sent any more.
    """

    created_at: str
    worker: str | None = None
    lease_seconds: float
    attempts: int = 0
    not_before: float | None = None
    tries: tuple[Try, ...] = ()
    given_up: str | None = None
    nonce: str = ""

    @property
    def message_id(self) -> str:
        """The same at every try; another one for other bytes, such as a result after an error."""
        return f"{self.request_id}-{self.sha256[:_DIGITS]}"

    def tried(self, one: Try) -> tuple[Try, ...]:
        return (*self.tries, one)[-KEPT_TRIES:]


class Delivered(_Sent):
    """``callbacks/done/<name>.json``: how a delivery ended. ``url`` without what may be secret in it."""

    outcome: Fate
    reason: str = ""
    attempts: int
    tries: tuple[Try, ...] = ()
    created_at: str
    finished_at: str


def delivery_name(subscriber: Subscriber, sha256: str) -> str:
    """Of both objects: the input, then a digest of what is sent and where. So a delivery of other bytes, or to another
    address, is another object, and whoever deletes a finished one deletes nothing else.
    """
    what = digest_of(sha256, subscriber.callback, subscriber.callback_method)
    return f"{subscriber.sid}-{what[:_DIGITS]}"


def sha256_of(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def parse_delivery(body: bytes) -> Delivery | None:
    """None if it is none of ours."""
    try:
        return Delivery.model_validate_json(body)
    except ValidationError:
        return None


def parse_delivered(body: bytes) -> Delivered | None:
    """As `parse_delivery`."""
    try:
        return Delivered.model_validate_json(body)
    except ValidationError:
        return None


def shown(url: str) -> str:
    """An address for logs and people: scheme and host. All else may be secret; a chat service's path is."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "(no address)"
    host = f"[{host}]" if ":" in host else host
    more = parts.path.strip("/") or parts.query or parts.fragment
    return f"{parts.scheme}://{host}{f':{port}' if port is not None else ''}/{'…' if more else ''}"
