"""What a job costs in requests: docs/requests.md, against what is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from worker_rig import Rig

from bench.requests_per_job import (
    AGAIN,
    ALLOWED,
    CAPTIONED,
    FIRST,
    HEADINGS,
    TOLD_AGAIN,
    TOLD_BUSY,
    TOLD_BUSY_AGAIN,
    TOLD_FIRST,
    TOLD_NOTHING,
    TOLD_POISON,
    TOLD_TWICE,
    TWICE,
    VOUCHED,
    WARM,
    Count,
    counts,
    requests,
    rows,
)
from handler.clock import SystemClock
from handler.settings import Settings
from handler.store.memory import Call
from handler.store.s3 import S3Store
from handler.watch import scan

DOC = Path(__file__).parents[3] / "docs" / "requests.md"


@pytest.fixture(scope="module")
def measured() -> dict[str, Count]:
    return {count.case: count for count in counts()}


def table() -> list[tuple[str, ...]]:
    """The rows of the one table in docs/requests.md, headings first."""
    lines = [line for line in DOC.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    cells = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]
    return [row for row in cells if set(row) != {"---"}]


def test_the_documented_table_is_what_is_measured(measured: dict[str, Count]) -> None:
    """docs/requests.md says what a job costs, and that is what it costs, request by request."""
    headings, *body = table()
    assert headings == HEADINGS
    assert body == [count.cells for count in measured.values()]


@pytest.mark.parametrize(
    ("case", "reads", "writes"),
    [
        (FIRST, 5, 5 + 2),
        (TWICE, 2, 0),
        (AGAIN, 6, 4),
        (WARM, 6, 3),
        (VOUCHED, 6, 4),
        (CAPTIONED, 6 + 4, 3 + 2),
        (TOLD_FIRST, 7, 5 + 2),
        (TOLD_TWICE, 2, 0),
        (TOLD_AGAIN, 7, 3),
        (TOLD_NOTHING, 0, 0),
        (TOLD_POISON, 0, 0),
        (TOLD_BUSY, 7, 2),
        (TOLD_BUSY_AGAIN, 5, 0),
    ],
)
def test_a_job_costs_no_more_than_allowed(measured: dict[str, Count], case: str, reads: int, writes: int) -> None:
    """The limits themselves: they are not raised by raising them in the benchmark."""
    assert ALLOWED[case] == (reads, writes)
    assert measured[case].reads <= reads
    assert measured[case].writes <= writes


@pytest.mark.parametrize("case", [TOLD_FIRST, TOLD_TWICE, TOLD_AGAIN, TOLD_NOTHING, TOLD_BUSY, TOLD_BUSY_AGAIN])
def test_a_message_costs_two_requests_to_the_queue(measured: dict[str, Count], case: str) -> None:
    """It is received, and deleted or hidden, whatever its job costs."""
    asked = [request for request in measured[case].requests if request.endswith(" queue")]
    assert asked == ["receive queue", "hide queue" if case in (TOLD_BUSY, TOLD_BUSY_AGAIN) else "delete queue"]


def test_a_vouched_hash_saves_the_download(measured: dict[str, Count]) -> None:
    """Bytes whose SHA-256 the store knows, and we too, are not downloaded again."""
    assert "GET input" in measured[AGAIN].requests
    assert "GET input" not in measured[VOUCHED].requests


def test_the_bench_shows_the_limits() -> None:
    """Each case is a row of the benchmark, beside what it may cost."""
    assert [row.name for row in rows(False)] == list(ALLOWED)
    assert all(row.ok for row in rows(False))


def test_over_the_wire(s3_bucket: str, worker_settings: Settings, measured: dict[str, Count]) -> None:
    """On S3 the same cases make the same HTTP requests: no method of the store hides a second one."""
    calls: list[Call] = []

    def log(request: Any, **kwargs: Any) -> None:
        key = request.url.partition(s3_bucket)[2].partition("?")[0].removeprefix("/").removeprefix("some/prefix/")
        calls.append(Call("", request.method if key else "LIST", key.replace("%2F", "/")))

    def logged(attempts: int) -> Any:
        import boto3
        from botocore.config import Config

        client = boto3.session.Session().client("s3", config=Config(retries={"total_max_attempts": attempts}))
        client.meta.events.register("before-send.s3", log)
        return client

    store = S3Store(s3_bucket, "some/prefix", clock=SystemClock(), client_factory=logged)
    try:
        rig = Rig(store, SystemClock(), worker_settings)
        worker = rig.worker()
        cases = {}

        def counted(case: str) -> None:
            cases[case] = requests(calls, worker_settings)
            calls.clear()

        rig.drop("first.wav", b"a recording")
        stale = scan(store, rig.layout)
        calls.clear()
        worker.sweep()
        counted(FIRST)
        for candidate in stale.candidates:
            assert worker.inputs.handle(candidate, stale.options)
        counted(TWICE)
        rig.drop("second.wav", b"a recording")
        calls.clear()
        rig.worker().sweep()
        counted(AGAIN)
        rig.drop("third.wav", b"a recording")
        calls.clear()
        worker.sweep()
        counted(WARM)
    finally:
        store.close()
    assert cases == {case: measured[case].requests for case in (FIRST, TWICE, AGAIN, WARM)}
