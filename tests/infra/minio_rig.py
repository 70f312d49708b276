"""A stand-in for MinIO: moto's S3, and before it a server that keeps a bucket's notifications and posts what is put.

Takes moto's URL and the environment of MinIO's service; gives a URL. moto alone will not do: it knows AWS's ARNs only,
and posts to nobody. Targets are MinIO's: what ``MINIO_NOTIFY_WEBHOOK_*_NAME`` describes is called
``arn:minio:sqs::NAME:webhook``, and a bucket cannot subscribe to another.
"""

from __future__ import annotations

import http.client
import json
import threading
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from infra_tools import ROOT

_NOT_PASSED = frozenset({"connection", "content-length", "transfer-encoding"})
_REFUSED = b"<Error><Code>InvalidArgument</Code><Message>A specified destination ARN does not exist</Message></Error>"


@dataclass
class Minio:
    """``here``: turns an address of the environment into one of this machine. Serves until `close`."""

    upstream: str
    environment: Mapping[str, str]
    here: Callable[[str], str] = str
    posted: list[tuple[str, int]] = field(default_factory=list)  # key, and what the receiver answered; 0: nothing
    told: dict[str, bytes] = field(default_factory=dict)  # bucket → notification configuration, as XML

    def __post_init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Front", (_Front,), {"minio": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def targets(self) -> dict[str, str]:
        """ARN → the name in its variables, of those that are switched on."""
        start = "MINIO_NOTIFY_WEBHOOK_ENABLE_"
        names = [name.removeprefix(start) for name, value in self.environment.items() if name.startswith(start)]
        return {f"arn:minio:sqs::{name}:webhook": name for name in names if self.environment[start + name] == "on"}

    def subscribe(self, bucket: str, xml: bytes) -> bool:
        """Whether MinIO would take this configuration."""
        if any(arn not in self.targets() for arn, _, _ in _subscriptions(xml)):
            return False
        self.told[bucket] = xml
        return True

    def dropped(self, bucket: str, key: str) -> None:
        for arn, events, prefix in _subscriptions(self.told.get(bucket, b"")):
            if "s3:ObjectCreated:Put" in events and key.startswith(prefix):
                self.posted.append((key, self._post(self.targets()[arn], bucket, key)))

    def _post(self, target: str, bucket: str, key: str) -> int:
        said = {what: self.environment[f"MINIO_NOTIFY_WEBHOOK_{what}_{target}"] for what in ("ENDPOINT", "AUTH_TOKEN")}
        token = said["AUTH_TOKEN"]  # one word is taken for a bearer's token
        headers = {"Authorization": token if " " in token else f"Bearer {token}"}
        request = urllib.request.Request(self.here(said["ENDPOINT"]), json.dumps(_event(bucket, key)).encode(), headers)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code
        except urllib.error.URLError:  # MinIO keeps it, and posts it later
            return 0


def _subscriptions(xml: bytes) -> list[tuple[str, list[str], str]]:
    """ARN, events and prefix of each."""
    found = []
    for one in ET.fromstring(xml or b"<none/>").iter():
        if one.tag.endswith("}QueueConfiguration"):
            texts = [(part.tag.rpartition("}")[2], part.text or "") for part in one.iter()]
            rules = dict(zip([t for n, t in texts if n == "Name"], [t for n, t in texts if n == "Value"], strict=True))
            arn = next(text for name, text in texts if name == "Queue")
            found.append((arn, [text for name, text in texts if name == "Event"], rules.get("prefix", "")))
    return found


def _event(bucket: str, key: str) -> Any:
    """A post that MinIO makes, about another object."""
    body = json.loads((ROOT / "tests" / "data" / "events" / "minio.json").read_bytes())["body"]
    body["Key"] = f"{bucket}/{key}"
    for record in body["Records"]:
        record["s3"]["bucket"]["name"] = bucket
        record["s3"]["object"]["key"] = urllib.parse.quote_plus(key)
    return body


class _Front(BaseHTTPRequestHandler):
    """Passes requests on, but for those that are about notifications."""

    minio: Minio
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        bucket, _, key = urllib.parse.unquote(path).lstrip("/").partition("/")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "notification" in query.split("&") and not key:
            if self.command == "GET":
                return self._answer(200, {}, self.minio.told.get(bucket, b"<NotificationConfiguration/>"))
            taken = self.minio.subscribe(bucket, body)
            return self._answer(*((200, {}, b"") if taken else (400, {}, _REFUSED)))
        status, headers, answer = self._pass_on(body)
        if self.command == "PUT" and key and status == 200:
            self.minio.dropped(bucket, key)
        return self._answer(status, headers, answer)

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

    def _pass_on(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        there = urllib.parse.urlsplit(self.minio.upstream)
        connection = http.client.HTTPConnection(str(there.hostname), there.port, timeout=60)
        try:
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            kept = {name: value for name, value in answer.getheaders() if name.lower() not in _NOT_PASSED}
            if self.command == "HEAD" and (length := answer.getheader("Content-Length")):
                kept["Content-Length"] = length
            return answer.status, kept, answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers and status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return
