"""A machine whose memory runs out as a test says, and jobs on a ladder over it."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.models.ladder import Ladder, Rung

GPU = Rung("cuda", "float16", 16)
LIGHT = Rung("cuda", "int8_float16", 4)
CPU = Rung("cpu", "int8_float32", 2)
RUNGS = (GPU, LIGHT, CPU)

FULL = "CUDA failed with error out of memory"


class Machine:
    """A machine with so much room: ``room`` is how many items fit on a rung at once, 0 none, -1 not even the model."""

    def __init__(self, **room: int) -> None:
        self.room = {GPU: room.get("gpu", 100), LIGHT: room.get("light", 100), CPU: room.get("cpu", 100)}
        self.words = FULL
        self.loads: list[Rung] = []
        self.released: list[Rung] = []
        self.steps: list[tuple[Rung, int]] = []  # that were tried

    def load(self, rung: Rung) -> Rung:
        self.loads.append(rung)
        if self.room[rung] < 0:
            raise RuntimeError(self.words)
        return rung

    def release(self, rung: Rung) -> None:
        self.released.append(rung)

    def step(self, rung: Rung, items: Sequence[int]) -> list[int]:
        self.steps.append((rung, len(items)))
        if len(items) > self.room[rung]:
            raise RuntimeError(self.words)
        return [10 * item for item in items]

    def ladder(self, rungs: Sequence[Rung] = RUNGS) -> Ladder[Rung]:
        return Ladder(rungs, self.load, self.release)


def job(machine: Machine, ladder: Ladder[Rung], items: int = 16, batch: int | None = None) -> list[int]:
    ladder.begin()
    return ladder.run(range(items), machine.step, batch=batch)


def answers(items: int) -> list[int]:
    return [10 * item for item in range(items)]
