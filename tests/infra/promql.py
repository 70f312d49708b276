"""What a PromQL expression asks for: its metrics with the labels that it matches, groups by, or joins on.

Takes the text of a query, of Grafana's too, whose variables are filled in first. Raises what the parser raises for what
is no PromQL.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

GRAFANA = {"$__rate_interval": "5m", "$job": ".*", "${datasource}": "p"}


@dataclass(frozen=True)
class Selected:
    """``matched``: (label, values that it may have). ``rated``: its growth is asked for, by rate or increase."""

    name: str
    matched: tuple[tuple[str, tuple[str, ...]], ...]
    rated: bool


@dataclass
class Asked:
    """``metrics``: those that it selects. ``labels``: by which groups and joins are made."""

    metrics: list[Selected] = field(default_factory=list)
    labels: set[str] = field(default_factory=set)


def asked(query: str) -> Asked:
    """Of the whole expression."""
    parser = pytest.importorskip("promql_parser", reason="the extra `dev` is not installed whole")
    for name, value in GRAFANA.items():
        query = query.replace(name, value)
    found = Asked()
    for node, rated in _nodes(parser.parse(query), False):
        _note(node, rated, found)
    return found


def _note(node: Any, rated: bool, found: Asked) -> None:
    match type(node).__name__:
        case "VectorSelector":
            matched = tuple(
                (one.name, tuple(one.value.split("|")) if str(one.op).endswith("Re") else (one.value,))
                for one in node.matchers.matchers
            )
            assert node.name, "a selector without a metric's name"
            found.metrics.append(Selected(node.name, matched, rated))
        case "AggregateExpr" | "BinaryExpr" if node.modifier is not None:
            found.labels |= set(_words(node))


def _words(node: Any) -> Iterator[str]:
    """The labels of ``by (…)``, ``on (…)`` and the like, out of what the node prints as: the parser's own modifiers
    differ from node to node.
    """
    for listed in re.findall(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^()]*)\)", str(node)):
        yield from (word.strip() for word in listed.split(",") if word.strip())


def _nodes(node: Any, rated: bool) -> Iterator[tuple[Any, bool]]:
    """Each node, and whether it is what a rate or an increase is taken of."""
    yield node, rated
    if type(node).__name__ == "Call":
        rated = node.func.name in ("rate", "increase", "irate")
    for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
        below = getattr(node, name, None)
        if below is not None and not isinstance(below, str | int | float):
            yield from _nodes(below, rated)
    for below in getattr(node, "args", ()) or ():
        yield from _nodes(below, rated)
