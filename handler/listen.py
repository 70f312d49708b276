"""A small receiver of webhooks, as a `Source`: MinIO (or whoever speaks like it) posts its events here and wakes the
worker.

Takes an address and a token; gives notices of the bucket's own keys. A post is only a hint: what gets lost here, the
scan finds. Says 2xx to whatever it read of a sender who knows the token, because a sender whose post is refused sends
that one again and again, and nothing behind it. Knows nothing of jobs.
"""

from __future__ import annotations

import hmac
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler

from handler.clock import Clock
from handler.events import NotAnEvent, parse_events
from handler.httpd import READ_SECONDS, Server
from handler.source import Translate

log = logging.getLogger(__name__)

_LARGEST_POST = 1 << 20  # bytes
_LOOK_SECONDS = 0.2  # how often a waiting worker looks whether it was told to stop
_MOST_WAITING = 100_000  # keys; more are dropped, because the scan finds them
_PINGS = (b"", b"{}")  # bodies with which senders try out an address


@dataclass(frozen=True, slots=True)
class Told:
    """See `handler.source.Notice`."""

    inbox: Inbox
    keys: tuple[str, ...]
    again: bool = False

    def done(self) -> None:
        return

    def later(self, seconds: float) -> None:
        self.inbox.add(self.keys, seconds, again=True)

    def extend(self) -> None:
        return


class Inbox:
    """Keys that somebody spoke of, each once, with the time at which to look at it. Safe to fill from any thread."""

    def __init__(self, clock: Clock, most: int = _MOST_WAITING) -> None:
        self._clock = clock
        self._most = most
        self._due: dict[str, tuple[float, bool]] = {}  # key → monotonic time, told before
        self._lock = threading.Lock()
        self._filled = threading.Event()

    def add(self, keys: Sequence[str], delay: float = 0.0, *, again: bool = False) -> None:
        """``delay`` in seconds. The earlier time counts where a key waits already."""
        due, dropped = self._clock.monotonic() + delay, 0
        with self._lock:
            for key in keys:
                if key not in self._due and len(self._due) >= self._most:
                    dropped += 1
                    continue
                earlier, before = self._due.get(key, (due, again))
                self._due[key] = (min(due, earlier), before or again)
        if dropped:
            log.warning("listen: %d keys wait already; the scan will find the rest", self._most)
        self._filled.set()

    def take(self) -> list[Told]:
        """The keys that are due, which wait no longer."""
        now = self._clock.monotonic()
        with self._lock:
            self._filled.clear()
            due = {key: again for key, (at, again) in self._due.items() if at <= now}
            for key in due:
                del self._due[key]
        return [Told(self, (key,), again) for key, again in due.items()]

    def wait(self, seconds: float) -> None:
        """Until something new was added, at most ``seconds``."""
        self._filled.wait(seconds)


class Webhook:
    """Listens from its making until `close`. ``token``: what ``Authorization: Bearer`` must carry; None lets anybody
    post. `Usage` when the address cannot be listened on.
    """

    prefetch = None  # nobody else has this inbox

    def __init__(self, host: str, port: int, translate: Translate, clock: Clock, *, token: str | None) -> None:
        self._clock = clock
        self._inbox = Inbox(clock)
        self._closed = False
        handler = type("Post", (_Post,), {"inbox": self._inbox, "translate": staticmethod(translate), "token": token})
        self._server = Server(host, port, handler, name="webhook", hint="Choose another --address.")

    @property
    def address(self) -> tuple[str, int]:
        """Host and port as bound: port 0 has become a real one."""
        return self._server.address

    def wait(self, seconds: float, stop: threading.Event) -> Sequence[Told]:
        until = self._clock.monotonic() + seconds
        while not stop.is_set():
            told = self._inbox.take()
            left = until - self._clock.monotonic()
            if told or left <= 0:
                return told
            self._inbox.wait(min(left, _LOOK_SECONDS))
        return ()

    def hand_back(self, notices: Sequence[Told]) -> None:
        """Nobody else has this inbox: they wait until this worker comes back, or another one's scan finds them."""
        for notice in notices:
            self._inbox.add(notice.keys, again=notice.again)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._server.close()


class _Post(BaseHTTPRequestHandler):
    inbox: Inbox
    translate: Translate
    token: str | None
    timeout = READ_SECONDS
    server_version = "dropscribe"
    sys_version = ""
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        if self.token is not None and not self._authorised(self.token):
            return self._answer(HTTPStatus.UNAUTHORIZED, "a bearer token is needed")
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit():
            return self._answer(HTTPStatus.LENGTH_REQUIRED, "Content-Length is needed")
        if len(length) > 12 or int(length) > _LARGEST_POST:
            return self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {_LARGEST_POST} bytes")
        body = self.rfile.read(int(length))
        if len(body) < int(length):  # it hung up
            self.close_connection = True
            return None
        try:
            events = parse_events(body)
        except NotAnEvent as error:
            if body.strip() not in _PINGS:
                log.warning("listen: a post was passed over: %s", error.message)
            return self._answer(HTTPStatus.ACCEPTED, f"passed over: {error.message}\n")
        keys = [type(self).translate(event.bucket, event.key) for event in events if not event.removed]
        self.inbox.add([key for key in keys if key])
        return self._answer(HTTPStatus.OK, "")

    def do_GET(self) -> None:
        self._answer(HTTPStatus.OK, "dropscribe listens\n")

    do_HEAD = do_GET  # senders look whether somebody is there

    def _authorised(self, token: str) -> bool:
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        sent = given.strip().encode("latin-1", "replace")  # the bytes as they came: headers are read as Latin-1
        return scheme.lower() == "bearer" and hmac.compare_digest(sent, token.encode())

    def _answer(self, status: HTTPStatus, text: str) -> None:
        body = text.encode() if self.command != "HEAD" else b""
        if status >= HTTPStatus.BAD_REQUEST:
            self.close_connection = True  # what was posted may not have been read
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        log.debug("listen: " + format, *args)
