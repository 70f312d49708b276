"""What an idle dropscribe costs on AWS: the figures, how they are come by, and where they are written."""

from __future__ import annotations

import re

import pytest

from bench.cost import (
    DAY,
    FLEET,
    MILLION,
    MOST_A_DAY,
    MOST_A_MONTH,
    PRICES,
    QUEUE,
    SCAN,
    WATCHED,
    Standing,
    dollars,
    fleet,
    idle,
    markdown,
    pages,
    pause,
    reckoned,
    standings,
)
from tests.docs_rig import ROOT, text_of


@pytest.fixture(scope="module")
def found() -> dict[str, Standing]:
    return {one.name: one for one in standings()}


def test_idling_costs_less_than_was_promised(found: dict[str, Standing]) -> None:
    """An empty bucket is under a dollar a month and a million settled recordings are under a dollar a day, by scan, by
    queue, and for a fleet that scales to zero.
    """
    assert set(found) == {SCAN, QUEUE, FLEET}
    for one in found.values():
        assert 0 < one.empty_month < MOST_A_MONTH, one
        assert 0 < one.full_day < MOST_A_DAY, one


def test_the_requests_are_those_that_the_documents_name() -> None:
    """An idle worker asks for what docs/requests.md says: two LISTs a scan of an empty bucket, three receives a minute
    on a queue, and now and then a look for callbacks and batches.
    """
    scans, looks = DAY / 30, DAY / 300
    assert idle(0, WATCHED, hears=False)["LIST"] == pytest.approx(2 * scans + 2 * looks, rel=0.01)
    told = idle(0, WATCHED, hears=True)
    assert told["LIST"] == pytest.approx(2 * looks + 2 * looks, rel=0.01)
    assert told["queue"] == pytest.approx(3 * DAY / 60, rel=0.01)
    assert set(told) == {"LIST", "queue"}  # it writes nothing and reads nothing
    said = text_of("docs/requests.md")
    assert "three receives a minute, and a scan every five minutes" in said
    assert "an idle worker: a scan every 30 s" in said


def test_what_is_reckoned_is_what_is_counted() -> None:
    """For as many recordings as can be run, reckoning and counting agree; so may the million be reckoned."""
    some = 1100
    counted = idle(some, 600.0, hears=False)["LIST"]
    assert reckoned(some, hears=False)["LIST"] == pytest.approx(counted, rel=0.02)
    assert pages(some) == 4  # two of recordings, two of markers
    assert pages(MILLION) == pytest.approx(2 * MILLION / 1000)


def test_a_million_is_scanned_rarely() -> None:
    """The pause after a scan of a million settled recordings is what its two thousand requests are worth."""
    assert pause(0, hears=False) == 30.0
    assert pause(0, hears=True) == 300.0
    assert pause(MILLION, hears=False) == pause(MILLION, hears=True) == 1000.0


def test_a_fleet_pays_for_what_terraform_makes() -> None:
    """The looks and sweeps that are paid for are those of infra/terraform/'s schedules, and so are the alarms."""
    scaling = (ROOT / "infra" / "terraform" / "scaling.tf").read_text(encoding="utf-8")
    sweep = (ROOT / "infra" / "terraform" / "sweep.tf").read_text(encoding="utf-8")
    alarms = (ROOT / "infra" / "terraform" / "alarms.tf").read_text(encoding="utf-8")
    asked = fleet(0)
    assert 'schedule_expression = "rate(1 minute)"' in scaling
    assert asked["look"] == DAY / 60
    assert 'schedule_expression = "rate(1 hour)"' in sweep
    assert asked["schedule"] == DAY / 60 + 24
    assert asked["alarm"] == len(re.findall(r'^resource "aws_cloudwatch_metric_alarm"', alarms, re.MULTILINE))
    assert '{ type = "VCPU", value = "0.25" }' in sweep
    assert '{ type = "MEMORY", value = "1024" }' in sweep


def test_dollars() -> None:
    """Each request has its price; what has none is an error, never free."""
    assert dollars({"LIST": 1000, "GET": 1000}) == pytest.approx(0.0054)
    with pytest.raises(KeyError):
        dollars({"POST": 1})
    assert PRICES["LIST"] > PRICES["GET"]


def test_the_documented_table_is_what_is_counted() -> None:
    """docs/operations.md shows the present figures."""
    assert markdown() in text_of("docs/operations.md")
