"""What a ladder remembers from job to job, the way back up, and devices that others fill."""

from __future__ import annotations

import itertools

from ladder_rig import CPU, GPU, LIGHT, RUNGS, Machine, answers, job

from pipeline.models.ladder import LONGEST_PATIENCE, PATIENCE, Rung


def test_the_next_job_begins_where_the_last_one_ended() -> None:
    """What was learnt is remembered: the next job loads nothing and tries nothing that is known not to fit."""
    machine = Machine(gpu=0, light=3)
    ladder = machine.ladder()
    job(machine, ladder)
    machine.steps.clear(), machine.loads.clear()
    assert job(machine, ladder, 6) == answers(6)
    assert machine.steps == [(LIGHT, 2)] * 3
    assert machine.loads == []
    assert [below.rung for below in ladder.below] == [LIGHT]  # said of each job, not only of the first


def test_after_a_while_the_top_is_tried_again() -> None:
    """Room that comes back is used: after `PATIENCE` jobs without a failure, one begins at the top again."""
    machine = Machine(gpu=0, light=0)
    ladder = machine.ladder()
    job(machine, ladder)
    machine.room = dict.fromkeys(RUNGS, 100)
    for _ in range(PATIENCE):
        job(machine, ladder)
        assert ladder.on == CPU
    job(machine, ladder)
    assert ladder.on == GPU
    assert machine.steps[-1] == (GPU, 16)
    assert ladder.below == ()


def test_batches_grow_again() -> None:
    """The same for batches that were halved."""
    machine = Machine(gpu=4)
    ladder = machine.ladder()
    job(machine, ladder)
    machine.room[GPU] = 100
    for _ in range(PATIENCE):
        job(machine, ladder)
        assert machine.steps[-1] == (GPU, 4)
    job(machine, ladder)
    assert machine.steps[-1] == (GPU, 16)


def test_ever_more_patience() -> None:
    """Where there never is more room the top is tried ever more seldom; where there was some, as often as at first."""
    machine = Machine(gpu=8)
    ladder = machine.ladder()
    tries = []
    for n in range(4 * PATIENCE * 10):
        before = len(machine.steps)
        job(machine, ladder)
        if (GPU, 16) in machine.steps[before:]:
            tries.append(n)
    assert [later - earlier for earlier, later in itertools.pairwise(tries)] == [
        PATIENCE + 1,
        2 * PATIENCE + 1,
        4 * PATIENCE + 1,
        8 * PATIENCE + 1,
        16 * PATIENCE + 1,
    ]
    assert 16 * PATIENCE <= LONGEST_PATIENCE
    machine.room[GPU] = 100
    for _ in range(32 * PATIENCE + 2 * PATIENCE):
        job(machine, ladder)
    machine.room[GPU] = 8
    job(machine, ladder)
    machine.room[GPU] = 100
    for _ in range(PATIENCE + 1):
        job(machine, ladder)
    assert machine.steps[-1] == (GPU, 16)


def test_a_barred_device_is_not_used_for_this_job() -> None:
    """A GPU that others fill is left alone for one job, which says so; the next one looks again."""
    machine = Machine()
    ladder = machine.ladder()
    ladder.begin({"cuda": "others fill it"})
    assert ladder.run(range(4), machine.step) == answers(4)
    assert machine.loads == [CPU]
    assert [(below.rung, below.why) for below in ladder.below] == [(CPU, "others fill it")]
    job(machine, ladder)
    assert ladder.on == GPU
    assert ladder.below == ()


def test_a_barred_device_with_nothing_beside_it() -> None:
    """Where there is no other device, the barred one is used."""
    machine = Machine()
    ladder = machine.ladder([GPU, LIGHT])
    ladder.begin({"cuda": "others fill it"})
    assert ladder.run(range(4), machine.step) == answers(4)
    assert ladder.on == GPU


def test_what_a_barred_job_learns_is_not_of_the_gpu() -> None:
    """Memory that runs out on the CPU in a job that others kept from the GPU does not keep the next one from it."""
    machine = Machine(cpu=1)
    heavy = Rung("cpu", "float32", 2)
    machine.room[heavy] = 0
    ladder = machine.ladder([GPU, heavy, CPU])
    ladder.begin({"cuda": "others fill it"})
    assert ladder.run(range(4), machine.step) == answers(4)
    assert ladder.on == CPU
    job(machine, ladder)
    assert ladder.on == GPU
