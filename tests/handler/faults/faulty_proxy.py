"""An HTTP proxy on loopback in front of an S3 server, which does to requests and answers what a plan says.

Takes the server's URL and a plan: a function from a `Call` to the name of a fault, or None. Gives a URL, and afterwards
the list of what it has `seen`. One conditional PUT at a time reaches the server, so that one which checks and then
writes, as moto does, is atomic. Knows nothing of dropscribe.

The faults:

    InternalError, SlowDown, ConditionalRequestConflict, AccessDenied, BadDigest    that error, not applied
    error-after       applied, then answered with 500
    reset-before      the connection is reset, not applied
    reset-after       applied, then the connection is reset
    refused-after     applied twice, as by a proxy that retries: the second answer is given, 412 for a write that won
    torn              half of the answer's body, then the connection is closed
    cut               half of the answer's body, as if it were all
    flip              one bit of the answer's body is another one
    trickle           the answer's body comes in small pieces, with pauses
    hang              applied, and never answered, until the proxy is closed
    skew-ahead, skew-behind, no-date    the answer's Date is an hour late, an hour early, or missing
"""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

ERRORS = {
    "InternalError": 500,
    "SlowDown": 503,
    "ConditionalRequestConflict": 409,
    "AccessDenied": 403,
    "BadDigest": 400,
}
SKEWS = {"skew-ahead": 3600.0, "skew-behind": -3600.0}  # seconds
_PIECES, _PIECE_SECONDS = 8, 0.02
_HANG_SECONDS = 60.0
_HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "content-length", "server")


@dataclass
class Call:
    """One request. ``key`` is that of the object, without the bucket; empty for a listing. ``status``: of the server's
    own answer, None where it was not asked.
    """

    number: int
    method: str
    key: str
    conditional: bool
    fault: str | None = None
    status: int | None = None

    @property
    def listing(self) -> bool:
        return self.method == "GET" and not self.key


Plan = Callable[[Call], str | None]


@dataclass
class FaultyProxy:
    """``strip``: beginnings of response headers, in lower case, that the server is to do without."""

    target: str
    plan: Plan = field(default=lambda call: None)
    strip: tuple[str, ...] = ()
    seed: int = 0
    url: str = ""
    seen: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.closed = threading.Event()
        self.lock = threading.Lock()  # of the list and of the plan
        self.writing = threading.Lock()

    @contextlib.contextmanager
    def serving(self) -> Iterator[FaultyProxy]:
        server = _Server(("127.0.0.1", 0), _handler(self))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            self.closed.set()
            server.shutdown()
            thread.join()
            server.server_close()

    def admit(self, method: str, path: str, conditional: bool) -> Call:
        """Note a request, and decide what happens to it."""
        key = unquote(urlsplit(path).path).lstrip("/").partition("/")[2]
        with self.lock:
            call = Call(len(self.seen) + 1, method, key, conditional)
            call.fault = self.plan(call)
            self.seen.append(call)
        return call

    def faults(self) -> list[Call]:
        return [call for call in self.seen if call.fault is not None]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        return  # a client that hangs up is what this is about


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def _handler(proxy: FaultyProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        upstream: http.client.HTTPConnection | None = None

        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            conditional = any(name in self.headers for name in ("if-match", "if-none-match"))
            call = proxy.admit(self.command, self.path, conditional)
            if call.fault in ERRORS:
                self.give(_error(call.fault))
            elif call.fault == "reset-before":
                self.reset()
            else:
                answer = self.ask(body)
                if call.fault == "refused-after":
                    answer = self.ask(body)
                call.status = answer.status
                self.tell(call.fault, answer)

        def tell(self, fault: str | None, answer: _Answer) -> None:
            if fault == "reset-after":
                self.reset()
            elif fault == "error-after":
                self.give(_error("InternalError"))
            elif fault == "hang":
                proxy.closed.wait(_HANG_SECONDS)
                self.reset()
            else:
                self.give(_changed(fault, answer, proxy), fault)

        def ask(self, body: bytes) -> _Answer:
            if self.upstream is None:
                self.upstream = http.client.HTTPConnection(urlsplit(proxy.target).netloc, timeout=_HANG_SECONDS)
            with proxy.writing if self.command == "PUT" else contextlib.nullcontext():
                self.upstream.request(self.command, self.path, body, dict(self.headers.items()))
                reply = self.upstream.getresponse()
                content = reply.read()
            headers = {name.lower(): value for name, value in reply.getheaders()}
            return _Answer(reply.status, headers, content)

        def give(self, answer: _Answer, fault: str | None = None) -> None:
            self.send_response_only(answer.status)
            for name, value in answer.headers.items():
                if name not in _HOP_BY_HOP and not name.startswith(proxy.strip or "\0"):
                    self.send_header(name, value)
            length = answer.headers.get("content-length", "0") if self.command == "HEAD" else str(len(answer.body))
            self.send_header("content-length", length)
            self.end_headers()
            if self.command == "HEAD":
                return
            if fault == "torn" and answer.body:
                self.wfile.write(answer.body[: len(answer.body) // 2])
                self.close_connection = True
            elif fault == "trickle":
                self.trickle(answer.body)
            else:
                self.wfile.write(answer.body)

        def trickle(self, body: bytes) -> None:
            step = max(1, -(-len(body) // _PIECES))
            for place in range(0, len(body), step):
                self.wfile.write(body[place : place + step])
                time.sleep(_PIECE_SECONDS)

        def reset(self) -> None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_one

        def finish(self) -> None:
            if self.upstream is not None:
                self.upstream.close()
            with contextlib.suppress(OSError, ValueError):
                super().finish()

        def log_message(self, format: str, *args: object) -> None:
            return

    return Handler


def _error(code: str) -> _Answer:
    said = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    return _Answer(ERRORS[code], {"content-type": "application/xml", "date": formatdate(usegmt=True)}, said)


def _changed(fault: str | None, answer: _Answer, proxy: FaultyProxy) -> _Answer:
    headers, body = dict(answer.headers), answer.body
    if fault == "flip" and body:
        with proxy.lock:
            place = proxy.random.randrange(len(body) * 8)
        body = body[: place // 8] + bytes([body[place // 8] ^ 1 << place % 8]) + body[place // 8 + 1 :]
    elif fault == "cut":
        body = body[: len(body) // 2]
    elif fault in SKEWS:
        headers["date"] = formatdate(parsedate_to_datetime(headers["date"]).timestamp() + SKEWS[fault], usegmt=True)
    elif fault == "no-date":
        headers.pop("date", None)
    return _Answer(answer.status, headers, body)
