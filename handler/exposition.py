"""The metrics as Prometheus reads them. Takes figures, as a `Sink`; gives the page.

One registry per object, nothing of the library's own global one. The library is imported by whoever makes one: a worker
without DROPSCRIBE_HTTP_PORT never does.
"""

from __future__ import annotations

import itertools
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from handler.metrics import CATALOGUE, Metric

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


class Prometheus:
    """See `handler.metrics.Sink`. Series whose labels are all known are there from the start, at 0: a rate over one
    that appears with its first event would miss that event. Gauges appear once they are known.
    """

    def __init__(self) -> None:
        # Without: a second series for each, which no dashboard reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._known: dict[str, Any] = {metric.name: self._made(metric) for metric in CATALOGUE}
        ProcessCollector(registry=self._registry)

    def count(self, metric: Metric, *labels: str, amount: float = 1.0) -> None:
        self._series(metric, labels).inc(amount)

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        self._series(metric, labels).set(value)

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        self._series(metric, labels).observe(value)

    def page(self) -> bytes:
        """The text format, version 0.0.4."""
        return generate_latest(self._registry)

    def _made(self, metric: Metric) -> Any:
        kind: Any = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}[metric.kind]
        more = {"buckets": metric.buckets} if metric.kind == "histogram" else {}
        made = kind(metric.name, metric.help, metric.label_names, registry=self._registry, **more)
        if metric.labels and metric.kind == "counter" and all(values for _, values in metric.labels):
            for labels in itertools.product(*(values for _, values in metric.labels)):
                made.labels(*labels)
        return made

    def _series(self, metric: Metric, labels: tuple[str, ...]) -> Any:
        known = self._known[metric.name]
        return known.labels(*labels) if metric.labels else known
