"""Whether a queue is told what is dropped into a bucket, and whether a worker may do with it what it has to.

Takes boto3's clients; gives what is configured, and the IAM actions that are missing. Sends nothing, deletes nothing;
one message may be received, which is visible to all again at once. Follows events no further than to the bucket's own
configuration.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from handler.errors import AccessDenied, Unavailable
from handler.sqs import FIFO, code_of, told, translated
from pipeline.types import Frozen

_ATTRIBUTES = ["QueueArn", "RedrivePolicy", "ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
_NO_RECEIPT = "dropscribe-doctor"  # of no message: whoever may delete hears that it is none
_NEEDED = ("s3:ObjectCreated:Put", "s3:ObjectCreated:CompleteMultipartUpload")


class QueueFacts(Frozen):
    """``waiting``, ``held``: messages, about. ``dead_letters``: ARN, empty where there is none; ``receives``: after so
    many a message goes there. ``denied``: IAM actions that a worker needs and that these credentials lack.
    """

    url: str
    arn: str
    waiting: int
    held: int
    dead_letters: str = ""
    receives: int | None = None
    denied: tuple[str, ...] = ()

    @property
    def in_order(self) -> bool:
        return self.url.endswith(FIFO)


class Notified(Frozen):
    """How a bucket tells of what is dropped. ``queue``: it tells the queue itself; ``others``: it tells topics or
    EventBridge, which may. ``partly``: why not of all recordings, ``widely``: why of more than these; empty otherwise.
    """

    queue: bool = False
    others: tuple[str, ...] = ()
    partly: str = ""
    widely: str = ""


def queue_facts(client: Any, name: str) -> QueueFacts:
    """Of the queue by its URL or name. `Usage`, `AccessDenied` for sqs:GetQueueAttributes, `Unavailable`."""
    try:
        url = name if "://" in name else client.get_queue_url(QueueName=name)["QueueUrl"]
        found = client.get_queue_attributes(QueueUrl=url, AttributeNames=_ATTRIBUTES)["Attributes"]
    except Exception as error:
        raise translated(name, error) from error
    redrive = _object(found.get("RedrivePolicy", ""))
    receives = redrive.get("maxReceiveCount")
    return QueueFacts(
        url=url,
        arn=found.get("QueueArn", ""),
        waiting=int(found.get("ApproximateNumberOfMessages", 0)),
        held=int(found.get("ApproximateNumberOfMessagesNotVisible", 0)),
        dead_letters=str(redrive.get("deadLetterTargetArn", "")),
        receives=int(receives) if receives is not None else None,
        denied=_denied(client, url),
    )


def _denied(client: Any, url: str) -> tuple[str, ...]:
    calls: dict[str, Callable[[], Any]] = {
        "sqs:ReceiveMessage": lambda: client.receive_message(
            QueueUrl=url, MaxNumberOfMessages=1, VisibilityTimeout=0, WaitTimeSeconds=0
        ),
        "sqs:DeleteMessage": lambda: client.delete_message(QueueUrl=url, ReceiptHandle=_NO_RECEIPT),
        "sqs:ChangeMessageVisibility": lambda: client.change_message_visibility(
            QueueUrl=url, ReceiptHandle=_NO_RECEIPT, VisibilityTimeout=0
        ),
    }
    return tuple(action for action, call in calls.items() if _is_denied(call))


def _is_denied(call: Callable[[], Any]) -> bool:
    try:
        call()
    except Exception as error:  # any other answer is one of somebody who was let in
        return "AccessDenied" in code_of(error)
    return False


def notified(client: Any, bucket: str, prefix: str, arn: str) -> Notified:
    """``prefix``: of the recordings, in the bucket; ``arn``: the queue's. `AccessDenied`, `Unavailable`."""
    try:
        found = client.get_bucket_notification_configuration(Bucket=bucket)
    except Exception as error:
        if "AccessDenied" in code_of(error):
            raise AccessDenied(
                f"how {bucket} notifies may not be read", "Allow s3:GetBucketNotification, for this check alone."
            ) from error
        raise Unavailable(f"how {bucket} notifies cannot be read: {told(error)}") from error
    ours = [one for one in found.get("QueueConfigurations", ()) if one.get("QueueArn") == arn]
    others = [one.get("TopicArn", "") for one in found.get("TopicConfigurations", ())]
    others += ["EventBridge"] if "EventBridgeConfiguration" in found else []
    lacks = [_lacks(one, prefix) for one in ours]
    return Notified(
        queue=bool(ours),
        others=tuple(others),
        partly=min(lacks, key=len, default=""),
        widely=next((why for one in ours if (why := _exceeds(one, prefix))), ""),
    )


def _lacks(one: Mapping[str, Any], prefix: str) -> str:
    rules = _rules(one)
    if rules.get("suffix"):
        return f"only of keys that end in {rules['suffix']}"
    if not prefix.startswith(rules.get("prefix", "")):
        return f"only of keys under {rules['prefix']}"
    events = one.get("Events", ())
    if not any(event in events for event in ("s3:ObjectCreated:*", "s3:*")) and not set(_NEEDED) <= set(events):
        return f"only of {', '.join(events)}"
    return ""


def _exceeds(one: Mapping[str, Any], prefix: str) -> str:
    given = _rules(one).get("prefix", "")
    return "" if given.startswith(prefix) else f"of every key under {given or 'no prefix'}"


def _rules(one: Mapping[str, Any]) -> dict[str, str]:
    rules = one.get("Filter", {}).get("Key", {}).get("FilterRules", ())
    return {str(rule.get("Name", "")).lower(): str(rule.get("Value", "")) for rule in rules}


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
