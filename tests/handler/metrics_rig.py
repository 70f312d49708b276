"""A sink for tests: what an observer passes on, as it came."""

from __future__ import annotations

from handler.metrics import Metric


class Noted:
    """A sink that keeps what it is told."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, ...], float] = {}  # by name and labels
        self.values: dict[tuple[str, ...], float] = {}
        self.seen: list[tuple[str, float, tuple[str, ...]]] = []

    def count(self, metric: Metric, *labels: str, amount: float = 1.0) -> None:
        self.counts[(metric.name, *labels)] = self.counts.get((metric.name, *labels), 0.0) + amount

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        self.values[(metric.name, *labels)] = value

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        self.seen.append((metric.name, value, labels))

    def of(self, metric: Metric) -> dict[tuple[str, ...], float]:
        """Its counts by labels."""
        return {key[1:]: count for key, count in self.counts.items() if key[0] == metric.name}

    def observed(self, metric: Metric) -> list[tuple[str, ...]]:
        """The labels of its observations, in order."""
        return [labels for name, _, labels in self.seen if name == metric.name]
