"""The way down when memory runs out: batches, rungs, devices that fail, and what is let go of."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Sequence

import pytest
from ladder_rig import CPU, FULL, GPU, LIGHT, RUNGS, Machine, answers, job

from pipeline.errors import DeviceLost, ModelUnavailable, OutOfMemory
from pipeline.models.ladder import PATIENCE, Ladder, Rung


@pytest.mark.parametrize(
    "room", [{}, {"gpu": 5}, {"gpu": 1}, {"gpu": 0}, {"gpu": -1, "light": 3}, {"gpu": 0, "light": -1}]
)
@pytest.mark.parametrize("items", [0, 1, 16, 37])
def test_all_items_come_back_in_order(room: dict[str, int], items: int) -> None:
    """Wherever memory runs out, each item has its result once, in order, as long as it fits anywhere."""
    machine = Machine(**room)
    assert job(machine, machine.ladder(), items) == answers(items)


def test_batches_are_halved() -> None:
    """A batch that does not fit is halved until it does; the failed items are done again, the others are not; and the
    next batches are as small.
    """
    machine = Machine(gpu=5)
    ladder = machine.ladder()
    assert job(machine, ladder, 20) == answers(20)
    assert [size for _, size in machine.steps] == [16, 8, 4, 4, 4, 4, 4]
    assert machine.loads == [GPU]
    assert ladder.below == ()


def test_what_is_done_stays_done() -> None:
    """Memory that runs out in the middle costs the batch under way, not those before it."""
    machine = Machine()
    ladder = machine.ladder()
    ladder.begin()
    done: list[int] = []

    def step(rung: Rung, items: Sequence[int]) -> list[int]:
        if 20 in items and len(items) > 8:
            raise MemoryError
        done.extend(items)
        return list(items)

    assert ladder.run(range(32), step) == list(range(32))
    assert done == list(range(32))


def test_a_single_item_that_does_not_fit_goes_a_rung_down() -> None:
    """From the smallest batch on it is the lighter compute type, then the CPU; the model above is let go of before the
    one below is loaded, and what was computed below, and why, can be told.
    """
    machine = Machine(gpu=0, light=0)
    ladder = machine.ladder()
    assert job(machine, ladder, 4) == answers(4)
    assert machine.loads == [GPU, LIGHT, CPU]
    assert machine.released == [GPU, LIGHT]
    assert machine.steps == [(GPU, 4), (GPU, 2), (GPU, 1), (LIGHT, 4), (LIGHT, 2), (LIGHT, 1), (CPU, 2), (CPU, 2)]
    [below] = ladder.below
    assert below.rung == CPU
    assert FULL in below.why


def test_nothing_is_left() -> None:
    """An item that fits nowhere is one clear error that says so; it may be tried again."""
    machine = Machine(gpu=0, light=0, cpu=0)
    with pytest.raises(OutOfMemory, match="the machine's memory ran out") as caught:
        job(machine, machine.ladder(), 3)
    assert caught.value.retryable
    assert machine.steps[-1] == (CPU, 1)


def test_no_room_for_the_model() -> None:
    """The model itself may be too large for a rung; if it is for all of them, that is the same clear error."""
    machine = Machine(gpu=-1, light=-1)
    ladder = machine.ladder()
    ladder.begin()
    assert ladder.model == CPU
    machine = Machine(gpu=-1, light=-1, cpu=-1)
    with pytest.raises(OutOfMemory, match="when the model was loaded"):
        _ = machine.ladder().model


@pytest.mark.parametrize(("asked", "first", "fits"), [(None, 16, 2), (64, 64, 2), (3, 3, 1), (1, 1, 1)])
def test_the_requests_batch(asked: int | None, first: int, fits: int) -> None:
    """A request may ask for other batches than the rung's; what fits still limits them."""
    machine = Machine()
    ladder = machine.ladder()
    job(machine, ladder, 100, asked)
    assert machine.steps[0] == (GPU, first)
    machine.room[GPU] = 2
    assert job(machine, ladder, 100, asked) == answers(100)
    assert ladder.batch(asked) == fits


def test_a_device_that_cannot_be_used_is_passed_over() -> None:
    """A GPU whose driver or libraries fail when the model is loaded: straight to the CPU, with the reason."""
    machine = Machine(gpu=-1)
    machine.words = "Library libcublas.so.12 is not found or cannot be loaded"
    ladder = machine.ladder()
    assert job(machine, ladder, 2) == answers(2)
    assert machine.loads == [GPU, CPU]
    assert "libcublas.so.12" in ladder.below[0].why


def test_a_first_rung_that_is_not_the_hoped_for(caplog: pytest.LogCaptureFixture) -> None:
    """Where the GPU is missing from the rungs for a reason, each job on the first of them says so."""
    machine = Machine()
    ladder = Ladder([CPU], machine.load, why="the driver fails")
    for _ in range(PATIENCE + 2):
        job(machine, ladder, 1)
        assert ladder.below == ((CPU, "the driver fails"),)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_device_that_cannot_be_used_and_no_other() -> None:
    """The same where only the GPU may be used is an error that names the check to make."""
    machine = Machine(gpu=-1)
    machine.words = "CUDA failed with error no CUDA-capable device is detected"
    with pytest.raises(ModelUnavailable, match="the GPU cannot be used") as caught:
        _ = machine.ladder([GPU, LIGHT]).model
    assert "dropscribe doctor" in caught.value.hint


def test_a_device_that_is_lost_ends_it() -> None:
    """A GPU that fails in the middle of the work is no shortage of memory: nothing in this process can go on."""
    machine = Machine(gpu=0)
    machine.words = "CUDA failed with error unspecified launch failure"
    with pytest.raises(DeviceLost, match="unspecified launch failure") as caught:
        job(machine, machine.ladder())
    assert caught.value.retryable
    assert machine.steps == [(GPU, 16)]


@pytest.mark.parametrize("error", [ValueError("a mistake"), RuntimeError("invalid tensor"), ModelUnavailable("gone")])
def test_other_errors_pass_through(error: Exception) -> None:
    """What has nothing to do with memory or a device is the caller's, at once, from a step and from loading."""

    def fail(*_: object) -> list[int]:
        raise error

    ladder = Machine().ladder()
    with pytest.raises(type(error)) as caught:
        ladder.run([1], fail)
    assert caught.value is error
    with pytest.raises(type(error)):
        _ = Ladder([CPU], fail).model


def test_a_failed_load_is_forgotten() -> None:
    """A model that could not be loaded is loaded anew at the next use."""
    tried: list[Rung] = []

    def load(rung: Rung) -> Rung:
        tried.append(rung)
        if len(tried) == 1:
            raise ModelUnavailable("not yet")
        return rung

    ladder = Ladder([GPU, CPU], load)
    with pytest.raises(ModelUnavailable):
        _ = ladder.model
    assert ladder.model == GPU
    assert tried == [GPU, GPU]


def test_a_step_that_answers_too_little_is_refused() -> None:
    """A step that loses items would shift all results behind them; that is a mistake that shows."""
    with pytest.raises(ValueError, match="1 results for 3 items"):
        Machine().ladder().run([1, 2, 3], lambda rung, items: [1])


def test_each_step_down_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever wonders why a worker is slow finds each step down with its reason."""
    machine = Machine(gpu=0, light=1)
    with caplog.at_level(logging.WARNING, logger="pipeline"):
        job(machine, machine.ladder(), 2)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3
    assert all(FULL in line for line in said)
    assert "going on with 1" in said[0]
    assert "from cuda as float16 to cuda as int8_float16" in said[1]


def test_what_failed_is_let_go_of() -> None:
    """Before the next try nothing holds on to what the failed step had in hand: it may be all the memory there is."""
    held: list[int] = []
    alive: list[int] = []

    class Big:
        def __init__(self) -> None:
            held.append(1)

        def __del__(self) -> None:
            held.pop()

    def step(rung: Rung, items: Sequence[int]) -> list[int]:
        alive.append(len(held))
        big = Big()
        if len(items) > 1:
            raise MemoryError
        del big
        return list(items)

    assert Machine().ladder().run(range(4), step) == [0, 1, 2, 3]
    assert set(alive) == {0}


def test_the_old_model_is_gone_before_the_next_is_loaded() -> None:
    """Two models at once do not fit where one was too large: nothing in the ladder holds on to the one it leaves."""

    class Weights:
        pass

    old: list[weakref.ref[Weights]] = []

    def load(rung: Rung) -> Weights:
        assert all(one() is None for one in old)
        weights = Weights()
        old.append(weakref.ref(weights))
        return weights

    def step(weights: Weights, items: Sequence[int]) -> Sequence[int]:
        if len(old) < len(RUNGS):
            raise MemoryError
        return items

    assert Ladder(RUNGS, load).run([1], step) == [1]
    assert len(old) == len(RUNGS)
