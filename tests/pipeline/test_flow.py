"""The scheduler: what runs side by side, what is skipped, and what an error stops."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from flow_rig import Diary, fails, gives, joined

from pipeline.flow import Given, Made, Report, Step, Stopped, run_flow

PATIENCE = 30  # s that a step waits for another one before the test has failed


def test_steps_get_what_they_need_and_nothing_else() -> None:
    """A step sees the values of its own needs, in their order; the flow gives the last step's value."""
    steps = [
        Step(name="a", run=gives(1)),
        Step(name="b", run=gives(2), needs=("a",)),
        Step(name="c", run=joined, needs=("b", "a")),
        Step(name="d", run=joined, needs=("c",)),
    ]
    assert run_flow(steps, Diary()) == (("c", (("b", 2), ("a", 1))),)


def test_what_does_not_depend_on_each_other_runs_side_by_side() -> None:
    """Two steps that need the same meet while both are at work."""
    meeting = threading.Barrier(2, timeout=PATIENCE)

    def meets(given: Given, report: Report) -> Made:
        meeting.wait()
        return Made(given["sound"])

    steps = [
        Step(name="sound", run=gives("sound")),
        Step(name="words", run=meets, needs=("sound",)),
        Step(name="speakers", run=meets, needs=("sound",)),
        Step(name="both", run=joined, needs=("words", "speakers")),
    ]
    assert run_flow(steps, Diary()) == (("words", "sound"), ("speakers", "sound"))


def test_what_is_known_is_not_run_nor_what_only_it_needs() -> None:
    """Known steps and those that are needed for them alone do not run; what others need as well does."""
    steps = [
        Step(name="decode", run=gives("sound")),
        Step(name="hear", run=fails(AssertionError()), needs=("decode",)),
        Step(name="words", run=fails(AssertionError()), needs=("decode", "hear"), known=lambda: Made("kept")),
        Step(name="aside", run=fails(AssertionError()), needs=("decode",), known=lambda: pytest.fail("asked for")),
        Step(name="speakers", run=joined, needs=("decode",)),
        Step(name="both", run=joined, needs=("words", "speakers")),
    ]
    diary = Diary()
    assert run_flow(steps, diary) == (("words", "kept"), ("speakers", (("decode", "sound"),)))
    assert diary.plan == diary.begun == diary.ran == ["decode", "speakers", "both"]
    assert set(diary.ended) == {"decode", "words", "speakers", "both"}


def test_a_known_end_runs_nothing() -> None:
    """If the last step is known there is nothing to do."""
    diary = Diary()
    steps = [
        Step(name="a", run=fails(AssertionError())),
        Step(name="b", needs=("a",), known=lambda: Made(7), run=joined),
    ]
    assert run_flow(steps, diary) == 7
    assert (diary.plan, list(diary.ended)) == ([], ["b"])


def test_what_cannot_run_degrades_and_the_rest_goes_on() -> None:
    """A lacking step is told of before anything runs, needed or not; what it would need is not run for it; those behind
    it see nothing in its place, and the reason.
    """
    seen: dict[str, Any] = {}

    def last(given: Given, report: Report) -> Made:
        seen.update(given.degraded)
        return Made(given["speakers"])

    steps = [
        Step(name="decode", run=fails(AssertionError("nobody needs it"))),
        Step(name="voices", lacking="no separator", needs=("decode",)),
        Step(name="words", run=gives("words", "poor")),
        Step(name="speakers", lacking="no diarizer", needs=("decode",)),
        Step(name="end", run=last, needs=("words", "speakers")),
    ]
    diary = Diary()
    assert run_flow(steps, diary) is None
    assert list(seen.items()) == [("voices", "no separator"), ("words", "poor"), ("speakers", "no diarizer")]
    assert list(diary.ended)[:2] == ["voices", "speakers"]
    assert diary.ran == ["words", "end"]


def test_the_others_stop_when_one_fails() -> None:
    """A failure ends the others at their next report, and the flow when all have ended; nothing new begins."""
    working = threading.Event()
    ended = []

    def goes_on(given: Given, report: Report) -> Made:
        working.set()
        try:
            for done in range(PATIENCE * 100):
                report(done, None)
                time.sleep(0.01)
        except Stopped:
            time.sleep(0.05)  # tidies up
            ended.append("stopped")
            raise
        raise AssertionError("was never stopped")

    def fails_meanwhile(given: Given, report: Report) -> Made:
        assert working.wait(PATIENCE)
        raise OSError("no disk")

    steps = [
        Step(name="long", run=goes_on),
        Step(name="broken", run=fails_meanwhile),
        Step(name="behind", run=fails(AssertionError()), needs=("long",)),
        Step(name="end", run=joined, needs=("behind", "broken")),
    ]
    diary = Diary()
    with pytest.raises(OSError, match="no disk"):
        run_flow(steps, diary)
    assert ended == ["stopped"]
    assert diary.begun == ["long", "broken"]
    assert not diary.ended


def test_what_ends_while_another_fails_is_told() -> None:
    """A step that ends although it was to stop has left its artifact: that is told, so that it is kept."""
    failing = threading.Event()

    def ends(given: Given, report: Report) -> Made:
        assert failing.wait(PATIENCE)
        return Made("kept")

    def broken(given: Given, report: Report) -> Made:
        failing.set()
        raise ValueError("first")

    diary = Diary()
    steps = [
        Step(name="b", run=broken),
        Step(name="a", run=ends),
        Step(name="behind", run=fails(AssertionError()), needs=("a",)),
        Step(name="end", run=joined, needs=("behind", "b")),
    ]
    with pytest.raises(ValueError, match="first"):
        run_flow(steps, diary)
    assert diary.ended == {"a": Made("kept")}
    assert diary.begun == ["b", "a"]


@pytest.mark.parametrize("first", ["a", "b"])
def test_the_first_error_of_the_flow_wins(first: str) -> None:
    """If several fail, whichever was quicker, the error is that of the one that comes first in the flow."""
    turn = threading.Event()

    def failing(name: str) -> Callable[[Given, Report], Made]:
        def run(given: Given, report: Report) -> Made:
            if name != first:
                assert turn.wait(PATIENCE)
                time.sleep(0.2)  # until the other's error has been seen
            turn.set()
            raise ValueError(name)

        return run

    steps = [Step(name="a", run=failing("a")), Step(name="b", run=failing("b"))]
    with pytest.raises(ValueError, match="a"):
        run_flow([*steps, Step(name="end", run=joined, needs=("b", "a"))], Diary())


@pytest.mark.parametrize("at", ["moved", "over"])
def test_a_watcher_that_fails_ends_the_flow(at: str) -> None:
    """Who is told can break it, from a step's report as from its end: the others are stopped, no thread is left."""

    class Deaf(Diary):
        def moved(self, name: str, done: float, total: float | None, partial: str | None) -> None:
            if at == "moved" and name == "a":
                raise BrokenPipeError

        def over(self, name: str, made: Made, seconds: float | None) -> None:
            if at == "over" and name == "a":
                raise BrokenPipeError

    stopped = []

    def reports(given: Given, report: Report) -> Made:
        report(1, 2)
        return Made()

    def goes_on(given: Given, report: Report) -> Made:
        try:
            for done in range(PATIENCE * 100):
                report(done, None)
                time.sleep(0.01)
        except Stopped:
            stopped.append("b")
            raise
        return Made()

    steps = [Step(name="a", run=reports), Step(name="b", run=goes_on), Step(name="c", run=joined, needs=("a", "b"))]
    with pytest.raises(BrokenPipeError):
        run_flow(steps, Deaf())
    assert stopped == ["b"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("step")]


def test_a_watcher_is_told_one_thing_at_a_time() -> None:
    """Steps that report from several threads at once never meet in the watcher."""

    class Slow(Diary):
        def moved(self, name: str, done: float, total: float | None, partial: str | None) -> None:
            self._alone(lambda: time.sleep(0.002))

    def reports(given: Given, report: Report) -> Made:
        for done in range(20):
            report(done, 20)
        return Made()

    diary = Slow()
    steps = [Step(name=name, run=reports) for name in ("a", "b", "c")]
    run_flow([*steps, Step(name="end", run=joined, needs=("a", "b", "c"))], diary)
    assert not diary.at_once


def test_stopped_is_not_an_error_for_who_handles_errors() -> None:
    """Model code that catches every `Exception`, to try again with less memory, does not catch the stop."""
    assert not issubclass(Stopped, Exception)


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [Step(name="a", run=joined), Step(name="a", run=joined)],
        [Step(name="a", run=joined, needs=("b",)), Step(name="b", run=joined)],
        [Step(name="a", run=joined, needs=("a",))],
        [Step(name="a")],
    ],
)
def test_steps_that_cannot_be(steps: list[Step]) -> None:
    """No steps, two of one name, a need that comes later or from itself, nothing to run: refused, not hung."""
    with pytest.raises(ValueError, match="step"):
        run_flow(steps, Diary())
