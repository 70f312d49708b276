"""The metrics of a worker: their names, kinds and labels, as data; and what a place that keeps them can be told.

`CATALOGUE` is all of them; dashboards, alert rules and docs/operations.md are compared with it by tests. Knows nothing
of Prometheus, and nothing of where the facts come from (`handler.observer`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """``labels``: by name, with the values they can have; none where these are open. ``buckets``: of a histogram, upper
    bounds in its unit.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[tuple[str, tuple[str, ...]], ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def label_names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.labels)


OUTCOMES = ("completed", "failed", "cancelled", "cached")
PHASES = ("process", "bucket", "model", "probe", "listing", "claim", "engine")
RESTARTS = ("died", "killed", "grown", "device_lost")
VERBS = ("get", "head", "list", "put", "delete")
ANSWERS = ("ok", "not_found", "refused", "denied", "unavailable", "error")

JOBS = Metric(
    "dropscribe_jobs_total", "counter",
    "Recordings seen to their end, by how: cached ones were completed with no stage run for them, and are not among "
    "the completed.",
    (("outcome", OUTCOMES),),
)  # fmt: skip
IN_PROGRESS = Metric("dropscribe_jobs_inprogress", "gauge", "Jobs under way: 0 or 1 for each worker.")
STAGE_SECONDS = Metric(
    "dropscribe_stage_duration_seconds", "histogram", "What each stage took that was run, in seconds.",
    (("stage", ()),), (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200),
)  # fmt: skip
REAL_TIME_FACTOR = Metric(
    "dropscribe_real_time_factor", "histogram",
    "Seconds of sound for each second of work (times real time: more is faster), of jobs of which nothing was cached, "
    "download included.",
    buckets=(0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
)  # fmt: skip
QUEUE_AGE = Metric(
    "dropscribe_queue_age_seconds", "gauge",
    "Age of the oldest recording that the last scan found unsettled and that is so still; 0 where there is none.",
)  # fmt: skip
QUEUE_DEPTH = Metric(
    "dropscribe_queue_depth", "gauge", "Recordings that the last scan found unsettled and that are so still.",
)  # fmt: skip
CACHE_HITS = Metric(
    "dropscribe_cache_hits_total", "counter", "Stages that were not run, because their artifact was in the cache.",
    (("stage", ()),),
)  # fmt: skip
CACHE_SAVED = Metric(
    "dropscribe_cache_saved_seconds_total", "counter", "What those stages took when they were run.",
)  # fmt: skip
GPU_MEMORY = Metric(
    "dropscribe_gpu_memory_bytes", "gauge", "Memory of each GPU, by the driver: of all processes together.",
    (("device", ()), ("kind", ("used", "total"))),
)  # fmt: skip
COLD_START = Metric(
    "dropscribe_cold_start_seconds", "gauge",
    "What each phase of the worker's start took. process: from the process's start to the command; bucket: opening it; "
    "model: finding it, fetched if need be; probe: of the bucket; listing: the first one; claim: the first job's; "
    "engine: from its start until it is ready.",
    (("phase", PHASES),),
)  # fmt: skip
STORE_REQUESTS = Metric(
    "dropscribe_store_requests_total", "counter",
    "Requests to the bucket by outcome; retries of the client library's own are not counted.",
    (("verb", VERBS), ("outcome", ANSWERS)),
)  # fmt: skip
LEASE_LOSSES = Metric(
    "dropscribe_lease_losses_total", "counter", "Jobs that somebody else took over while this worker was at them.",
)  # fmt: skip
ENGINE_RESTARTS = Metric(
    "dropscribe_engine_restarts_total", "counter",
    "Engines that ended and whose place a fresh one takes, by why: died by itself; killed (time limit, cancel, lost "
    "lease, stop); grown in memory; device_lost.",
    (("reason", RESTARTS),),
)  # fmt: skip

CATALOGUE: tuple[Metric, ...] = (
    JOBS, IN_PROGRESS, STAGE_SECONDS, REAL_TIME_FACTOR, QUEUE_AGE, QUEUE_DEPTH, CACHE_HITS, CACHE_SAVED, GPU_MEMORY,
    COLD_START, STORE_REQUESTS, LEASE_LOSSES, ENGINE_RESTARTS,
)  # fmt: skip


class Sink(Protocol):
    """Where figures go. Safe from any thread, and never raises for a metric of the catalogue. ``labels``: values, in
    the order of the metric's names.
    """

    def count(self, metric: Metric, *labels: str, amount: float = 1.0) -> None: ...

    def set(self, metric: Metric, value: float, *labels: str) -> None: ...

    def observe(self, metric: Metric, value: float, *labels: str) -> None: ...


class Unread:
    """Of a worker that nobody reads the metrics of."""

    def count(self, metric: Metric, *labels: str, amount: float = 1.0) -> None:
        return

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        return

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        return
