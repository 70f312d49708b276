"""A receiver of callbacks on the loopback interface: a real server that does as it is told, request by request; and a
transport without a network, for tests of what lies in the bucket.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from handler.callbacks.guard import AllowList
from handler.callbacks.transport import Answer, Transport

BODY = '{"metadata":{},"results":"ünd"}\n'.encode() * 5000
SHORT = 0.3  # seconds for a try that is meant to end by its limit

BODY = '{"metadata":{},"results":"ünd"}\n'.encode() * 5000
SHORT = 0.3  # seconds for a try that is meant to end by its limit

Behaviour = Callable[["Receiver", socket.socket], None]


@dataclass(frozen=True)
class Received:
    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes


def answer(status: int = 200, **headers: str) -> Behaviour:
    lines = [f"HTTP/1.1 {status} as the receiver says", "Content-Length: 0"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    whole = "\r\n".join([*lines, "", ""]).encode()
    return lambda receiver, connection: connection.sendall(whole)


def moved(where: str, status: int = 307) -> Behaviour:
    return answer(status, Location=where)


def stall(receiver: Receiver, connection: socket.socket) -> None:
    """Says nothing until the test is over."""
    receiver.over.wait()


def drip(receiver: Receiver, connection: socket.socket) -> None:
    """Never stops, never ends: one byte of a header at a time."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
    while not receiver.over.wait(0.01):
        connection.sendall(b"x")


def drip_body(receiver: Receiver, connection: socket.socket) -> None:
    """Says yes at once, and then never stops talking."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while not receiver.over.wait(0.01):
        connection.sendall(b"x")


def reset(receiver: Receiver, connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def die(receiver: Receiver, connection: socket.socket) -> None:
    """In the middle of its answer."""
    connection.sendall(b"HTTP/1.1 2")


def babble(receiver: Receiver, connection: socket.socket) -> None:
    connection.sendall(b"this is no HTTP at all\r\n\r\n")


class Receiver:
    """``script``: what it does, one request after another; then 200 to all. ``tls``: a server's context."""

    def __init__(self, *script: Behaviour, tls: ssl.SSLContext | None = None, reads: bool = True) -> None:
        self.script = list(script)
        self.received: list[Received] = []
        self.connections = 0
        self.over = threading.Event()
        self._tls = tls
        self._reads = reads
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self.port: int = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Receiver:
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._accepting.join()
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://{host}:{self.port}{path}"

    def transport(self, *more: str, seconds: float = 5.0, **given: Any) -> Transport:
        """One that is allowed to reach it by its address."""
        return Transport(AllowList(f"127.0.0.1:{self.port} " + " ".join(more)), seconds, **given)

    def _accept(self) -> None:
        while not self.over.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            connection.settimeout(5)
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                if self._reads:
                    self.received.append(_read(connection))
                (self.script.pop(0) if self.script else answer())(self, connection)
        except OSError:
            connection.close()


def _read(connection: socket.socket) -> Received:
    head = b""
    while b"\r\n\r\n" not in head:
        piece = connection.recv(65536)
        if not piece:
            raise OSError("no request")
        head += piece
    head, _, body = head.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(headers.get("content-length", "0"))
    while len(body) < length:
        body += connection.recv(65536)
    method, path, _ = first.split(" ")
    return Received(method, path, headers, body)


@dataclass
class Scripted:
    """In a `Transport`'s place: answers as told, then with 200. ``on_send`` is called before each answer."""

    answers: list[Answer] = field(default_factory=list)
    on_send: Callable[[], None] = lambda: None
    sent: list[Received] = field(default_factory=list)
    aborted: bool = False

    def send(self, url: str, method: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        self.sent.append(Received(method, url, {name.lower(): value for name, value in headers.items()}, body))
        self.on_send()
        return self.answers.pop(0) if self.answers else Answer(True, "200 OK")

    def abort(self) -> None:
        self.aborted = True


def refused(times: int, outcome: str = "503 Service Unavailable") -> list[Answer]:
    return [Answer(False, outcome)] * times


def resolving(**names: Sequence[str]) -> Callable[[str, int], Sequence[str]]:
    """A resolver that knows these names (with ``_`` for the dot) and no others."""
    known = {name.replace("_", "."): list(addresses) for name, addresses in names.items()}

    def resolve(host: str, port: int) -> Sequence[str]:
        if host not in known:
            raise OSError("no such name")
        return known[host]

    return resolve
