"""The page of metrics, as Prometheus's own parser reads it, and the port on which it is served."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families as parsed

from handler import metrics
from handler.errors import Usage
from handler.exposition import CONTENT_TYPE, Prometheus
from handler.health import Health
from handler.metrics import CATALOGUE


def series(page: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """By name and labels."""
    samples = [sample for family in parsed(page.decode()) for sample in family.samples]
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in samples}


def told() -> Prometheus:
    """Each metric of the catalogue told of once, with every label that is known, or one of its own."""
    sink = Prometheus()
    for metric in CATALOGUE:
        labels = [values[0] if values else "any" for _, values in metric.labels]
        match metric.kind:
            case "counter":
                sink.count(metric, *labels, amount=2)
            case "gauge":
                sink.set(metric, 2, *labels)
            case "histogram":
                sink.observe(metric, 2, *labels)
    return sink


def test_every_metric_is_on_the_page() -> None:
    """Under its agreed name, with its kind and help; and nothing else of ours, such as the library's _created."""
    families = {family.name: family for family in parsed(told().page().decode())}
    for metric in CATALOGUE:
        family = families.pop(metric.name.removesuffix("_total"))
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        name = f"{metric.name}_sum" if metric.kind == "histogram" else metric.name
        assert 2 in [sample.value for sample in family.samples if sample.name == name], metric.name
    assert not [name for name in families if name.startswith("dropscribe")]
    assert "process_resident_memory_bytes" in families


def test_known_series_begin_at_zero() -> None:
    """A rate over a counter that appears with its first event would miss that event: outcomes are there at 0."""
    found = series(Prometheus().page())
    for outcome in metrics.OUTCOMES:
        assert found[(metrics.JOBS.name, (("outcome", outcome),))] == 0
    assert not [name for name, _ in found if name == metrics.COLD_START.name]


def test_two_workers_share_nothing() -> None:
    """Each object has its own figures: two in one process do not add up."""
    one, other = Prometheus(), Prometheus()
    one.count(metrics.LEASE_LOSSES)
    assert series(other.page())[(metrics.LEASE_LOSSES.name, ())] == 0


class Port:
    """A served worker whose readiness the test sets."""

    def __init__(self) -> None:
        self.ready = False
        self.health = Health("127.0.0.1", 0, lambda: self.ready, lambda: b"a 1\n", CONTENT_TYPE)

    def get(self, path: str, method: str = "GET") -> tuple[int, str, str]:
        host, port = self.health.address
        request = urllib.request.Request(f"http://{host}:{port}{path}", method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=10) as answer:
                return answer.status, answer.read().decode(), answer.headers["Content-Type"]
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode(), error.headers["Content-Type"]


@pytest.fixture
def port() -> Iterator[Port]:
    made = Port()
    yield made
    made.health.close()


def test_ready_only_while_it_takes_jobs(port: Port) -> None:
    """/readyz is 503 until the worker is ready, and again when it is no more; /livez is 200 throughout."""
    assert port.get("/readyz")[0] == 503
    assert port.get("/livez")[0] == 200
    port.ready = True
    assert port.get("/readyz")[0] == 200
    port.ready = False
    assert port.get("/readyz?verbose")[0] == 503
    assert port.get("/livez")[0] == 200


def test_metrics_are_served(port: Port) -> None:
    """In the text format, by its own content type; HEAD has no body, other paths are not found, posts not served."""
    assert port.get("/metrics") == (200, "a 1\n", CONTENT_TYPE)
    assert port.get("/metrics", "HEAD")[:2] == (200, "")
    assert port.get("/etc/passwd")[0] == 404
    assert port.get("/metrics", "POST")[0] == 501


def test_a_port_that_is_taken() -> None:
    """Is said in one line that names the setting, before anything starts."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Usage, match="cannot be listened on") as error:
            Health("127.0.0.1", taken.getsockname()[1], lambda: True, lambda: b"", CONTENT_TYPE)
    assert "DROPSCRIBE_HTTP_PORT" in error.value.hint
