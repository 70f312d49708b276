"""Where callbacks may go: a URL is taken apart, its host resolved, and every address looked at before anything is sent.

Takes a URL, the operator's allow list and a resolver; gives a `Target` with the addresses that may be connected to, or
says why not. A callback's URL comes from whoever may drop a recording; without this, they could have the worker speak
to the network that it stands in. Knows nothing of connections: who sends must connect to these very addresses, and ask
again for each redirect.
"""

from __future__ import annotations

import base64
import dataclasses
import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, unquote, urlsplit

from handler.callbacks.address import IP, Network, belongs, kind_of
from handler.errors import CallbackRefused, SettingsError

Resolve = Callable[[str, int], Sequence[str]]
"""All addresses of a host, in the order in which they should be tried. OSError when there are none."""

_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_UNFIT = re.compile(r"[\x00-\x20\x7f\\]")
_ENTRY = re.compile(r"(?P<host>\[[^\]]+\]|[^:\[\]]+)(?::(?P<port>[0-9]{1,5}|\*))?")
_PATH_SAFE = "/%:@!$&'()*+,;=~-._"


@dataclass(frozen=True, slots=True)
class Target:
    """One request's address. ``path`` with the query; ``authorization``: the header that a user in the URL stands for;
    ``addresses`` were checked, nothing else may be connected to.
    """

    scheme: str
    host: str
    port: int
    path: str
    authorization: str | None
    addresses: tuple[str, ...] = ()

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the allow list: a host's name, a suffix of names, or a network; ``port`` None: 80 and 443, 0: any."""

    name: str | None = None
    suffix: str | None = None
    network: Network | None = None
    port: int | None = None

    def names(self, host: str) -> bool:
        return host == self.name or (self.suffix is not None and host.endswith(self.suffix))

    def opens(self, port: int) -> bool:
        return self.port == 0 or (port in _PORTS.values() if self.port is None else port == self.port)


class AllowList:
    """``DROPSCRIBE_CALLBACK_ALLOW``: what is allowed beyond HTTPS to port 443 of public addresses.

    Hosts, ``*.suffix``, addresses and networks, each with an optional ``:port`` (``:*`` for any), between commas or
    spaces. `SettingsError`.
    """

    def __init__(self, text: str = "") -> None:
        self.entries = tuple(_entry(word) for word in re.split(r"[,\s]+", text.strip()) if word)

    def refusal(self, target: Target, address: IP) -> str | None:
        """Why this address may not be connected to for this target; None if it may."""
        kind = kind_of(address)
        opened = [entry for entry in self.entries if entry.opens(target.port)]
        if any(entry.network is not None and belongs(address, entry.network) for entry in opened):
            return None
        if kind == "never" or (kind == "private" and not any(entry.names(target.host) for entry in opened)):
            return "its host has an address that is not one of the open internet"
        if any(entry.names(target.host) for entry in opened):
            return None
        if target.scheme != "https":
            return "it is not https"
        return None if target.port == _PORTS["https"] else f"its port is {target.port}, not 443"


def parse_target(url: str) -> Target:
    """Take a URL apart, without asking anybody. `CallbackRefused`."""
    if _UNFIT.search(url):
        raise CallbackRefused("the callback's URL holds spaces or control characters")
    try:
        parts = urlsplit(url)
        port, host = parts.port, _host(parts.hostname or "")
        path = quote(parts.path, safe=_PATH_SAFE) or "/"
        query = f"?{quote(parts.query, safe=_PATH_SAFE + '?')}" if parts.query else ""
        authorization = _authorization(parts)
    except ValueError as error:  # brackets that do not close, a port or a name that cannot be, half a character
        raise CallbackRefused("the callback's URL cannot be read") from error
    if parts.scheme not in _PORTS or not host or port == 0:
        raise CallbackRefused("the callback's URL is not an http or https URL with a host")
    return Target(parts.scheme, host, port or _PORTS[parts.scheme], path + query, authorization)


def check(target: Target, allow: AllowList, resolve: Resolve) -> Target:
    """The target with its addresses, each of which may be connected to. `CallbackRefused` if only one may not: a name
    with a public and a private address is no mistake. OSError when the name has none.
    """
    try:
        found = [str(ipaddress.ip_address(target.host))]
    except ValueError:
        found = list(resolve(target.host, target.port))
    for text in found:
        reason = allow.refusal(target, ipaddress.ip_address(text))
        if reason is not None:
            raise CallbackRefused(f"the callback's URL was refused: {reason}")
    if not found:
        raise OSError("the name has no address")
    return dataclasses.replace(target, addresses=tuple(dict.fromkeys(found)))


def system_resolve(host: str, port: int) -> list[str]:
    """The machine's own resolver. OSError."""
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _host(text: str) -> str:
    """Lower case, in ASCII, without the dot at the end. ValueError."""
    text = text.rstrip(".").lower()
    if ":" in text:
        return str(ipaddress.IPv6Address(text))
    name = text.encode("idna").decode() if not text.isascii() else text
    if not _NAME.fullmatch(name):
        raise ValueError("no host")
    return name


def _authorization(parts: SplitResult) -> str | None:
    if parts.username is None:
        return None
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _entry(word: str) -> Entry:
    try:
        return _parsed_entry(word)
    except ValueError as error:
        raise SettingsError(
            f"DROPSCRIBE_CALLBACK_ALLOW: {word!r} is no host, *.suffix, address or network with an optional :port"
        ) from error


def _parsed_entry(word: str) -> Entry:
    found = _ENTRY.fullmatch(word)
    if found is None:  # an IPv6 address or network without brackets has no port
        return Entry(network=ipaddress.ip_network(word))
    host, port = found["host"].strip("[]"), found["port"]
    number = None if port is None else 0 if port == "*" else int(port)
    if number is not None and (number > 65535 or (number == 0 and port != "*")):
        raise ValueError("no port")
    if host.startswith("*."):
        return Entry(suffix="." + _host(host[2:]), port=number)
    try:
        return Entry(network=ipaddress.ip_network(host), port=number)
    except ValueError:
        return Entry(name=_host(host), port=number)
