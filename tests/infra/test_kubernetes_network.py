"""The network policies of infra/kubernetes/: where pods may connect to, and who to them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Any

import pytest
from cluster import OVERLAYS, cluster

each_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


def policy(overlay: str, name: str) -> Any:
    [found] = [one for one in cluster(overlay).of("NetworkPolicy") if one["metadata"]["name"] == name]
    assert found["spec"]["podSelector"] == {}, "of all pods"
    return found["spec"]


def reachable(overlay: str, port: int) -> Iterator[Any]:
    """What pods may open a TCP connection to, at that port."""
    for rule in policy(overlay, "outwards")["egress"]:
        if any(one["port"] == port and one["protocol"] == "TCP" for one in rule["ports"]):
            yield from rule["to"]


def lets(peer: Any, address: str) -> bool:
    block = peer.get("ipBlock")
    there = ipaddress.ip_address(address)
    if block is None or there.version != ipaddress.ip_network(block["cidr"]).version:
        return False
    inside = there in ipaddress.ip_network(block["cidr"])
    return inside and not any(there in ipaddress.ip_network(one) for one in block.get("except", ()))


@each_overlay
@pytest.mark.parametrize(
    ("address", "port", "wanted"),
    [
        ("52.218.0.1", 443, True),  # S3
        ("2a05:d070::1", 443, True),
        ("52.218.0.1", 80, False),
        ("169.254.169.254", 80, False),  # the node's role
        ("169.254.169.254", 443, False),
        ("fd00:ec2::254", 443, False),
        ("10.0.0.1", 443, False),  # the cluster's own API, as a rule
        ("192.168.1.1", 443, False),
        ("172.20.0.1", 443, False),
        ("100.64.0.1", 443, False),
    ],
)
def test_where_pods_may_go(overlay: str, address: str, port: int, wanted: bool) -> None:
    """Out of the cluster by HTTPS alone; not to the node's credentials, and not into private networks."""
    assert policy(overlay, "outwards")["policyTypes"] == ["Egress"]
    assert any(lets(peer, address) for peer in reachable(overlay, port)) is wanted


@each_overlay
def test_an_s3_server_in_the_cluster_is_reached(overlay: str) -> None:
    """Where the settings name a server in the cluster, the policy lets pods to it, and to nothing else in there."""
    url = cluster(overlay).variables.get("AWS_ENDPOINT_URL_S3")
    spaces = {
        (peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], one["port"])
        for rule in policy(overlay, "outwards")["egress"]
        for peer in rule["to"]
        if "namespaceSelector" in peer
        for one in rule["ports"]
    }
    wanted = {("kube-system", 53)}
    if url is not None:
        found = re.fullmatch(r"http://\w+\.(\w+)\.svc:(\d+)", url)
        assert found is not None
        wanted |= {(found[1], int(found[2]))}
    assert spaces == wanted


@each_overlay
def test_who_may_come(overlay: str) -> None:
    """Only Prometheus' namespace may connect to pods, and only to the port of /metrics."""
    spec = policy(overlay, "inwards")
    [rule] = spec["ingress"]
    assert spec["policyTypes"] == ["Ingress"]
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    assert rule["ports"] == [{"port": int(cluster(overlay).variables["DROPSCRIBE_HTTP_PORT"]), "protocol": "TCP"}]
