"""A proxy on loopback between a store and the S3 server, which loses, tears and damages what passes."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest

from handler.clock import VirtualClock
from handler.store.s3 import S3Store


@dataclass
class FaultProxy:
    """``faults``: what happens to the coming requests, first to last; once it is empty, all pass unchanged.

    ``None`` passes; ``"drop"`` never reaches the server; ``"lose"`` is applied, but its response is lost; ``"tear"``
    sends half of the body and hangs up; ``"flip"`` changes one byte of the body; ``"whole"`` ignores Range; an
    integer is applied and answered with that status; one of `CODES` is not applied and answered with that S3 error.
    ``headers`` may change the response's.
    """

    target: str
    url: str = ""
    faults: list[Any] = field(default_factory=list)
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)  # method, path, headers in lower case
    headers: Callable[[dict[str, str]], dict[str, str]] = lambda headers: headers

    def methods(self) -> list[str]:
        return [method for method, _, _ in self.seen]


CODES = {
    "AccessDenied": 403,
    "SlowDown": 503,
    "NotImplemented": 501,
    "ExpiredToken": 400,
    "ConditionalRequestConflict": 409,
}


def handler_for(proxy: FaultProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            proxy.seen.append((self.command, self.path, {name.lower(): value for name, value in self.headers.items()}))
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            fault = proxy.faults.pop(0) if proxy.faults else None
            self.close_connection = True
            if fault in CODES:
                said = f"<Error><Code>{fault}</Code><Message>no</Message></Error>".encode()
                self.answer(CODES[fault], {"content-type": "application/xml"}, said)
            elif fault != "drop":
                self.forward(body, fault)

        def forward(self, body: bytes, fault: Any) -> None:
            server = http.client.HTTPConnection(urlsplit(proxy.target).netloc)
            ignored = {"range"} if fault == "whole" else set()
            sent = {name: value for name, value in self.headers.items() if name.lower() not in ignored}
            server.request(self.command, self.path, body, sent)
            reply = server.getresponse()
            content = reply.read()
            headers = proxy.headers({name.lower(): value for name, value in reply.getheaders()})
            server.close()
            if fault == "flip":
                content = content[:-1] + bytes([content[-1] ^ 1])
            if isinstance(fault, int):
                self.answer(fault, {}, b"")
            elif fault != "lose":
                self.answer(reply.status, headers, content, half=fault == "tear")

        def answer(self, status: int, headers: dict[str, str], content: bytes, half: bool = False) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name not in ("content-length", "connection", "transfer-encoding"):
                    self.send_header(name, value)
            length = headers.get("content-length") if self.command == "HEAD" else str(len(content))
            self.send_header("content-length", length or "0")
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if half else content)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_one

        def handle_expect_100(self) -> bool:
            self.send_response_only(100)
            self.end_headers()
            return True

        def log_message(self, format: str, *args: object) -> None:
            return

    return Handler


@pytest.fixture
def proxy(s3_endpoint: str) -> Iterator[FaultProxy]:
    proxy = FaultProxy(s3_endpoint)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_for(proxy))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    yield proxy
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def faulty_store(
    proxy: FaultProxy, s3_bucket: str, virtual_clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[S3Store]:
    """An S3 store behind `proxy`, which sleeps on `virtual_clock`."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    store = S3Store(s3_bucket, "p", clock=virtual_clock)
    yield store
    store.close()
