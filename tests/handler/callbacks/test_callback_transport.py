"""One try over a real connection: what is sent, what counts as accepted, and receivers that behave badly."""

from __future__ import annotations

import ipaddress
import socket
import threading
from typing import Any

import pytest
from callback_rig import (
    BODY,
    SHORT,
    Behaviour,
    Receiver,
    answer,
    babble,
    die,
    drip,
    drip_body,
    moved,
    reset,
    resolving,
    stall,
)

from handler.callbacks.guard import AllowList
from handler.callbacks.transport import MOST_REDIRECTS, Answer, Transport


def send(receiver: Receiver, url: str | None = None, method: str = "POST", body: bytes = BODY, **given: Any) -> Answer:
    transport = receiver.transport(**given)
    return transport.send(url or receiver.url(), method, body, {"Content-Type": "application/json", "x-own": "1"})


# ── what is sent, and what is taken for accepted ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_the_very_bytes(method: str) -> None:
    """The receiver gets the method, the path with its query, the headers and the very bytes, once."""
    with Receiver() as receiver:
        assert send(receiver, receiver.url("/a%20b?token=x&y"), method) == Answer(True, "200 OK")
        [found] = receiver.received
    assert (found.method, found.path, found.body) == (method, "/a%20b?token=x&y", BODY)
    assert found.headers["content-type"] == "application/json"
    assert found.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert found.headers["content-length"] == str(len(BODY))
    assert found.headers["x-own"] == "1"
    assert "authorization" not in found.headers


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_accepted(status: int) -> None:
    """Any 2xx is an acceptance."""
    with Receiver(answer(status)) as receiver:
        assert send(receiver).delivered


@pytest.mark.parametrize("status", [300, 304, 400, 401, 404, 410, 429, 500, 503, 599])
def test_nothing_else_is(status: int) -> None:
    """Every other status is a failure that may pass, told in the standard's words and not in the receiver's."""
    with Receiver(answer(status)) as receiver:
        found = send(receiver)
    assert not found.delivered
    assert not found.hopeless
    assert found.outcome.startswith(str(status))
    assert "as the receiver says" not in found.outcome


def test_a_user_in_the_url_is_sent_as_a_header() -> None:
    """User and password of a URL are sent as Basic credentials, and stand in no request line."""
    with Receiver() as receiver:
        assert send(receiver, f"http://me:secret@127.0.0.1:{receiver.port}/").delivered
        [found] = receiver.received
    assert found.headers["authorization"] == "Basic bWU6c2VjcmV0"
    assert "secret" not in found.path + found.headers["host"]


# ── receivers that behave badly ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        (stall, "no whole answer within"),
        (drip, "no whole answer within"),
        (reset, "closed before an answer"),
        (die, "no HTTP"),
        (babble, "no HTTP"),
    ],
)
def test_a_try_ends(behaviour: Behaviour, why: str) -> None:
    """Whatever a receiver does, a try ends within its limit, as a failure that may pass."""
    with Receiver(behaviour) as receiver:
        found = send(receiver, seconds=SHORT)
    assert (found.delivered, found.hopeless) == (False, False)
    assert why in found.outcome


def test_a_receiver_that_takes_nothing() -> None:
    """A try whose bytes are not even read ends, too."""
    with Receiver(stall, reads=False) as receiver:
        found = send(receiver, body=b"x" * (64 << 20), seconds=SHORT)
    assert "no whole answer within" in found.outcome


def test_a_yes_that_never_ends() -> None:
    """Who said yes has it: what follows the status is neither waited for nor a reason to send it again."""
    with Receiver(drip_body) as receiver:
        assert send(receiver, seconds=SHORT).delivered


def test_a_no_before_everything_was_sent() -> None:
    """A receiver that refuses a body without reading it is heard, as far as its system lets it be."""
    with Receiver(answer(413), reads=False) as receiver:
        found = send(receiver, body=b"x" * (16 << 20))
    assert not found.delivered
    assert found.outcome.startswith("413") or "closed before" in found.outcome


def test_nobody_listens() -> None:
    """A port where nobody listens is a failure that may pass."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    found = Transport(AllowList(f"127.0.0.1:{port}"), 5).send(f"http://127.0.0.1:{port}/", "POST", b"", {})
    assert found == Answer(False, "the connection was refused")


def test_a_name_that_cannot_be_resolved() -> None:
    """A name without addresses may have some later; one that takes too long to resolve ends with the try."""
    transport = Transport(AllowList("*.example"), 5, resolve=resolving())
    assert transport.send("https://no.example/", "POST", b"", {}) == Answer(False, "its host's name cannot be resolved")
    never = threading.Event()

    def slow(host: str, port: int) -> list[str]:
        never.wait(5)
        return []

    found = Transport(AllowList("*.example"), SHORT, resolve=slow).send("https://no.example/", "POST", b"", {})
    never.set()
    assert "no whole answer within" in found.outcome


def test_a_worker_that_ends_cuts_it_off() -> None:
    """What is under way when the worker ends is cut off at once, and so is what would come after."""
    with Receiver(stall) as receiver:
        transport = receiver.transport(seconds=60)
        cutter = threading.Timer(0.1, transport.abort)
        cutter.start()
        found = transport.send(receiver.url(), "POST", BODY, {})
        assert found.aborted
        assert transport.send(receiver.url(), "POST", BODY, {}).aborted
        cutter.join()


# ── the very address ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_connection_goes_to_the_address_that_was_checked() -> None:
    """A name that resolves to something else a moment later (or for somebody else) changes nothing: the machine's own
    resolver is not asked again, and the receiver still hears the name.
    """
    asked: list[str] = []

    def once(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    with Receiver() as receiver:
        found = receiver.transport(resolve=once).send(f"http://hooks.invalid:{receiver.port}/", "POST", BODY, {})
        assert found.delivered
        assert receiver.received[0].headers["host"] == f"hooks.invalid:{receiver.port}"
    assert asked == ["hooks.invalid"]


def test_a_private_address_gets_no_connection() -> None:
    """A name with a private address is refused for good, and not a byte goes to any of its addresses."""
    with Receiver() as receiver:
        for addresses in (["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["127.0.0.1", "93.184.216.34"]):
            transport = Transport(AllowList(), 5, resolve=resolving(hooks_example=addresses))
            found = transport.send("https://hooks.example/", "POST", BODY, {})
            assert found.hopeless
            assert "not one of the open internet" in found.outcome
        assert receiver.connections == 0


def test_the_next_address_is_tried() -> None:
    """Of several addresses that may be used, one that does not answer is no reason to fail."""
    with Receiver() as receiver:
        resolve = resolving(hooks_example=["127.0.0.9", "127.0.0.1"])
        transport = receiver.transport(f"127.0.0.9:{receiver.port}", resolve=resolve)
        assert transport.send(f"http://hooks.example:{receiver.port}/", "POST", BODY, {}).delivered


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment would resolve and connect for us, unchecked: it is not asked."""
    with Receiver() as receiver, Receiver() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"):
            monkeypatch.setenv(name, proxy.url(""))
        assert send(receiver).delivered
        assert proxy.connections == 0


# ── redirects ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [307, 308])
def test_redirects_that_keep_everything(status: int) -> None:
    """307 and 308 are followed with method, headers and bytes; a relative address is taken, too."""
    with Receiver(moved("/there?x=1", status)) as receiver:
        assert send(receiver, method="PUT").delivered
        first, second = receiver.received
    assert (second.method, second.path, second.body) == ("PUT", "/there?x=1", BODY)
    assert second.headers["x-own"] == first.headers["x-own"] == "1"


@pytest.mark.parametrize("status", [301, 302, 303])
def test_redirects_that_would_lose_the_body(status: int) -> None:
    """Other redirects are failures that say why, and are not followed."""
    with Receiver(moved("/there", status)) as receiver:
        found = send(receiver)
        assert len(receiver.received) == 1
    assert (found.delivered, found.hopeless) == (False, False)
    assert "307" in found.outcome


def test_a_redirect_to_a_private_address() -> None:
    """Each redirect is checked like the first address: one to a private address is refused for good, unconnected."""
    with Receiver() as inside, Receiver(moved(inside.url("/latest/meta-data"))) as receiver:
        found = send(receiver)
        assert inside.connections == 0
    assert found.hopeless
    assert "redirected" in found.outcome
    assert "meta-data" not in found.outcome


@pytest.mark.parametrize("where", ["file:///etc/passwd", "http://[::1", "//", "gopher://127.0.0.1/"])
def test_a_redirect_to_nowhere(where: str) -> None:
    """A redirect to what is no address is a failure, not an error of ours."""
    with Receiver(moved(where), answer(500)) as receiver:
        assert not send(receiver).delivered


def test_a_redirect_to_itself_for_ever() -> None:
    """Redirects are followed so many times and no more."""
    with Receiver(*[moved("/hook")] * 20) as receiver:
        found = send(receiver)
        assert len(receiver.received) == MOST_REDIRECTS + 1
    assert found == Answer(False, f"redirected more than {MOST_REDIRECTS} times")


def test_a_redirect_elsewhere_takes_no_password_along() -> None:
    """Credentials of a URL are for that host alone; within it they are kept."""
    with Receiver() as other, Receiver(moved("/again"), moved(other.url())) as receiver:
        url = f"http://me:secret@127.0.0.1:{receiver.port}/"
        found = receiver.transport(f"127.0.0.1:{other.port}").send(url, "POST", BODY, {})
        assert found.delivered
        assert ["authorization" in one.headers for one in receiver.received] == [True, True]
        assert "authorization" not in other.received[0].headers


def test_ipv6_is_spoken() -> None:
    """A literal IPv6 address is connected to as such, and stands in brackets in Host."""
    if not socket.has_ipv6 or not ipaddress.ip_address("::1").is_loopback:
        pytest.skip("no IPv6 here")
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    heard: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            heard.append(connection.recv(65536))
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    with listener:
        port = listener.getsockname()[1]
        thread = threading.Thread(target=serve)
        thread.start()
        found = Transport(AllowList(f"[::1]:{port}"), 5).send(f"http://[::1]:{port}/", "POST", b"{}", {})
        thread.join()
    assert found.delivered
    assert f"host: [::1]:{port}".encode() in heard[0].lower()
