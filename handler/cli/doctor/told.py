"""Checks of the queue that tells of recordings: it answers, these credentials may use it, and the bucket tells it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from handler.aws import boto_session
from handler.cli.doctor.finding import Context, Finding
from handler.errors import AccessDenied, Usage
from handler.sqs import FEW_RECEIVES, told
from handler.wiring import QueueFacts, notified, queue_facts

T = TypeVar("T")


def queue(context: Context) -> Finding:
    facts = _facts(context)
    data = facts.model_dump(mode="json")
    detail = f"{facts.waiting} messages wait, {facts.held} are being worked on"
    if facts.denied:
        advice = f"Allow these actions on {facts.arn or facts.url}: {', '.join(facts.denied)}."
        return Finding(status="fail", detail=f"{detail}; permissions are missing", advice=advice, data=data)
    advice = " ".join(_advice(facts))
    return Finding(status="warn" if advice else "ok", detail=detail, advice=advice, data=data)


def _advice(facts: QueueFacts) -> list[str]:
    found = []
    if not facts.dead_letters:
        found.append("It has no dead-letter queue: messages that are no events are only logged.")
    elif facts.receives is not None and facts.receives < FEW_RECEIVES:
        found.append(
            f"Its maxReceiveCount is {facts.receives}: messages of jobs under way would be put away. Give it "
            f"{FEW_RECEIVES} or more."
        )
    if facts.in_order:
        found.append("It is a FIFO queue: messages of a group wait for one another. Use a standard queue.")
    return found


def notifications(context: Context) -> Finding:
    """Whether the bucket tells that queue of its recordings, by its own configuration."""
    bucket = context.bucket
    name, _, path = bucket.store.url.removeprefix("s3://").partition("/")
    prefix = f"{path}/{bucket.layout.input}" if path else bucket.layout.input
    arn = _facts(context).arn
    try:
        found = _asked("s3", lambda client: notified(client, name, prefix, arn))
    except AccessDenied as error:  # no worker needs to know
        return Finding(status="warn", detail=error.message, advice=error.hint)
    data = found.model_dump(mode="json")
    if found.queue and found.partly:
        advice = f"Have it tell of s3:ObjectCreated:* under {prefix}; the scan finds the rest, later."
        return Finding(status="warn", detail=f"{name} tells the queue {found.partly}", advice=advice, data=data)
    if found.queue:
        advice = f"It does so {found.widely}: results send messages too. Narrow it to {prefix}." if found.widely else ""
        return Finding(
            status="warn" if advice else "ok", detail=f"{name} tells the queue of {prefix}", advice=advice, data=data
        )
    if found.others:
        detail = f"{name} tells {', '.join(found.others)}, not the queue itself"
        advice = "See that they tell the queue; `dropscribe submit` a recording and watch it, to be sure."
        return Finding(status="warn", detail=detail, advice=advice, data=data)
    advice = f"Add a notification for s3:ObjectCreated:* under {prefix} to {arn}, and let s3.amazonaws.com send to it."
    return Finding(status="fail", detail=f"{name} does not tell the queue of anything", advice=advice, data=data)


def _facts(context: Context) -> QueueFacts:
    name = context.queue
    assert name is not None
    return _asked("sqs", lambda client: queue_facts(client, name))


def _asked(service: str, ask: Callable[[Any], T]) -> T:
    try:
        client = boto_session().client(service)
    except Exception as error:
        raise Usage(
            f"the client of {service} cannot be made: {told(error)}", "Set AWS_REGION and credentials."
        ) from error
    try:
        return ask(client)
    finally:
        client.close()
