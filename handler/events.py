"""Bucket events in any of the forms in which they arrive, by shape: which objects were created, which removed.

Takes the body of a queue's message or of a webhook's post; gives the objects it speaks of. Sources of the forms: the
S3 event message structure 2.x, Amazon EventBridge's "Object Created", SNS notifications with and without raw delivery,
and the webhook target of MinIO (RustFS sends the same). An event is a hint: nobody believes more of it than the name.
Knows nothing of queues, layouts or jobs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus, unquote_plus

from handler.errors import HandlerError

_DEEPEST = 4  # envelopes in envelopes: SNS in SNS, with a margin
_LONGEST = 1 << 20  # characters; SQS and SNS carry at most 1 MiB
# MinIO counts changes of an object's tags and locks among these.
_NOT_CREATED = tuple(
    f"ObjectCreated:{change}" for change in ("PutTagging", "DeleteTagging", "PutRetention", "PutLegalHold")
)


class NotAnEvent(HandlerError):
    """A body that no form fits; ``message`` says why."""

    code = "NOT_AN_EVENT"


@dataclass(frozen=True, slots=True)
class ObjectEvent:
    """One object that was created, or with ``removed`` deleted. ``key`` is as the bucket has it, decoded."""

    bucket: str
    key: str
    removed: bool = False


def parse_events(body: str | bytes) -> tuple[ObjectEvent, ...]:
    """The objects that ``body`` speaks of, in its order, each once.

    Empty for what is an event but tells of no object: test events, subscription confirmations, tagging and the like.
    `NotAnEvent` for everything else.
    """
    if len(body) > _LONGEST:
        raise NotAnEvent(f"the message has {len(body):,} characters")
    try:
        text = body.decode("utf-8") if isinstance(body, bytes) else body
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotAnEvent(f"the message is not JSON: {error}") from error
    return tuple(dict.fromkeys(_events(value, 0)))


def created_event(bucket: str, key: str) -> str:
    """A message that says of one object what S3's own would: for what S3 told nobody of."""
    named = {"bucket": {"name": bucket}, "object": {"key": quote_plus(key)}}
    record = {"eventSource": "dropscribe:sweep", "eventName": "ObjectCreated:Put", "s3": named}
    return json.dumps({"Records": [record]}, separators=(",", ":"))


def _events(value: Any, depth: int) -> Iterator[ObjectEvent]:
    if depth > _DEEPEST:
        raise NotAnEvent("the message is wrapped too often")
    if not isinstance(value, dict):
        raise NotAnEvent(f"the message is a JSON {type(value).__name__}, not an object")
    if isinstance(value.get("Records"), list):
        for record in value["Records"]:
            yield from _record(record, depth)
    elif value.get("Event") == "s3:TestEvent":
        return
    elif "detail-type" in value or "detail" in value:
        yield from _eventbridge(value)
    elif isinstance(value.get("Message"), str) and ("TopicArn" in value or value.get("Type") == "Notification"):
        if value.get("Type") in (None, "Notification"):
            yield from _events(_inner(value["Message"]), depth + 1)
    else:
        raise NotAnEvent("the message has no form of a bucket's event")


def _record(record: Any, depth: int) -> Iterator[ObjectEvent]:
    """One of ``Records``: S3's own form and the webhooks'; or an envelope, where a function forwarded its input."""
    if not isinstance(record, dict):
        raise NotAnEvent("a record of the message is not an object")
    if isinstance(record.get("body"), str):  # an SQS record as functions are given them
        yield from _events(_inner(record["body"]), depth + 1)
        return
    if isinstance(record.get("Sns"), dict) and isinstance(record["Sns"].get("Message"), str):
        yield from _events(_inner(record["Sns"]["Message"]), depth + 1)
        return
    s3 = record.get("s3")
    if not isinstance(s3, dict):
        raise NotAnEvent("a record of the message does not come from a bucket")
    kind = _kind(record.get("eventName"))
    if kind is not None:
        bucket, key = _named(s3)
        # Keys are form-encoded here: a space is a plus, a plus is %2B.
        yield ObjectEvent(
            bucket, unquote_plus(key, errors="strict") if _decodes(key) else key, removed=kind == "removed"
        )


def _eventbridge(value: dict[str, Any]) -> Iterator[ObjectEvent]:
    kind, detail = value.get("detail-type"), value.get("detail")
    if not isinstance(kind, str) or not isinstance(detail, dict):
        raise NotAnEvent("the message looks like EventBridge's but has no detail")
    if kind in ("Object Created", "Object Deleted"):
        yield ObjectEvent(*_named(detail), removed=kind == "Object Deleted")  # keys are raw here


def _kind(name: Any) -> str | None:
    """``created``, ``removed``, or None for what changes no recording. MinIO's names begin with ``s3:``."""
    if not isinstance(name, str):
        raise NotAnEvent("a record of the message has no eventName")
    plain = name.removeprefix("s3:")
    if plain.startswith("ObjectCreated:") and not plain.startswith(_NOT_CREATED):
        return "created"
    return "removed" if plain.startswith(("ObjectRemoved:", "LifecycleExpiration:")) else None


def _named(holder: dict[str, Any]) -> tuple[str, str]:
    bucket, object_ = holder.get("bucket"), holder.get("object")
    name = bucket.get("name") if isinstance(bucket, dict) else None
    key = object_.get("key") if isinstance(object_, dict) else None
    if not isinstance(name, str) or not isinstance(key, str) or not name or not key:
        raise NotAnEvent("a record of the message names no bucket or no key")
    return name, key


def _decodes(key: str) -> bool:
    try:
        unquote_plus(key, errors="strict")
    except UnicodeDecodeError:
        return False
    return True


def _inner(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotAnEvent(f"what the message wraps is not JSON: {error}") from error
