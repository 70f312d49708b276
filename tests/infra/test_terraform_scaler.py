"""infra/terraform/scaler.asl.json: from the queue's depth and the workers that there are to those that are begun."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from tests.infra.states_rig import Machine
from tests.infra.terraform_rig import CONFIGURATION

pytest.importorskip("jsonata", reason="jsonata-python is not installed: ./run test installs it")

MINUTE = 60_000  # ms


def machine(answer: Any, **numbers: int) -> Machine:
    """The definition with its places filled, as terraform's templatefile does it."""
    places = {
        "partition": "aws",
        "name": "dropscribe",
        "queue_url": "https://sqs/queue",
        "job_queue": "arn:queue",
        "job_definition": "arn:definition",
        "messages_per_worker": 5,
        "max_workers": 4,
        **numbers,
    }
    text = (CONFIGURATION / "scaler.asl.json").read_text(encoding="utf-8")
    filled = re.sub(r"\$\{(\w+)\}", lambda found: str(places[found[1]]), text)
    return Machine(json.loads(filled), answer)


def begun(waiting: int, worked_on: int = 0, jobs: dict[str, list[dict[str, Any]]] | None = None, **numbers: int) -> int:
    """How many workers are begun, given messages and jobs by their status."""
    there = jobs or {}

    def answer(called: str, arguments: dict[str, Any]) -> Any:
        if called == "aws-sdk:sqs:getQueueAttributes":
            assert arguments["QueueUrl"] == "https://sqs/queue"
            given = {"ApproximateNumberOfMessages": waiting, "ApproximateNumberOfMessagesNotVisible": worked_on}
            return {"Attributes": {name: str(given[name]) for name in arguments["AttributeNames"]}}
        if called == "aws-sdk:batch:listJobs":
            assert arguments["JobQueue"] == "arn:queue"
            return {"JobSummaryList": there.get(arguments["JobStatus"], [])}
        assert called == "batch:submitJob"
        assert arguments == {
            "JobName": "dropscribe-worker",
            "JobQueue": "arn:queue",
            "JobDefinition": "arn:definition",
        }
        return {"JobId": "new"}

    calls = machine(answer, **numbers).run()
    return sum(called == "batch:submitJob" for called, _ in calls)


def running(count: int, status: str = "RUNNING") -> dict[str, list[dict[str, Any]]]:
    return {status: [{"JobId": f"{status}-{number}"} for number in range(count)]}


def test_nothing_is_begun_for_an_empty_queue() -> None:
    """No message, no worker, and nobody asks Batch; nor where all messages are being worked on."""
    assert begun(0) == 0
    assert begun(0, worked_on=30) == 0


@pytest.mark.parametrize(("waiting", "workers"), [(1, 1), (5, 1), (6, 2), (20, 4), (21, 4), (100_000, 4)])
def test_workers_are_begun_for_the_depth(waiting: int, workers: int) -> None:
    """One for each so many messages, begun ones included, and never more than are allowed."""
    assert begun(waiting) == workers


@pytest.mark.parametrize("status", ["SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING"])
def test_workers_that_come_or_are_there_count(status: str) -> None:
    """A worker whose machine is only being started is not begun a second time, in whatever state it is."""
    assert begun(12, jobs=running(1, status)) == 2
    assert begun(12, jobs=running(3, status)) == 0
    assert begun(12, jobs=running(9, status)) == 0


def test_messages_in_work_keep_their_workers() -> None:
    """A worker that is busy does not take the place of the one that a waiting message needs."""
    assert begun(1, worked_on=1, jobs=running(1), messages_per_worker=1) == 1


def test_what_fails_is_not_begun_every_minute() -> None:
    """A worker that failed counts for an hour, and no longer."""
    now = int(time.time() * 1000)
    assert begun(1, jobs={"FAILED": [{"StoppedAt": now - 5 * MINUTE}]}) == 0
    assert begun(1, jobs={"FAILED": [{"StoppedAt": now - 61 * MINUTE}]}) == 1
    several = [{"StoppedAt": now - minutes * MINUTE} for minutes in (1, 30, 59, 90, 600)]
    assert begun(100, jobs={"FAILED": several}) == 1


def test_as_many_as_the_variable_allows() -> None:
    """The most that max_workers may be is begun in one step."""
    assert begun(100_000, max_workers=40) == 40


def test_every_place_is_filled_by_terraform() -> None:
    """The places of the definition are the variables that scaling.tf gives."""
    text = (CONFIGURATION / "scaler.asl.json").read_text(encoding="utf-8")
    scaling = (CONFIGURATION / "scaling.tf").read_text(encoding="utf-8")
    block = scaling[scaling.index("templatefile(") : scaling.index("}) :")]
    assert set(re.findall(r"\$\{(\w+)\}", text)) == set(re.findall(r"^    (\w+)\s+=", block, re.MULTILINE))
