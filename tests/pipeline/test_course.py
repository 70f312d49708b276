"""What is told of a job's stages while its steps run: percent, seconds left, artifacts, rates for the next job."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.course import Course, Part
from pipeline.flow import Made
from pipeline.rates import Rates
from pipeline.types import Event, Facts, Progress, StageDone


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def nothing(given: object, report: object) -> Made:
    raise AssertionError("only watched")


PARTS = (
    Part(name="decoding", stage="transcribing", cost=0.01, run=nothing),
    Part(name="transcribing", stage="transcribing", cost=0.09, run=nothing, needs=("decoding",), by="m", artifact="t"),
    Part(name="diarizing", stage="diarizing", cost=0.05, run=nothing, needs=("decoding",), by="d", artifact="d"),
    Part(name="joining", stage="diarizing", cost=0.0, run=nothing, needs=("transcribing", "diarizing")),
    Part(name="output", stage="output", cost=0.01, run=nothing, needs=("joining",), artifact="o"),
)
NAMES = [part.name for part in PARTS]


class Rig:
    def __init__(self, rates: Rates | None = None, names: list[str] = NAMES) -> None:
        self.clock = Clock()
        self.rates = rates or Rates()
        self.events: list[Event] = []
        self.course = Course(PARTS, self.events.append, self.rates, self.clock)
        self.course.planned(names)

    def begin(self, name: str) -> None:
        self.course.began(name)

    def move(self, name: str, done: float, total: float | None, after: float, partial: str | None = None) -> Progress:
        """``after`` seconds; what was told."""
        self.clock.now += after
        self.course.moved(name, done, total, partial)
        told = self.events[-1]
        assert isinstance(told, Progress)
        return told

    def end(self, name: str, seconds: float, made: Made | None = None) -> None:
        self.course.over(name, made or Made("value"), seconds)

    def of(self, stage: str) -> list[Progress]:
        return [event for event in self.events if isinstance(event, Progress) and event.stage == stage]


def measured() -> Rates:
    """Of earlier jobs: 1, 20, 10, 0 and 2 s for 100 s of sound."""
    rates = Rates()
    for part, seconds in zip(PARTS, (1.0, 20.0, 10.0, 0.0, 2.0), strict=True):
        rates.learn(part.name, part.by, seconds, 100.0)
    return rates


def test_percent_of_a_stage_weighs_its_parts() -> None:
    """By what they cost, until it is known what they take; done parts count in full; the last one ends it at 100."""
    rig = Rig()
    rig.begin("decoding")
    assert rig.move("decoding", 5, 10, 1).percent == pytest.approx(5.0)
    rig.end("decoding", 2.0)
    rig.begin("transcribing")
    assert rig.move("transcribing", 1, 2, 1).percent == pytest.approx(55.0)
    assert rig.move("transcribing", 2, 2, 1).percent == 100
    rates = measured()
    known = Rig(rates)
    known.begin("decoding")
    assert known.move("decoding", 10, 10, 1).percent == pytest.approx(100 * 1 / 21)


def test_parts_that_do_not_run_weigh_nothing() -> None:
    """With the decoding done elsewhere, the stage's percent is that of what is left to do."""
    rig = Rig(names=NAMES[1:])
    rig.begin("transcribing")
    assert rig.move("transcribing", 1, 2, 1).percent == pytest.approx(50.0)


def test_the_first_job_promises_nothing_before_it_has_a_rate() -> None:
    """Without a rate for what depends on model and machine there is no time left to tell; with its own, there is."""
    rig = Rig()
    rig.course.heard_of(100.0)
    rig.begin("decoding")
    assert rig.events[-1] == Progress(stage="transcribing", percent=0.0)
    rig.end("decoding", 1.0)
    rig.begin("transcribing")
    assert rig.move("transcribing", 1, 100, 0.5).eta is None
    told = rig.move("transcribing", 25, 100, 4.5)
    assert told.eta == pytest.approx(15.0)
    assert told.job_eta is None  # of the diarizer nothing is known
    rig.begin("diarizing")
    told = rig.move("diarizing", 50, 100, 10.0)
    assert (told.eta, told.job_eta) == (pytest.approx(45.0), pytest.approx(46.0))  # joined when both are over


def test_a_later_job_knows_at_the_start() -> None:
    """At 0 % already, from the remembered rates: of the stage, and of the job by its longest way."""
    rig = Rig(measured())
    rig.course.heard_of(200.0)
    rig.begin("decoding")
    told = rig.events[-1]
    assert isinstance(told, Progress)
    assert (told.percent, told.eta, told.job_eta) == (0.0, 42.0, 46.0)
    rig.end("decoding", 2.0)
    rig.begin("transcribing")
    rig.begin("diarizing")
    [told] = rig.of("diarizing")
    assert (told.percent, told.eta) == (0.0, 40.0)  # it ends with the joining, which waits for the words
    told = rig.move("diarizing", 200, 200, 20.0)
    assert told.job_eta == pytest.approx(44.0)  # the words have not moved


def test_the_own_rate_takes_over() -> None:
    """A job that is twice as slow as expected says so more and more clearly."""
    rig = Rig(measured(), names=["transcribing"])
    rig.course.heard_of(100.0)
    rig.begin("transcribing")
    etas = [rig.move("transcribing", done, 100, 4.0).eta for done in (10, 50, 90)]
    assert etas == [
        pytest.approx(0.9 * (0.9 * 20 + 0.1 * 40)),
        pytest.approx(0.5 * (0.5 * 20 + 0.5 * 16)),
        pytest.approx(0.1 * (0.1 * 20 + 0.9 * 12 / 0.9)),
    ]


def test_nothing_is_told_before_the_length_is_known() -> None:
    """A stage begins to be told of when the recording is open: before, it may not be one."""
    rig = Rig(measured())
    rig.begin("decoding")
    assert rig.events == []
    told = rig.move("decoding", 1, None, 1.0)
    assert (told.percent, told.eta, told.job_eta) == (0.0, None, None)


def test_events_come_at_a_readers_pace() -> None:
    """At most four a second and stage; the end of a stage's work is always told; stages do not silence each other."""
    rig = Rig()
    rig.begin("transcribing")
    rig.begin("diarizing")
    for done in range(100):
        rig.clock.now += 0.01
        rig.course.moved("transcribing", done, 100, None)
        rig.course.moved("diarizing", done, 100, None)
    for stage in ("transcribing", "diarizing"):
        assert len(rig.of(stage)) == 4
    assert rig.move("transcribing", 100, 100, 0.0).percent == pytest.approx(90.0)
    assert rig.of("transcribing")[-1].done == 100


def test_only_what_bears_the_stages_name_counts_its_seconds() -> None:
    """Seconds of decoding are not shown as if they were transcribed."""
    rig = Rig()
    told = rig.move("decoding", 30, 60, 1.0)
    assert (told.done, told.total) == (None, None)
    told = rig.move("transcribing", 3, 60, 1.0, "so far")
    assert (told.done, told.total, told.partial) == (3, 60, "so far")


def test_a_stage_is_done_when_its_artifact_lies_there() -> None:
    """It is told with its file and the seconds of all its parts; parts that keep nothing are not told of."""
    rig = Rig()
    rig.end("decoding", 1.5)
    rig.end("diarizing", 4.0)
    rig.end("transcribing", 2.0)
    rig.end("joining", 0.5)
    facts = Facts(duration=1.0, channels=1, models=())
    rig.end("output", 0.25, Made(facts))
    assert rig.events == [
        StageDone(stage="diarizing", artifact="d", seconds=4.0),
        StageDone(stage="transcribing", artifact="t", seconds=3.5),
        StageDone(stage="output", artifact="o", seconds=0.25, facts=facts),
    ]


def test_a_stage_that_cannot_run_is_told_once() -> None:
    """Its reason, and no artifact; of a stage in several parts the last one knows whether anything is lacking."""
    rig = Rig(names=["joining", "output"])
    rig.course.over("diarizing", Made(degraded="no diarizer"), None)
    rig.course.over("transcribing", Made("kept"), None)
    assert rig.events == []
    rig.end("joining", 0.0, Made("without speakers", degraded="no speakers"))
    assert rig.events == [StageDone(stage="diarizing", artifact="", seconds=0.0, degraded="no speakers")]


def test_rates_are_learned_from_own_whole_work() -> None:
    """Not from what was done elsewhere, nor from what came out poorer, nor without a length."""
    rig = Rig()
    rig.end("decoding", 1.0)
    rig.course.heard_of(50.0)
    rig.end("diarizing", 1.0, Made("poor", degraded="out of memory"))
    rig.end("output", 1.0, Made("waited for", own=False))
    assert [rig.rates.rate(part.name, part.by) for part in PARTS] == [None] * 5
    rig.end("transcribing", 5.0)
    assert rig.rates.rate("transcribing", "m") == pytest.approx(0.1)


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(0, 120), st.floats(0, 3)), max_size=40), st.booleans())
def test_percent_never_goes_back(moves: list[tuple[int, float, float]], known: bool) -> None:
    """Whatever the parts report, in whatever order, a stage's percent only rises, within 0 and 100; nothing is left of
    a time that is negative.
    """
    rig = Rig(measured() if known else None)
    rig.course.heard_of(100.0)
    for place, done, after in moves:
        rig.clock.now += after
        rig.course.moved(NAMES[place], done, 100.0, None)
    for stage in ("transcribing", "diarizing", "output"):
        percents = [event.percent for event in rig.of(stage)]
        assert all(earlier <= later + 1e-9 for earlier, later in pairwise(percents))
        assert all(0 <= percent <= 100 for percent in percents)
    for event in rig.events:
        assert isinstance(event, Progress)
        assert all(eta is None or eta >= 0 for eta in (event.eta, event.job_eta))
