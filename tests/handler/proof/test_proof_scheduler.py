"""The scheduler itself: one task at a time, an order that the seed decides, deaths that nothing holds up."""

from __future__ import annotations

import threading

import pytest
from sim_scheduler import START, Killed, Scheduler, SimClock


def order_of(seed: int) -> list[str]:
    scheduler, said = Scheduler(seed), []

    def task(name: str) -> None:
        for number in range(5):
            said.append(f"{name}{number}")
            scheduler.pause(scheduler.random.random())

    for name in "abc":
        scheduler.spawn(name, lambda name=name: task(name))  # type: ignore[misc]
    scheduler.run()
    return said


def test_the_seed_decides() -> None:
    """The same seed gives the same order, another one another."""
    assert order_of(1) == order_of(1)
    assert len({tuple(order_of(seed)) for seed in range(10)}) > 5
    assert sorted(order_of(1)) == sorted(order_of(2))


def test_one_at_a_time() -> None:
    """Between two pauses nobody else runs, and time stands still."""
    scheduler, inside, moved = Scheduler(3), [0], []

    def task() -> None:
        for _ in range(20):
            before = scheduler.now
            inside[0] += 1
            assert inside[0] == 1
            inside[0] -= 1
            moved.append(scheduler.now - before)
            scheduler.pause(0.1)

    for name in "abcd":
        scheduler.spawn(name, task)
    scheduler.run()
    assert len(moved) == 80
    assert set(moved) == {0.0}


def test_time_is_what_was_slept() -> None:
    """A sleep ends when its time has come, in the order of the times, and never before."""
    scheduler, woke = Scheduler(0), []
    clock = SimClock(scheduler, skew=100.0)

    def task(seconds: float) -> None:
        clock.sleep(seconds)
        woke.append((seconds, clock.monotonic()))

    for seconds in (5.0, 1.0, 3.0):
        scheduler.spawn("task", lambda seconds=seconds: task(seconds))  # type: ignore[misc]
    scheduler.run()
    assert woke == [(1.0, 1.0), (3.0, 3.0), (5.0, 5.0)]
    assert clock.time() == START + 105.0


def test_a_killed_task_does_nothing_more() -> None:
    """Neither `except Exception` nor `finally` lets a killed task send anything."""
    scheduler, sent = Scheduler(0), []

    def request(what: str) -> None:
        scheduler.pause(1.0)
        sent.append(what)

    def victim() -> None:
        try:
            while True:
                try:
                    request("work")
                except Exception:
                    request("handled")
        finally:
            request("farewell")

    task = scheduler.spawn("victim", victim)
    scheduler.spawn("killer", lambda: (scheduler.pause(3.5), scheduler.kill(task)))
    scheduler.run()
    assert sent == ["work"] * 3
    assert task.over


def test_an_error_comes_out() -> None:
    """An error of a task is the run's; the others end first."""
    scheduler, ended = Scheduler(0), []

    def fails() -> None:
        raise ValueError("broken")

    scheduler.spawn("fails", fails)
    scheduler.spawn("goes on", lambda: (scheduler.pause(10.0), ended.append(True)))
    with pytest.raises(ValueError, match="broken"):
        scheduler.run()
    assert ended == [True]


def test_a_run_ends_in_time() -> None:
    """Who never ends is ended, at the limit."""
    scheduler = Scheduler(0, limit=50.0)

    def forever() -> None:
        while True:
            scheduler.pause(1.0)

    task = scheduler.spawn("forever", forever)
    scheduler.run()
    assert task.over
    assert 50.0 < scheduler.now < 52.0


def test_waiting_for_an_event() -> None:
    """A set event costs no time; one that is not is waited for as long as was said."""
    scheduler, event = Scheduler(0), threading.Event()
    clock = SimClock(scheduler)
    seen: list[tuple[bool, float]] = []

    def task() -> None:
        seen.append((clock.wait(event, 5.0), clock.monotonic()))
        event.set()
        seen.append((clock.wait(event, 5.0), clock.monotonic()))

    scheduler.spawn("task", task)
    scheduler.run()
    assert seen == [(False, 5.0), (True, 5.0)]
    assert issubclass(Killed, BaseException)
    assert not issubclass(Killed, Exception)
