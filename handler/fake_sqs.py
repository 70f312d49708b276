"""For tests: queues in memory with the calls of boto3's SQS client, as SQS answers them, on a clock that tests own.

Visibility, receive counts, receipts that get stale, the 12 hours, redrive policies. `client` hands out further
connections to the same queues, each with its own log and hook, as the in-memory store does. It ships with the package
so that anyone can test what they build on dropscribe.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from handler.clock import Clock

_URL = "https://sqs.invalid/0/"
_LONGEST_HOLD = 43_200.0

Phase = Literal["before", "after"]
Hook = Callable[[str, dict[str, Any], Phase], None]
"""Given the method, its arguments and the phase. Raising ``before`` is a lost request, ``after`` a lost answer."""


class SqsError(Exception):
    """Looks like botocore's ClientError."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(f"An error occurred ({code}): {message or code}")
        self.response = {"Error": {"Code": code, "Message": message or code}}


@dataclass(slots=True)
class _Message:
    body: str
    attributes: dict[str, Any]
    visible_at: float
    received_at: float = 0.0  # the last time
    receives: int = 0
    receipt: str = ""


@dataclass(slots=True)
class _Queue:
    visibility: float = 30.0
    redrive: dict[str, Any] = field(default_factory=dict)
    messages: list[_Message] = field(default_factory=list)


@dataclass(slots=True)
class _Server:
    clock: Clock
    queues: dict[str, _Queue] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)


class FakeSqs:
    """``look_seconds``: how often a long poll looks."""

    def __init__(self, clock: Clock, *, hook: Hook | None = None, look_seconds: float = 0.01) -> None:
        self._server = _Server(clock)
        self._look_seconds = look_seconds
        self.hook = hook
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def client(self, hook: Hook | None = None) -> FakeSqs:
        """Another connection to the same queues."""
        other = FakeSqs(self._server.clock, hook=hook, look_seconds=self._look_seconds)
        other._server = self._server
        return other

    # ── what tests use: neither logged nor hooked ────────────────────────────────────────────────────────────────────

    def make(self, name: str, *, dead_letters: str = "", most_receives: int = 1000) -> str:
        """A new queue's URL."""
        arn = f"arn:aws:sqs:us-east-1:0:{dead_letters}"
        redrive = {"deadLetterTargetArn": arn, "maxReceiveCount": most_receives} if dead_letters else {}
        self._server.queues[name] = _Queue(redrive=redrive)
        return _URL + name

    def send(self, url: str, body: str) -> None:
        """A message from outside, as S3 sends one."""
        with self._server.lock:
            self._queue(url).messages.append(_Message(body, {}, self._now()))

    def bodies(self, url: str) -> list[str]:
        """What is in the queue, hidden or not."""
        with self._server.lock:
            return [message.body for message in self._queue(url).messages]

    def attributes(self, url: str) -> list[dict[str, Any]]:
        """The messages' own attributes."""
        with self._server.lock:
            return [message.attributes for message in self._queue(url).messages]

    def hidden(self, url: str) -> list[float]:
        """For each message, the seconds until it is visible; 0 when it is."""
        with self._server.lock:
            return [max(0.0, message.visible_at - self._now()) for message in self._queue(url).messages]

    def counts(self) -> Counter[str]:
        """How many requests of each kind this client has made."""
        return Counter(method for method, _ in self.calls)

    # ── boto3's ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def receive_message(self, **given: Any) -> dict[str, Any]:
        return self._call("receive_message", given, self._receive)

    def delete_message(self, **given: Any) -> dict[str, Any]:
        return self._call("delete_message", given, lambda: self._delete(given["QueueUrl"], given["ReceiptHandle"]))

    def delete_message_batch(self, **given: Any) -> dict[str, Any]:
        return self._call("delete_message_batch", given, lambda: self._batch(given, self._delete, "ReceiptHandle"))

    def change_message_visibility(self, **given: Any) -> dict[str, Any]:
        url, receipt, seconds = given["QueueUrl"], given["ReceiptHandle"], given["VisibilityTimeout"]
        return self._call("change_message_visibility", given, lambda: self._change(url, receipt, seconds))

    def change_message_visibility_batch(self, **given: Any) -> dict[str, Any]:
        def change() -> dict[str, Any]:
            return self._batch(given, self._change, "ReceiptHandle", "VisibilityTimeout")

        return self._call("change_message_visibility_batch", given, change)

    def send_message(self, **given: Any) -> dict[str, Any]:
        def send() -> dict[str, Any]:
            message = _Message(given["MessageBody"], given.get("MessageAttributes", {}), self._now())
            self._queue(given["QueueUrl"]).messages.append(message)
            return {}

        return self._call("send_message", given, send)

    def send_message_batch(self, **given: Any) -> dict[str, Any]:
        def send(url: str, body: str) -> dict[str, Any]:
            self._queue(url).messages.append(_Message(body, {}, self._now()))
            return {}

        return self._call("send_message_batch", given, lambda: self._batch(given, send, "MessageBody"))

    def get_queue_url(self, **given: Any) -> dict[str, Any]:
        def find() -> dict[str, Any]:
            self._queue(given["QueueName"])
            return {"QueueUrl": _URL + given["QueueName"]}

        return self._call("get_queue_url", given, find)

    def get_queue_attributes(self, **given: Any) -> dict[str, Any]:
        def read() -> dict[str, Any]:
            queue = self._queue(given["QueueUrl"])
            waiting = sum(message.visible_at <= self._now() for message in queue.messages)
            counts = {
                "ApproximateNumberOfMessages": str(waiting),
                "ApproximateNumberOfMessagesNotVisible": str(len(queue.messages) - waiting),
                "ApproximateNumberOfMessagesDelayed": "0",
            }
            found = counts | ({"RedrivePolicy": json.dumps(queue.redrive)} if queue.redrive else {})
            return {"Attributes": {name: value for name, value in found.items() if name in given["AttributeNames"]}}

        return self._call("get_queue_attributes", given, read)

    def close(self) -> None:
        return

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _call(self, method: str, given: dict[str, Any], answer: Callable[..., dict[str, Any]]) -> dict[str, Any]:
        self.calls.append((method, given))
        if self.hook is not None:
            self.hook(method, given, "before")
        if method == "receive_message":  # it waits, and must not hold the lock meanwhile
            answered = answer(given)
        else:
            with self._server.lock:
                answered = answer()
        if self.hook is not None:
            self.hook(method, given, "after")
        return answered

    def _now(self) -> float:
        return self._server.clock.monotonic()

    def _queue(self, url: str) -> _Queue:
        try:
            return self._server.queues[url.removeprefix(_URL)]
        except KeyError:
            raise SqsError("AWS.SimpleQueueService.NonExistentQueue") from None

    def _receive(self, given: dict[str, Any]) -> dict[str, Any]:
        until = self._now() + given.get("WaitTimeSeconds", 0)
        while True:
            with self._server.lock:
                found = self._take(self._queue(given["QueueUrl"]), given)
            if found or self._now() >= until:
                return {"Messages": found} if found else {}
            self._server.clock.sleep(min(self._look_seconds, until - self._now()))

    def _take(self, queue: _Queue, given: dict[str, Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for message in [message for message in queue.messages if message.visible_at <= self._now()]:
            if len(found) >= given.get("MaxNumberOfMessages", 1):
                break
            if queue.redrive and message.receives >= queue.redrive["maxReceiveCount"]:
                queue.messages.remove(message)
                self._queue(queue.redrive["deadLetterTargetArn"].rsplit(":", 1)[-1]).messages.append(message)
                continue
            message.receives += 1
            message.received_at = self._now()
            message.visible_at = self._now() + given.get("VisibilityTimeout", queue.visibility)
            message.receipt = self._server.clock.new_id()
            found.append(
                {
                    "MessageId": message.receipt[:8],
                    "ReceiptHandle": message.receipt,
                    "Body": message.body,
                    "Attributes": {"ApproximateReceiveCount": str(message.receives)},
                }
            )
        return found

    def _delete(self, url: str, receipt: str) -> dict[str, Any]:
        queue = self._queue(url)
        queue.messages[:] = [message for message in queue.messages if message.receipt != receipt]
        return {}

    def _change(self, url: str, receipt: str, seconds: int) -> dict[str, Any]:
        if not isinstance(seconds, int) or not 0 <= seconds <= _LONGEST_HOLD:
            raise SqsError("InvalidParameterValue", f"VisibilityTimeout {seconds!r}")
        for message in self._queue(url).messages:
            if message.receipt == receipt:
                if message.visible_at <= self._now():
                    raise SqsError("MessageNotInflight")
                if self._now() + seconds - message.received_at > _LONGEST_HOLD:
                    raise SqsError("InvalidParameterValue", "Total VisibilityTimeout is beyond the limit")
                message.visible_at = self._now() + seconds
                return {}
        raise SqsError("ReceiptHandleIsInvalid")

    def _batch(
        self, given: dict[str, Any], act: Callable[..., dict[str, Any]], *names: str
    ) -> dict[str, list[dict[str, Any]]]:
        answer: dict[str, list[dict[str, Any]]] = {"Successful": [], "Failed": []}
        if not 1 <= len(given["Entries"]) <= 10:
            raise SqsError("AWS.SimpleQueueService.TooManyEntriesInBatchRequest")
        for entry in given["Entries"]:
            try:
                act(given["QueueUrl"], *(entry[name] for name in names))
                answer["Successful"].append({"Id": entry["Id"]})
            except SqsError as error:
                failed = {"Id": entry["Id"], "SenderFault": True, "Code": error.response["Error"]["Code"]}
                answer["Failed"].append(failed)
        return answer
