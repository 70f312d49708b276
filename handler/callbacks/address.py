"""What kind of address an IP address is: one of the open internet, one of somebody's own network, or one that nobody is
ever called back at. Pure.

The lists are IANA's special-purpose registries and the cloud providers' metadata addresses; `ipaddress` knows most of
the former, differently in each version of Python, so what matters is spelt out here.
"""

from __future__ import annotations

import ipaddress
from typing import Literal

IP = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

Kind = Literal["public", "private", "never"]


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


# A receiver may live here, if the operator says so.
_PRIVATE = _networks(
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",  # RFC 1918
    "100.64.0.0/10",  # shared address space of carriers (and of some overlay networks)
    "127.0.0.0/8", "::1/128",  # loopback
    "fc00::/7",  # unique local
)  # fmt: skip

# Only an entry of the allow list that gives the very address or network lets these in, never a host's name.
_NEVER = _networks(
    "169.254.0.0/16", "fe80::/10",  # link-local: the metadata service of most clouds
    "168.63.129.16/32",  # Azure's, an address of the open internet by all other signs
    "100.100.100.200/32",  # Alibaba's
    "fd00:ec2::/32", "fd20:ce::/32",  # AWS' and Google's on IPv6
    "0.0.0.0/8", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24",
    "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
)  # fmt: skip

_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")  # all that is unicast and given out
_TUNNELS = _networks("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")  # Teredo, documentation, 6to4, …
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def kind_of(address: IP) -> Kind:
    """``public`` is global unicast. An IPv4 address in IPv6's clothes (mapped, behind NAT64) is what it is inside."""
    address = _inside(address)
    if _within(address, _NEVER):
        return "never"
    if _within(address, _PRIVATE):
        return "private"
    if isinstance(address, ipaddress.IPv6Address):
        fit = address in _GLOBAL_V6 and not _within(address, _TUNNELS) and address.scope_id is None
        return "public" if fit and address.is_global else "never"
    return "public" if address.is_global and not address.is_multicast else "never"


def _inside(address: IP) -> IP:
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def belongs(address: IP, network: Network) -> bool:
    """Whether an address lies in a network, clothes or not."""
    return any(one.version == network.version and one in network for one in (address, _inside(address)))


def _within(address: IP, networks: tuple[Network, ...]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
