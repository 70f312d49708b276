"""Makes Grafana's dashboard: ``python infra/observability/make_dashboard.py`` writes dashboard.json beside this file.

Takes nothing but what stands here: rows of panels, each with its queries. A test holds every metric and label in them
to the list that the code exposes (`handler.metrics`), and the file to this script. Import the file in Grafana, or
have it provisioned.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PLACE = Path(__file__).with_name("dashboard.json")
WIDTH = 24  # columns of Grafana's grid
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
JOB = 'job=~"$job"'


@dataclass(frozen=True)
class Panel:
    """``queries``: a legend to each; PromQL. ``unit``: Grafana's name of it. ``kind``: ``stat`` shows the last value.
    ``warn`` and ``alarm``: from which value on it turns yellow and red.
    """

    title: str
    help: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    warn: float | None = None
    alarm: float | None = None
    stacked: bool = False


@dataclass(frozen=True)
class Row:
    title: str
    height: int
    panels: tuple[Panel, ...]


def rate(series: str, by: str = "", over: str = "$__rate_interval", also: str = "") -> str:
    """What a counter grows by in a second, of all workers together; ``by``: apart, by these labels."""
    summed = f"sum by ({by}) " if by else "sum"
    return f"{summed}(rate({series}{{{JOB}{also}}}[{over}]))"


def grown(series: str, by: str = "", also: str = "") -> str:
    """What a counter has grown by in an hour."""
    summed = f"sum by ({by}) " if by else "sum"
    return f"{summed}(increase({series}{{{JOB}{also}}}[1h]))"


def quantile(of: float, histogram: str, by: str = "", over: str = "30m") -> str:
    """The value that the share ``of`` of all that was observed does not exceed."""
    return f"histogram_quantile({of}, {rate(f'{histogram}_bucket', f'le, {by}' if by else 'le', over)})"


def now(function: str, gauge: str, by: str = "") -> str:
    """A gauge, over all workers."""
    return f"{function} by ({by}) ({gauge}{{{JOB}}})" if by else f"{function}({gauge}{{{JOB}}})"


HITS, RUN = "dropscribe_cache_hits_total", "dropscribe_stage_duration_seconds"
SPEED, REQUESTS = "dropscribe_real_time_factor", "dropscribe_store_requests_total"
GPU = "dropscribe_gpu_memory_bytes"

ROWS = (
    Row("Now", 4, (
        Panel("Workers", "Those that Prometheus reaches.",
              {"": now("count", "dropscribe_jobs_inprogress")}, kind="stat"),
        Panel("At work", "Jobs under way; each worker has one at most.",
              {"": now("sum", "dropscribe_jobs_inprogress")}, kind="stat"),
        Panel("Waiting", "Recordings that the last scan found unsettled. Workers that drain a queue do not scan.",
              {"": now("max", "dropscribe_queue_depth")}, kind="stat"),
        Panel("Oldest", "How long the oldest of them has waited.",
              {"": now("max", "dropscribe_queue_age_seconds")}, unit="s", kind="stat", warn=900, alarm=3600),
        Panel("Failed in an hour", "Recordings that failed for good.",
              {"": grown("dropscribe_jobs_total", also=',outcome="failed"')}, kind="stat", warn=1, alarm=10),
        Panel("Speed", "Times real time, the median of an hour's jobs.",
              {"": quantile(0.5, SPEED, over="1h")}, unit="suffix:×", kind="stat"),
    )),
    Row("Jobs", 8, (
        Panel("Jobs a minute", "By how they ended; cached ones cost no stage.",
              {"{{outcome}}": f"60 * {rate('dropscribe_jobs_total', 'outcome')}"}, stacked=True),
        Panel("Waiting", "Recordings that are not settled.", {"recordings": now("max", "dropscribe_queue_depth")}),
        Panel("Age of the oldest", "It grows by a second a second when nobody takes it.",
              {"oldest": now("max", "dropscribe_queue_age_seconds")}, unit="s"),
    )),
    Row("Speed", 8, (
        Panel("Times real time", "Seconds of sound for each second of work, of jobs of which nothing was cached.",
              {"slowest tenth": quantile(0.1, SPEED), "median": quantile(0.5, SPEED),
               "fastest tenth": quantile(0.9, SPEED)}, unit="suffix:×"),
        Panel("A stage's 95th percentile", "Seconds that nineteen of twenty jobs do not exceed.",
              {"{{stage}}": quantile(0.95, RUN, "stage")}, unit="s"),
        Panel("Where the time goes", "Stages' share of the workers' time: 1 is one worker that does nothing else.",
              {"{{stage}}": rate(f"{RUN}_sum", "stage")}, stacked=True),
    )),
    Row("Cache", 7, (
        Panel("Stages that were not run", "Their artifact was there. A minute.",
              {"{{stage}}": f"60 * {rate(HITS, 'stage')}"}),
        Panel("Time saved", "Seconds of work that each second spared.",
              {"saved": rate("dropscribe_cache_saved_seconds_total")}),
        Panel("Share of stages from the cache", "Of all that were needed.",
              {"share": f"{rate(HITS, over='30m')} / ({rate(HITS, over='30m')} + {rate(f'{RUN}_count', over='30m')})"},
              unit="percentunit"),
    )),
    Row("Machines", 8, (
        Panel("GPU memory", "Used by all processes, and what there is.",
              {"{{instance}} GPU {{device}} {{kind}}": now("max", GPU, "instance, device, kind")}, unit="bytes"),
        Panel("Engines started afresh", "In an hour, by why: died and device_lost cost an attempt each.",
              {"{{reason}}": grown("dropscribe_engine_restarts_total", "reason")}),
        Panel("Cold start", "Seconds of each phase, of the slowest worker.",
              {"{{phase}}": now("max", "dropscribe_cold_start_seconds", "phase")}, unit="s", stacked=True),
    )),
    Row("Bucket", 8, (
        Panel("Requests a second", "What a bucket is paid for.", {"{{verb}}": rate(REQUESTS, "verb")}, stacked=True),
        Panel("Trouble", "Requests a second that were denied, got no answer, or failed otherwise. A refused one is no "
              "trouble: that is how workers race.",
              {"{{outcome}} {{verb}}": rate(REQUESTS, "outcome, verb", also=',outcome=~"denied|unavailable|error"')}),
        Panel("Leases lost", "In an hour: jobs that another worker took over.",
              {"lost": grown("dropscribe_lease_losses_total")}),
    )),
)  # fmt: skip


def dashboard() -> dict[str, Any]:
    """The whole, as Grafana reads it."""
    panels: list[dict[str, Any]] = []
    top = 0
    for row in ROWS:
        place = {"h": 1, "w": WIDTH, "x": 0, "y": top}
        panels.append({"id": len(panels) + 1, "type": "row", "title": row.title, "collapsed": False, "gridPos": place})
        width = WIDTH // len(row.panels)
        for number, panel in enumerate(row.panels):
            place = {"h": row.height, "w": width, "x": number * width, "y": top + 1}
            panels.append({"id": len(panels) + 1, "gridPos": place} | _drawn(panel))
        top += 1 + row.height
    return {
        "uid": "dropscribe",
        "title": "dropscribe",
        "description": "Workers, their speed, their cache and their bucket. docs/operations.md has the runbook.",
        "tags": ["dropscribe"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "",
        "templating": {"list": _variables()},
        "panels": panels,
    }


def _drawn(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    steps += [{"color": "yellow", "value": panel.warn}] if panel.warn is not None else []
    steps += [{"color": "red", "value": panel.alarm}] if panel.alarm is not None else []
    custom = {"stacking": {"mode": "normal" if panel.stacked else "none"}, "fillOpacity": 30 if panel.stacked else 0}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.help,
        "datasource": SOURCE,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "thresholds": {"mode": "absolute", "steps": steps},
                "custom": custom if panel.kind == "timeseries" else {},
            },
            "overrides": [],
        },
        "targets": [
            {"refId": chr(65 + number), "datasource": SOURCE, "expr": query, "legendFormat": legend or "__auto"}
            for number, (legend, query) in enumerate(panel.queries.items())
        ],
    }


def _variables() -> list[dict[str, Any]]:
    return [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
        {
            "name": "job",
            "type": "query",
            "label": "Job",
            "datasource": SOURCE,
            "query": "label_values(dropscribe_jobs_inprogress, job)",
            "refresh": 2,
            "multi": True,
            "includeAll": True,
            "current": {"text": "All", "value": "$__all"},
        },
    ]


def text() -> str:
    """What stands in the file."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PLACE.write_text(text(), encoding="utf-8")
