"""Which addresses callbacks may go to: what a URL, a name's addresses and the operator's list allow."""

from __future__ import annotations

import dataclasses
import ipaddress

import pytest
from callback_rig import resolving
from hypothesis import given
from hypothesis import strategies as st

from handler.callbacks.address import kind_of
from handler.callbacks.guard import AllowList, check, parse_target
from handler.errors import CallbackRefused, SettingsError

PUBLIC = "93.184.216.34"
NOWHERE = (
    "127.0.0.1", "127.8.9.10", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "0.0.0.0",
    "0.1.2.3", "169.254.169.254", "169.254.0.1", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.1",
    "203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "168.63.129.16", "100.100.100.200",
    "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.1.2.3", "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "fe80::1", "fe80::1%1", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1",
    "2001::1", "2001:db8::1", "2002:7f00:1::1", "2002:a00:1::", "100::1", "3fff::1", "5f00::1", "4000::1",
)  # fmt: skip


def target(url: str, allow: str = "", **names: list[str]):  # type: ignore[no-untyped-def]
    return check(parse_target(url), AllowList(allow), resolving(**names))


@pytest.mark.parametrize("address", NOWHERE)
def test_only_public_addresses(address: str) -> None:
    """No name and no literal leads to an address that is not global unicast, whatever it is dressed as."""
    with pytest.raises(CallbackRefused):
        target("https://hooks.example/x", hooks_example=[address])
    literal = address.partition("%")[0]
    with pytest.raises(CallbackRefused):
        target(f"https://[{literal}]/x" if ":" in literal else f"https://{literal}/x")


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"])
def test_public_addresses(address: str) -> None:
    """What is global unicast may be called, and is what will be connected to."""
    assert target("https://hooks.example/x", hooks_example=[address]).addresses == (
        str(ipaddress.ip_address(address)),
    ) or target("https://hooks.example/x", hooks_example=[address]).addresses == (address,)


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_what_python_knows_to_be_special_is_never_public(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """Whatever `ipaddress` says is not global or is multicast is not public here either."""
    if kind_of(address) == "public":
        inside = getattr(address, "ipv4_mapped", None) or address
        nat64 = address.version == 6 and address in ipaddress.ip_network("64:ff9b::/96")
        assert nat64 or inside.is_global
        assert not inside.is_multicast
        assert not inside.is_link_local


def test_one_private_address_among_public_ones() -> None:
    """A name with a public and a private address is refused: the second one might be the one connected to."""
    with pytest.raises(CallbackRefused, match="not one of the open internet"):
        target("https://hooks.example/", hooks_example=[PUBLIC, "10.0.0.7"])


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://hooks.example/", "not https"),
        ("https://hooks.example:8443/", "port is 8443"),
        ("https://hooks.example:22/", "port is 22"),
        ("ftp://hooks.example/", "not an http"),
        ("file:///etc/passwd", "cannot be read"),
        ("gopher://hooks.example/", "not an http"),
        ("https:///path", "cannot be read"),
        ("https://hooks.example:0/", "not an http"),
        ("https://hooks.example:99999/", "cannot be read"),
        ("https://[::1/", "cannot be read"),
        ("https://exa mple/", "spaces"),
        ("https://hooks.example/\r\nHost: evil", "spaces"),
        ("https://hooks.example\\@10.0.0.1/", "spaces"),
        ("https://a..b/", "cannot be read"),
        ("https://hooks.example%00/", "cannot be read"),
        ("https://hooks.example/\ud800", "cannot be read"),
        ("https://hooks.example/?\ud800", "cannot be read"),
        ("https://me:\ud800@hooks.example/", "cannot be read"),
    ],
)
def test_urls_that_are_refused(url: str, why: str) -> None:
    """What is not HTTPS to port 443 of a host is refused, with the reason and without the URL."""
    with pytest.raises(CallbackRefused, match=why) as refused:
        target(url, hooks_example=[PUBLIC])
    assert "example" not in refused.value.message


@pytest.mark.parametrize(
    ("allow", "url", "addresses", "fits"),
    [
        ("hooks.example", "http://hooks.example/", [PUBLIC], True),
        ("hooks.example", "http://hooks.example:8080/", [PUBLIC], False),
        ("hooks.example:8080", "http://hooks.example:8080/", [PUBLIC], True),
        ("hooks.example:8080", "http://hooks.example/", [PUBLIC], False),
        ("hooks.example:*", "https://hooks.example:9/", ["10.0.0.1"], True),
        ("HOOKS.example", "https://hooks.EXAMPLE./", ["192.168.0.1"], True),
        ("hooks.example", "https://evil-hooks.example/", ["192.168.0.1"], False),
        ("*.example", "https://hooks.example/", ["10.0.0.1"], True),
        ("*.example", "https://example/", ["10.0.0.1"], False),
        ("*.example", "https://hooks.example.evil/", ["10.0.0.1"], False),
        ("hooks.example", "https://hooks.example/", ["169.254.169.254"], False),
        ("hooks.example", "https://hooks.example/", ["fd00:ec2::254"], False),
        ("169.254.169.254", "http://169.254.169.254/", [], True),
        ("10.0.0.0/8", "http://hooks.example/", ["10.1.2.3"], True),
        ("10.0.0.0/8:8080", "http://hooks.example:8080/", ["10.1.2.3"], True),
        ("10.0.0.0/8", "http://hooks.example/", ["10.1.2.3", "11.1.2.3"], False),
        ("10.0.0.0/8", "http://hooks.example/", ["::ffff:10.1.2.3"], True),
        ("[fd12::/16]:8080", "http://hooks.example:8080/", ["fd12::1"], True),
        ("fd12::/16", "http://hooks.example/", ["fd12::1"], True),
        ("a.example, 127.0.0.1:9000 ,*.b.example", "http://127.0.0.1:9000/", [], True),
    ],
)
def test_the_allow_list(allow: str, url: str, addresses: list[str], fits: bool) -> None:
    """An entry lets in what it names, on its port, and nothing beside it; a name never lets in a metadata service."""
    names = {"hooks_example": addresses, "example": addresses, "evil-hooks_example": addresses}
    names["hooks_example_evil"] = addresses
    if fits:
        assert target(url, allow, **names).addresses
    else:
        with pytest.raises(CallbackRefused):
            target(url, allow, **names)


@pytest.mark.parametrize(
    "allow", ["http://hooks.example", "a:b", "a:99999", "a:0", "10.0.0.1/8", "*", "a b/c", "*.*.x"]
)
def test_lists_that_cannot_be(allow: str) -> None:
    """A mistake in the list is said when the worker starts, and opens nothing."""
    with pytest.raises(SettingsError, match="DROPSCRIBE_CALLBACK_ALLOW"):
        AllowList(allow)


@pytest.mark.parametrize(
    "url", ["https://2130706433/", "https://0x7f000001/", "https://127.1/", "https://0177.0.0.1/", "https://localhost/"]
)
def test_other_spellings_of_this_machine(url: str) -> None:
    """However an address is written, what the resolver makes of it is what is judged."""
    from handler.callbacks.guard import system_resolve

    with pytest.raises((CallbackRefused, OSError)):
        check(parse_target(url), AllowList(), system_resolve)


def test_an_address_that_is_named_twice_is_tried_once() -> None:
    """What the resolver says twice is one address to connect to, in its place; all else of the target stays."""
    parsed = parse_target("https://me:x@hooks.example/a?b=1")
    found = check(parsed, AllowList(), lambda host, port: [PUBLIC, "2606:4700::1111", PUBLIC])
    assert found == dataclasses.replace(parsed, addresses=(PUBLIC, "2606:4700::1111"))


def test_what_is_requested() -> None:
    """Path and query are sent as they are, user and password as a header, the fragment not at all."""
    found = parse_target("https://me:s%3Acret@Hooks.Example:443/a%20b/ü?x=1&y=%2F#there")
    assert (found.host, found.port, found.host_header) == ("hooks.example", 443, "hooks.example")
    assert found.path == "/a%20b/%C3%BC?x=1&y=%2F"
    assert found.authorization == "Basic bWU6czpjcmV0"
    assert parse_target("https://bücher.example").host == "xn--bcher-kva.example"
    assert parse_target("https://h.example").path == "/"
