"""``/livez``, ``/readyz`` and ``/metrics`` on one port, for whoever runs a worker.

Takes an address, whether the worker is ready, and what gives the page of metrics. ``/livez`` is 200 as long as the
process answers; ``/readyz`` only while the worker takes jobs: 503 before its start is over and once it was told to
stop. Nothing that is served here is secret, and nothing can be changed here; who may connect is the address's affair.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler

from handler.httpd import READ_SECONDS, Server

log = logging.getLogger(__name__)

_TEXT = "text/plain; charset=utf-8"

Page = Callable[[], bytes]
Ready = Callable[[], bool]


class Health:
    """Serves from its making until `close`. ``page``: the metrics, as ``content_type`` says. `Usage` when the address
    cannot be listened on.
    """

    def __init__(self, host: str, port: int, ready: Ready, page: Page, content_type: str) -> None:
        members = {"ready": staticmethod(ready), "page": staticmethod(page), "content_type": content_type}
        handler = type("Get", (_Get,), members)
        hint = "Choose another DROPSCRIBE_HTTP_PORT, or another DROPSCRIBE_HTTP_HOST."
        self._server = Server(host, port, handler, name="health", hint=hint)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port as bound."""
        return self._server.address

    def close(self) -> None:
        self._server.close()


class _Get(BaseHTTPRequestHandler):
    ready: Ready
    page: Page
    content_type: str
    timeout = READ_SECONDS
    server_version = "dropscribe"
    sys_version = ""
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/livez":
                self._answer(HTTPStatus.OK, b"alive\n")
            case "/readyz" if type(self).ready():
                self._answer(HTTPStatus.OK, b"ready\n")
            case "/readyz":
                self._answer(HTTPStatus.SERVICE_UNAVAILABLE, b"starting or stopping\n")
            case "/metrics":
                self._answer(HTTPStatus.OK, type(self).page(), self.content_type)
            case _:
                self._answer(HTTPStatus.NOT_FOUND, b"/livez, /readyz and /metrics\n")

    do_HEAD = do_GET

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str = _TEXT) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        log.debug("health: " + format, *args)
