"""One try: a request to an address that was checked, and to no other; redirects, each checked the same way.

Takes a URL, a method, headers and bytes; gives an `Answer`. Nothing that a receiver says is kept but its status. It
uses no proxy of the environment, no cookies, no credentials but those in the URL, and ends within its time limit. Knows
nothing of buckets.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from http import HTTPStatus
from urllib.parse import urljoin

from handler.callbacks.guard import AllowList, Resolve, Target, check, parse_target, system_resolve
from handler.callbacks.limit import TimeLimit
from handler.errors import CallbackRefused

MOST_REDIRECTS = 3
_KEEPING = (307, 308)  # redirects that keep method and body
_READ = 64 * 1024  # bytes of an answer: whoever closes on unread bytes resets the connection
_READ_SECONDS = 2.0  # for them; the status has decided by then
_CONNECT_SECONDS = 10.0  # an address


@dataclass(frozen=True, slots=True)
class Answer:
    """``outcome``: the status, or why there is none, in words that hold no secret. ``hopeless``: no further try can
    succeed. ``aborted``: it was cut off on our side, because the worker ends.
    """

    delivered: bool
    outcome: str
    hopeless: bool = False
    aborted: bool = False


class Transport:
    """``seconds`` for a whole try. `send` may be called by several threads."""

    def __init__(
        self,
        allow: AllowList,
        seconds: float,
        *,
        resolve: Resolve = system_resolve,
        trust: Callable[[], ssl.SSLContext] = ssl.create_default_context,
    ) -> None:
        self._allow = allow
        self._seconds = seconds
        self._resolve = resolve
        self._trust = trust
        self._lock = threading.Lock()
        self._limits: set[TimeLimit] = set()
        self._aborted = False

    @cached_property
    def _context(self) -> ssl.SSLContext:
        return self._trust()

    def abort(self) -> None:
        """Cut off what is under way, and all that comes after."""
        with self._lock:
            self._aborted = True
            limits = list(self._limits)
        for limit in limits:
            limit.end()

    def send(self, url: str, method: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Never raises for what a receiver or the network does."""
        with TimeLimit(self._seconds) as limit:
            with self._lock:
                self._limits.add(limit)
                if self._aborted:
                    limit.over = True
            try:
                return self._follow(url, method, body, headers, limit)
            except CallbackRefused as error:
                return Answer(False, error.message, hopeless=True)
            except (OSError, http.client.HTTPException) as error:
                return self._failed(error, limit)
            finally:
                with self._lock:
                    self._limits.discard(limit)

    def _failed(self, error: Exception, limit: TimeLimit) -> Answer:
        if self._aborted:
            return Answer(False, "cut off: the worker ended", aborted=True)
        if limit.over or isinstance(error, TimeoutError):
            return Answer(False, f"no whole answer within {limit.seconds:g} s")
        return Answer(False, _why(error))

    def _follow(self, url: str, method: str, body: bytes, headers: Mapping[str, str], limit: TimeLimit) -> Answer:
        first = target = self._checked(parse_target(url), limit)
        for redirects in range(MOST_REDIRECTS + 1):
            status, location = self._request(target, method, body, headers, limit)
            if 200 <= status < 300:
                return Answer(True, _phrase(status))
            if not 300 <= status < 400 or status == HTTPStatus.NOT_MODIFIED:
                return Answer(False, _phrase(status))
            if status not in _KEEPING:
                return Answer(False, f"{_phrase(status)}: only redirects with 307 and 308 keep method and body")
            if not location:
                return Answer(False, f"{_phrase(status)} without an address")
            if redirects < MOST_REDIRECTS:
                onward = self._onward(target, location, limit)
                own = first.authorization if onward.origin == first.origin else None
                target = replace(onward, authorization=own)
        return Answer(False, f"redirected more than {MOST_REDIRECTS} times")

    def _onward(self, target: Target, location: str, limit: TimeLimit) -> Target:
        try:
            return self._checked(parse_target(_joined(target, location)), limit)
        except CallbackRefused as error:
            raise CallbackRefused(f"it was redirected, and {error.message}") from error

    def _checked(self, target: Target, limit: TimeLimit) -> Target:
        return check(target, self._allow, lambda host, port: self._in_time(host, port, limit))

    def _in_time(self, host: str, port: int, limit: TimeLimit) -> Sequence[str]:
        """The resolver's answer. It cannot be interrupted, so it is left behind when the time is over."""
        answers: list[Sequence[str] | Exception] = []
        done = threading.Event()

        def ask() -> None:
            try:
                answers.append(self._resolve(host, port))
            except (OSError, UnicodeError) as error:
                answers.append(error)
            finally:
                done.set()

        limit.cut(done.set)
        threading.Thread(target=ask, name="resolver", daemon=True).start()
        done.wait()
        if not answers:
            raise TimeoutError("the resolver gave no answer")
        if isinstance(answers[0], Exception):
            raise _Unresolved("its host's name cannot be resolved") from answers[0]
        return answers[0]

    def _request(
        self, target: Target, method: str, body: bytes, headers: Mapping[str, str], limit: TimeLimit
    ) -> tuple[int, str | None]:
        """(status, where it redirects to)."""
        connection = _Pinned(target, self._context if target.scheme == "https" else None, limit)
        sent = {"Host": target.host_header, **headers, "Connection": "close"}
        if target.authorization is not None:
            sent["Authorization"] = target.authorization
        with contextlib.closing(connection):
            broken: OSError | None = None
            try:
                connection.request(method, target.path, body, sent)
            except (BrokenPipeError, ConnectionResetError) as error:
                if connection.sock is None:
                    raise
                broken = error  # it may have said why before it hung up
            try:
                response = connection.getresponse()
            except (OSError, http.client.HTTPException):
                if broken is not None:
                    raise broken from None
                raise
            with contextlib.closing(response):
                if limit.over:  # headers that were cut off pass for whole ones
                    raise TimeoutError("the time is over")
                if broken is not None and 200 <= response.status < 300:
                    raise broken
                if response.status not in _KEEPING:
                    limit.restart(_READ_SECONDS)
                    with contextlib.suppress(OSError, http.client.HTTPException):
                        response.read(_READ)
                return response.status, response.headers.get("Location")


class _Unresolved(OSError):
    """A name without addresses."""


class _Pinned(http.client.HTTPConnection):
    """Connects to the target's checked addresses alone; over TLS, the certificate must be for the target's name."""

    def __init__(self, target: Target, context: ssl.SSLContext | None, limit: TimeLimit) -> None:
        super().__init__(target.host, target.port)
        self._target = target
        self._context = context
        self._limit = limit

    def connect(self) -> None:
        connected = self._connected()
        try:
            self._limit.cut_socket(connected)
            if self._context is not None:
                connected = self._context.wrap_socket(connected, server_hostname=self._target.host)
        except BaseException:
            connected.close()
            raise
        self.sock = connected

    def _connected(self) -> socket.socket:
        last: OSError = OSError("no address")
        for address in self._target.addresses:
            if self._limit.over:
                raise TimeoutError("the time is over")
            family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
            tried = socket.socket(family, socket.SOCK_STREAM)
            try:
                tried.settimeout(min(_CONNECT_SECONDS, self._limit.seconds))
                tried.connect((address, self._target.port))
                tried.settimeout(self._limit.seconds)
                return tried
            except OSError as error:
                tried.close()
                last = error
        raise last


def _joined(target: Target, location: str) -> str:
    try:
        return urljoin(f"{target.scheme}://{target.host_header}{target.path}", location)
    except ValueError as error:
        raise CallbackRefused("that address cannot be read") from error


def _phrase(status: int) -> str:
    """The standard's words for a status: the receiver's own are not repeated."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _why(error: Exception) -> str:
    if isinstance(error, _Unresolved):
        return str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate was not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return "the TLS handshake failed"
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(error, http.client.RemoteDisconnected | ConnectionResetError | BrokenPipeError):
        return "the connection was closed before an answer came"
    if isinstance(error, http.client.HTTPException):
        return "the answer is no HTTP"
    return f"the connection failed ({type(error).__name__})"
