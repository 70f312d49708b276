"""What a person sees of a job under way: which stage, how far, how long still; with stages side by side."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.clock import VirtualClock
from handler.types import Manifest
from handler.worker.report import Report
from pipeline.types import Progress


class Page:
    """One input's manifest: a writer that keeps all that it is given."""

    def __init__(self) -> None:
        self.all: list[Manifest] = []

    def write(self, manifest: Manifest, *, force: bool = False) -> None:
        self.all.append(manifest)


class Rig:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.page = Page()
        subscriber = SimpleNamespace(sid="5" * 64, key="a.wav", queued_at="2026-11-21T06:36:35.000Z")
        record = SimpleNamespace(jid="1" * 64, subscribers=[subscriber], attempts=0, started_at=None)
        lease: Any = SimpleNamespace(record=record, token=1, store_time=self.clock.time)
        self.report = Report(lease, self.clock, "worker", lambda _: self.page)  # type: ignore[arg-type, return-value]

    @property
    def now(self) -> Manifest:
        return self.page.all[-1]

    def tell(self, stage: str, percent: float, after: float = 0.0, **rest: Any) -> Manifest:
        self.clock.advance(after)
        self.report.progress(Progress(stage=stage, percent=percent, **rest))
        return self.now

    def done(self, stage: str, seconds: float, after: float = 0.0) -> Manifest:
        self.clock.advance(after)
        self.report.done(stage, seconds)
        return self.now


def test_the_earliest_unfinished_stage_is_shown() -> None:
    """With stages side by side the one that comes first in the flow is named, until it is over; each has its own
    percent.
    """
    rig = Rig()
    rig.report.stage("downloading")
    assert (rig.now.stage, rig.now.message) == ("downloading", "Downloading")
    assert rig.tell("diarizing", 20).stage == "diarizing"
    shown = rig.tell("transcribing", 10, done=6, total=60)
    assert (shown.stage, shown.message) == ("transcribing", "Transcribing 6 s of 60 s")
    shown = rig.tell("diarizing", 40)
    assert (shown.stage, shown.message) == ("transcribing", "Transcribing 6 s of 60 s")
    assert shown.stages == {"diarizing": 40.0, "transcribing": 10.0}
    shown = rig.done("transcribing", 3.0)
    assert (shown.stage, shown.stages["transcribing"]) == ("diarizing", 100.0)
    assert rig.done("diarizing", 5.0).stage == "diarizing"  # between two stages the last one stays
    assert rig.tell("generating_output", 0).stage == "generating_output"
    assert rig.done("generating_output", 0.5).timings == {
        "transcribing": 3.0, "diarizing": 5.0, "generating_output": 0.5,
    }  # fmt: skip


def test_percent_weighs_stages_by_their_seconds() -> None:
    """A stage that took half of the time is half of the job, whatever stages usually take."""
    rig = Rig()
    rig.report.stage("downloading")
    assert rig.now.percent == 0
    shown = rig.tell("transcribing", 0, after=10.0, eta=8.0)
    assert shown.percent == pytest.approx(99 * 10 / 18, rel=0.03)  # and a little for the output
    shown = rig.tell("transcribing", 50, after=4.0, eta=4.0)
    assert shown.percent == pytest.approx(99 * 14 / 18, rel=0.03)
    assert rig.done("transcribing", 8.0, after=4.0).percent == pytest.approx(97, rel=0.02)
    assert rig.done("generating_output", 0.1).percent == 99.0


def test_percent_before_anything_is_measured() -> None:
    """Without seconds, transcribing is nearly all of a job."""
    rig = Rig()
    assert rig.tell("transcribing", 50).percent == pytest.approx(99 * 47.5 / 97, abs=0.1)


def test_what_comes_from_the_cache_is_no_part_of_the_work() -> None:
    """A cached stage is at 100 in `stages` and weighs nothing."""
    rig = Rig()
    rig.report.cached("transcribing")
    rig.report.stage("generating_output")
    assert rig.now.stages == {"transcribing": 100.0}
    assert rig.now.cached_stages == ("transcribing",)
    assert rig.now.percent == 0
    assert rig.tell("generating_output", 50).percent == pytest.approx(49.5)


def test_the_time_left_is_the_jobs() -> None:
    """As the engine reckons it for the whole job, counted down between its events; without that, until the last of the
    stages under way is over; without any account, none.
    """
    rig = Rig()
    assert rig.tell("transcribing", 0).eta_seconds is None
    assert rig.tell("transcribing", 10, after=2.0).eta_seconds == 18.0  # its rate so far
    assert rig.tell("transcribing", 10, eta=30.0).eta_seconds == 30.0
    assert rig.tell("diarizing", 0, eta=50.0).eta_seconds == 50.0
    assert rig.tell("transcribing", 20, after=5.0, eta=24.0).eta_seconds == 45.0
    assert rig.tell("diarizing", 10, eta=45.0, job_eta=47.0).eta_seconds == 47.0
    rig.clock.advance(7.0)
    rig.report.done("transcribing", 20.0)
    assert rig.now.eta_seconds == 40.0
    rig.clock.advance(100.0)
    rig.report.done("diarizing", 120.0)
    assert rig.now.eta_seconds == 0.0


def test_a_stage_without_account_hides_no_other() -> None:
    """While one of the stages under way has shown no rate, the job's end is not known; the next stage's end is."""
    rig = Rig()
    rig.tell("transcribing", 0)
    assert rig.tell("diarizing", 10, eta=9.0).eta_seconds is None
    assert rig.report.eta() == 9.0


def test_a_heartbeat_points_to_the_same() -> None:
    """The record's pointer is the manifest's stage and percent."""
    rig = Rig()
    rig.tell("diarizing", 20)
    rig.tell("transcribing", 50)
    assert rig.report.pointers() == {"stage": rig.now.stage, "percent": rig.now.percent}


STAGES = ["separating_vocals", "transcribing", "aligning", "diarizing", "generating_output", "something_new"]
steps = st.lists(
    st.tuples(
        st.sampled_from(STAGES), st.floats(0, 110), st.floats(0, 100), st.none() | st.floats(0, 1000), st.booleans()
    ),
    max_size=30,
)


@given(steps)
def test_percent_never_goes_back(told: list[tuple[str, float, float, float | None, bool]]) -> None:
    """Whatever the engine tells, in whatever order and with whatever times: percent rises, from 0 to 99 at most, and no
    time left is negative.
    """
    rig = Rig()
    rig.report.stage("downloading")
    for stage, percent, after, eta, over in told:
        rig.tell(stage, percent, after, eta=eta)
        if over:
            rig.done(stage, after)
    percents = [manifest.percent for manifest in rig.page.all]
    assert all(earlier <= later for earlier, later in pairwise(percents))
    assert all(0 <= percent <= 99 for percent in percents)
    assert all(manifest.eta_seconds is None or manifest.eta_seconds >= 0 for manifest in rig.page.all)
    for stage in STAGES:
        own = [manifest.stages[stage] for manifest in rig.page.all if stage in manifest.stages]
        assert own == sorted(own)
