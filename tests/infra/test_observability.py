"""The dashboard and the alert rules ask for what the code exposes, in queries that Prometheus reads."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from itertools import combinations
from types import ModuleType
from typing import Any

import pytest
import yaml
from docs_rig import ROOT, text_of
from promql import Selected, asked

from handler.metrics import CATALOGUE, Metric

PLACE = ROOT / "infra" / "observability"
DASHBOARD = json.loads((PLACE / "dashboard.json").read_text(encoding="utf-8"))
RULES = [
    rule
    for group in yaml.safe_load((PLACE / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

SCRAPED = {"job", "instance"}  # labels that Prometheus itself adds
PARTS = ("_bucket", "_sum", "_count")  # of a histogram
# Of kube-state-metrics, which tells of what has ended. Name: (kind, labels).
KUBERNETES = {
    "kube_job_failed": ("gauge", {"namespace", "job_name", "condition"}),
    "kube_job_created": ("gauge", {"namespace", "job_name"}),
    "kube_cronjob_status_last_successful_time": ("gauge", {"namespace", "cronjob"}),
}


def queries() -> Iterator[tuple[str, str]]:
    """(where it stands, the query) of every panel and rule."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield f"{panel['title']}-{target['refId']}", target["expr"]
    for rule in RULES:
        yield rule["alert"], rule["expr"]


each_query = pytest.mark.parametrize(("where", "query"), list(queries()), ids=[where for where, _ in queries()])


def metric_of(name: str) -> Metric:
    """The metric of the list that a series' name belongs to; an error for one that is not exposed."""
    for metric in CATALOGUE:
        if metric.kind == "histogram":
            if name in {metric.name + part for part in PARTS}:
                return metric
        elif name == metric.name:
            return metric
    raise AssertionError(f"{name} is not among the metrics that the code exposes")


def labels_of(selected: Selected) -> set[str]:
    if selected.name in KUBERNETES:
        return KUBERNETES[selected.name][1]
    metric = metric_of(selected.name)
    own = set(metric.label_names) | SCRAPED
    return own | {"le"} if selected.name.endswith("_bucket") else own


@each_query
def test_it_asks_for_what_there_is(where: str, query: str) -> None:
    """Every metric in a query is one that the code exposes, with labels that it has, and values that these can have."""
    found = asked(query)
    assert found.metrics
    for one in found.metrics:
        has = labels_of(one)
        assert {label for label, _ in one.matched} <= has, one
        closed = {} if one.name in KUBERNETES else dict(metric_of(one.name).labels)
        for label, values in one.matched:
            if closed.get(label) and values != (".*",):
                assert set(values) <= set(closed[label]), one
    together = set.union(*(labels_of(one) for one in found.metrics))
    assert found.labels <= together


@each_query
def test_counters_are_rated_and_gauges_are_not(where: str, query: str) -> None:
    """What only grows is asked for its growth; what goes up and down is not."""
    for one in asked(query).metrics:
        kind = KUBERNETES[one.name][0] if one.name in KUBERNETES else metric_of(one.name).kind
        assert one.rated == (kind != "gauge"), one


def test_every_metric_is_looked_at() -> None:
    """Each metric that the code exposes is on the dashboard."""
    shown = {metric_of(one.name).name for panel in PANELS for t in panel["targets"] for one in asked(t["expr"]).metrics}
    assert shown == {metric.name for metric in CATALOGUE}


@pytest.mark.parametrize(
    "query",
    [
        "sum(rate(dropscribe_jobs_totals[5m]))",
        'rate(dropscribe_jobs_total{result="failed"}[5m])',
        'rate(dropscribe_jobs_total{outcome=~"failed|lost"}[5m])',
        "sum by (worker) (dropscribe_jobs_inprogress)",
        "dropscribe_real_time_factor",
        "dropscribe_queue_depth_bucket",
        "up",
    ],
)
def test_a_wrong_name_is_seen(query: str) -> None:
    """A metric, a label or a value that there is not fails."""
    with pytest.raises(AssertionError):
        test_it_asks_for_what_there_is("here", query)


def test_what_is_no_query_is_seen() -> None:
    """A query that Prometheus would refuse fails."""
    with pytest.raises(ValueError, match=r"unclosed|unexpected"):
        asked("sum(rate(dropscribe_jobs_total[5m])")


# ── the dashboard ────────────────────────────────────────────────────────────────────────────────────────────────────


def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_dashboard", PLACE / "make_dashboard.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_dashboard_is_current() -> None:
    """dashboard.json is what its script makes."""
    assert (PLACE / "dashboard.json").read_text(encoding="utf-8") == maker().text()


def test_the_dashboard_can_be_drawn() -> None:
    """Panels have ids and names of their own, lie within the grid and on no other, name the source of their data, and
    explain themselves; legends use labels that their query keeps.
    """
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for one, other in combinations([panel["gridPos"] for panel in DASHBOARD["panels"]], 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert apart or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert variables == {"datasource", "job"}
    for panel in PANELS:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        assert panel["title"]
        assert panel["description"].endswith(".")
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            found = asked(target["expr"])
            assert all(("job", (".*",)) in one.matched for one in found.metrics), "it obeys the choice of jobs"
            kept = found.labels or set.union(*(labels_of(one) for one in found.metrics))
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= kept


# ── the rules ────────────────────────────────────────────────────────────────────────────────────────────────────────


def anchors() -> set[str]:
    """What the headings of docs/operations.md can be linked by."""
    headings = re.findall(r"^#+ (.+)$", text_of("docs/operations.md"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_says_what_to_do(rule: Any) -> None:
    """Each rule has a name, a severity, a sentence whose blanks can be filled in, and an entry of the runbook."""
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"Dropscribe[A-Za-z]+", rule["alert"])
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))
    assert rule["annotations"].keys() == {"summary", "runbook"}
    document, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert document == "docs/operations.md"
    assert anchor in anchors()
    summary = rule["annotations"]["summary"]
    assert set(re.findall(r"\$labels\.(\w+)", summary)) <= asked(rule["expr"]).labels
    assert set(re.findall(r"\{\{ *([^ }]+)", summary)) <= {"$value"} | {
        f"$labels.{label}" for label in asked(rule["expr"]).labels
    }


def test_rules_have_names_of_their_own() -> None:
    """No alert is called as another, and there is more than one to look at."""
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names) > 5
