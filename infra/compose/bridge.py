"""From a webhook to a queue: what an S3 server posts becomes a message, as it came.

Takes AWS's variables, QUEUE (a name), LISTEN (host:port) and EVENTS_TOKEN (what posts must carry). Answers 200 when the
queue has the message, and 503 when it does not, so that the server posts it again. Reads no event: workers do.
"""

from __future__ import annotations

import hmac
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

_LARGEST = 256 * 1024  # bytes, of a message
_TRIES = 60
_PAUSE_SECONDS = 1.0


class Bridge(BaseHTTPRequestHandler):
    sqs: Any
    url: str
    token: str
    timeout = 10  # seconds without a word
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self.token.encode()):
            return self._answer(401)
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or len(length) > 9:
            return self._answer(411)
        if int(length) > _LARGEST:
            return self._answer(413)
        body = self.rfile.read(int(length)).decode("utf-8", "replace")
        if body.strip() not in ("", "{}"):  # with these a server tries out the address
            try:
                self.sqs.send_message(QueueUrl=self.url, MessageBody=body)
            except (BotoCoreError, ClientError) as error:
                print(f"bridge: {error}", file=sys.stderr, flush=True)
                return self._answer(503)
        return self._answer(200)

    def do_GET(self) -> None:
        self._answer(200)

    do_HEAD = do_GET

    def _answer(self, status: int) -> None:
        self.close_connection = self.close_connection or status >= 400  # what was posted may not have been read
        self.send_response(status)
        self.send_header("Content-Length", "0")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        return


def _queue(sqs: Any, name: str) -> str:
    """The queue's URL, as soon as there is an answer. Raises boto3's errors."""
    for _ in range(_TRIES - 1):
        try:
            return str(sqs.get_queue_url(QueueName=name)["QueueUrl"])
        except (BotoCoreError, ClientError):
            time.sleep(_PAUSE_SECONDS)
    return str(sqs.get_queue_url(QueueName=name)["QueueUrl"])


def main() -> None:
    host, _, port = os.environ["LISTEN"].rpartition(":")
    token = os.environ["EVENTS_TOKEN"]
    if not token:
        sys.exit("bridge: EVENTS_TOKEN is empty, and anybody could post")
    sqs = boto3.client("sqs", config=Config(connect_timeout=5, read_timeout=10))
    members = {"sqs": sqs, "url": _queue(sqs, os.environ["QUEUE"]), "token": token}
    with ThreadingHTTPServer((host, int(port)), type("Post", (Bridge,), members)) as server:
        print(f"bridge: from {host}:{server.server_address[1]} to {members['url']}", file=sys.stderr, flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
