"""A small HTTP server, in threads of its own, for whoever answers a few requests beside the work.

Takes an address and a class of handlers; serves from its making until it is closed. Whoever comes is served: a client
that is slow or silent makes room for the next one, and none keeps the process from its end. Knows nothing of what is
asked.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import socketserver
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from handler.errors import Usage

log = logging.getLogger(__name__)

READ_SECONDS = 10.0  # a client that says nothing for so long is hung up on
_LOOK_SECONDS = 0.2  # how long closing may take
_MOST_CONNECTIONS = 64  # one more, and the oldest is hung up on


class Server(socketserver.ThreadingMixIn, HTTPServer):
    """``name``: of its thread; ``hint``: what to do where the address cannot be listened on, which is a `Usage`."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, host: str, port: int, handler: type[BaseHTTPRequestHandler], *, name: str, hint: str) -> None:
        self._name = name
        self._open: dict[Any, None] = {}  # connections, the oldest first
        self._lock = threading.Lock()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), handler)
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise Usage(f"{host}:{port} cannot be listened on: {reason}", hint) from error
        self._thread = threading.Thread(target=self.serve_forever, args=(_LOOK_SECONDS,), name=name, daemon=True)
        self._thread.start()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port as bound: port 0 has become a real one."""
        host, port = self.server_address[:2]
        return str(host), int(port)

    def close(self) -> None:
        """Serve nobody any more."""
        self.shutdown()
        self.server_close()
        self._thread.join()

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer's would ask the DNS for this machine's name

    def process_request(self, request: Any, client_address: Any) -> None:
        """Whoever comes is served: it is those who have been here longest, silent or slow, who make room."""
        with self._lock:
            if len(self._open) >= _MOST_CONNECTIONS:
                oldest = next(iter(self._open))
                del self._open[oldest]
                with contextlib.suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)  # its thread reads the end, and closes it
            self._open[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("%s: a connection ended early", self._name, exc_info=True)
