"""The connection to one queue of SQS, or of anything that speaks its protocol.

Takes boto3's clients and the queue's URL; receives, deletes, shows again, puts away, counts, sends. What
goes wrong with a receive, a count or a send is raised; all else is logged, because SQS makes it good by itself: a
message that was not deleted comes again. Knows nothing of what messages say.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from handler.aws import boto_session
from handler.errors import AccessDenied, HandlerError, Unavailable, Usage

log = logging.getLogger(__name__)

LONGEST_POLL = 20  # seconds; SQS takes no more
LONGEST_HOLD = 43_200.0  # seconds from its receipt that a message can be kept invisible
BATCH = 10  # messages in one request
FIFO = ".fifo"  # the end of such a queue's name
FEW_RECEIVES = 100  # a maxReceiveCount below it puts messages of busy jobs away
_COUNTS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)
_PERMISSIONS = "Allow sqs:GetQueueAttributes, ReceiveMessage, DeleteMessage and ChangeMessageVisibility on it."
_QUICK_SECONDS = 3.0  # to connect, and again to read, where the heartbeat waits


@dataclass(frozen=True, slots=True)
class Received:
    """``receives``: how often the message has been received by anybody, this time included."""

    receipt: str
    body: str
    receives: int


class Sqs:
    """``quick``: a client that gives up soon, for what the heartbeat's thread waits for. ``dead_letters``: the name of
    the queue's dead-letter queue, empty where there is none.
    """

    def __init__(self, client: Any, url: str, *, quick: Any = None, dead_letters: str = "") -> None:
        self._client = client
        self._quick = quick or client
        self._url = url
        self._dead_letters = dead_letters
        self._dead_letters_url = ""

    def receive(self, seconds: float, most: int, visibility: int) -> list[Received]:
        """Up to ``most`` messages, hidden for ``visibility`` seconds; waits up to ``seconds`` for the first. Raises
        what the client raises.
        """
        answer = self._client.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=most,
            # Never 0: that is a short poll, which asks only some of the servers and may miss what is there.
            WaitTimeSeconds=max(1, min(LONGEST_POLL, -int(-seconds // 1))),
            VisibilityTimeout=visibility,
            AttributeNames=["ApproximateReceiveCount"],
        )
        return [_received(raw) for raw in answer.get("Messages", ())]

    def delete(self, receipts: Sequence[str]) -> None:
        """In batches. One that cannot be deleted is told again."""
        for batch in _batches(receipts):
            entries = [{"Id": str(place), "ReceiptHandle": receipt} for place, receipt in enumerate(batch)]
            try:
                answer = self._client.delete_message_batch(QueueUrl=self._url, Entries=entries)
            except Exception as error:
                log.warning("queue: %d messages could not be deleted: %s", len(batch), told(error))
                continue
            for failed in answer.get("Failed", ()):
                self._delete_again(batch[int(failed["Id"])], failed)

    def _delete_again(self, receipt: str, failed: dict[str, Any]) -> None:
        if failed.get("SenderFault"):  # a stale receipt: the message was received again meanwhile
            log.info("queue: a message was not deleted: %s", failed.get("Code"))
            return
        try:
            self._client.delete_message(QueueUrl=self._url, ReceiptHandle=receipt)
        except Exception as error:
            log.warning("queue: a message could not be deleted: %s", told(error))

    def show(self, receipts: Sequence[str], seconds: int) -> None:
        """Show these again in ``seconds``. Where that fails they show up when their time is over."""
        try:
            for batch in _batches(receipts):
                if len(batch) == 1:
                    self._quick.change_message_visibility(
                        QueueUrl=self._url, ReceiptHandle=batch[0], VisibilityTimeout=seconds
                    )
                    continue
                entries = [
                    {"Id": str(place), "ReceiptHandle": receipt, "VisibilityTimeout": seconds}
                    for place, receipt in enumerate(batch)
                ]
                answer = self._quick.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)
                for failed in answer.get("Failed", ()):
                    log.info("queue: visibility: %s", failed.get("Code"))
        except Exception as error:
            log.info("queue: visibility: %s", told(error))

    def held(self) -> int:
        """About how many messages the queue has: those that wait, those that somebody received, those that are
        delayed. `AccessDenied`, `Unavailable`.
        """
        try:
            counts = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=list(_COUNTS))["Attributes"]
        except Exception as error:
            raise translated(self._url, error) from error
        return sum(int(counts.get(name, 0)) for name in _COUNTS)

    def send(self, bodies: Sequence[str]) -> None:
        """Put messages into the queue, in batches. After an error some of them may be there: `AccessDenied`,
        `Unavailable`.
        """
        for batch in _batches(bodies):
            entries = [
                {"Id": str(place), "MessageBody": body, **(_apart(body) if self._url.endswith(FIFO) else {})}
                for place, body in enumerate(batch)
            ]
            try:
                failed = self._client.send_message_batch(QueueUrl=self._url, Entries=entries).get("Failed", ())
            except Exception as error:
                if "AccessDenied" in code_of(error):
                    raise AccessDenied(f"nothing may be sent to {self._url}", "Allow sqs:SendMessage on it.") from error
                raise translated(self._url, error) from error
            if failed:
                raise Unavailable(f"the queue {self._url} refused {len(failed)} messages: {failed[0].get('Code')}")

    def put_away(self, message: Received, reason: str) -> None:
        """Into the dead-letter queue with the reason, then out of this one. Without one, what it said is in the log."""
        log.error("queue: %s; it is put away: %.500s", reason, message.body)
        try:
            if self._dead_letters:
                self._send_dead(message.body, reason)
            self._client.delete_message(QueueUrl=self._url, ReceiptHandle=message.receipt)
        except Exception as error:  # it comes back and is tried again
            log.warning("queue: a message could not be put away: %s", told(error))

    def _send_dead(self, body: str, reason: str) -> None:
        if not self._dead_letters_url:
            self._dead_letters_url = self._client.get_queue_url(QueueName=self._dead_letters)["QueueUrl"]
        attribute = {"DataType": "String", "StringValue": _plain(reason)[:256] or "unreadable"}
        self._client.send_message(
            QueueUrl=self._dead_letters_url,
            MessageBody=body or "(empty)",
            MessageAttributes={"reason": attribute},
            **(_fifo(body) if self._dead_letters.endswith(FIFO) else {}),
        )

    def close(self) -> None:
        """Close the connections."""
        for client in {id(one): one for one in (self._client, self._quick)}.values():
            client.close()


def open_sqs(name: str, clients: Callable[[], tuple[Any, Any]] | None = None) -> Sqs:
    """The queue that a person means: its URL, or its name. One request or two. ``clients``: makes the patient and the
    quick one. `Usage`, `AccessDenied`, `Unavailable`.
    """
    client, quick = (clients or _clients)()
    try:
        url = name if "://" in name else client.get_queue_url(QueueName=name)["QueueUrl"]
        answer = client.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])
    except Exception as error:
        raise translated(name, error) from error
    if url.endswith(FIFO):
        log.warning("queue: it is a FIFO queue: while one message of a group is worked on, the others of it wait.")
    policy = _policy(answer)
    receives = int(policy.get("maxReceiveCount", FEW_RECEIVES))
    if receives < FEW_RECEIVES:
        log.warning(
            "queue: its maxReceiveCount is %d. Messages of jobs that another worker has are received again and again; "
            "give it %d or more.",
            receives,
            FEW_RECEIVES,
        )
    return Sqs(client, url, quick=quick, dead_letters=str(policy.get("deadLetterTargetArn", "")).rsplit(":", 1)[-1])


def told(error: Exception) -> str:
    """An error of the client's, in one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def _policy(answer: dict[str, Any]) -> dict[str, Any]:
    try:
        policy = json.loads(answer.get("Attributes", {}).get("RedrivePolicy") or "{}")
    except ValueError:
        policy = {}
    return policy if isinstance(policy, dict) else {}


def _received(raw: dict[str, Any]) -> Received:
    count = str(raw.get("Attributes", {}).get("ApproximateReceiveCount", "1"))
    return Received(raw["ReceiptHandle"], raw.get("Body", ""), int(count) if count.isdigit() else 1)


def _batches(all_of_them: Sequence[str]) -> list[Sequence[str]]:
    return [all_of_them[start : start + BATCH] for start in range(0, len(all_of_them), BATCH)]


def _fifo(body: str) -> dict[str, str]:
    """What a queue in order wants of every message: here, one group for all, and none of them twice."""
    return {
        "MessageGroupId": "unreadable",
        "MessageDeduplicationId": hashlib.sha256(body.encode(errors="replace")).hexdigest(),
    }


def _apart(body: str) -> dict[str, str]:
    """What a queue in order wants: here a group for each message, so that none waits for another."""
    digest = hashlib.sha256(body.encode()).hexdigest()
    return {"MessageGroupId": digest, "MessageDeduplicationId": digest}


def _plain(text: str) -> str:
    """Without what a message's attribute cannot carry."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _clients() -> tuple[Any, Any]:
    try:
        from botocore.config import Config

        session = boto_session()
        patient = Config(  # longer than the longest poll, or every idle receive would end in a retry
            connect_timeout=10, read_timeout=LONGEST_POLL + 10, retries={"mode": "standard", "total_max_attempts": 4}
        )
        quick = Config(
            connect_timeout=_QUICK_SECONDS,
            read_timeout=_QUICK_SECONDS,
            retries={"mode": "standard", "total_max_attempts": 2},
        )
        return session.client("sqs", config=patient), session.client("sqs", config=quick)
    except Exception as error:
        raise Usage(f"the queue's client cannot be made: {told(error)}", "Set AWS_REGION and credentials.") from error


def code_of(error: Exception) -> str:
    """AWS's word for what went wrong, empty if it is none of AWS's errors."""
    return str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))


def translated(name: str, error: Exception) -> HandlerError:
    code = code_of(error)
    if "NonExistentQueue" in code or "QueueDoesNotExist" in code:
        return Usage(f"there is no queue {name}", "Check the URL, the region (AWS_REGION) and AWS_ENDPOINT_URL_SQS.")
    if "InvalidAddress" in code or type(error).__name__ == "ParamValidationError":
        return Usage(f"{name} is no queue's URL or name: {told(error)}")
    if "AccessDenied" in code or code in (
        "InvalidClientTokenId",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidSecurity",
    ):
        return AccessDenied(f"the queue {name} may not be read with these credentials: {code}", _PERMISSIONS)
    if type(error).__name__ in ("NoCredentialsError", "NoRegionError", "PartialCredentialsError"):
        return Usage(f"the queue cannot be asked: {told(error)}", "Set AWS_REGION and credentials.")
    return Unavailable(
        f"the queue {name} gives no answer: {told(error)}",
        "Check AWS_ENDPOINT_URL_SQS and the network, then try again.",
    )
