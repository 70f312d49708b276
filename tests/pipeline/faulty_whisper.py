"""A real recogniser whose "GPU" is a rung with its weights on the CPU, and whose steps fail as a test says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sound import noise, window
from whisper_rig import NATO

from pipeline.catalog import Model
from pipeline.devices import DeviceSettings
from pipeline.models.ladder import Ladder, Rung
from pipeline.models.loading import LoadedWhisper, open_whisper

FULL = "CUDA failed with error out of memory"

GPU = Rung("cuda", "float16", 16)
LIGHT = Rung("cuda", "int8_float16", 4)
CPU = Rung("cpu", "float32", 4)


def windows(count: int) -> list[Any]:
    return [window(30.0 * n, noise(1.2 + n % 3, seed=n)) for n in range(count)]


def expected(count: int) -> list[str]:
    return [word for n in range(count) for word in NATO[: 1 + n % 3]]


class Faulty(LoadedWhisper):
    """Weights on a "GPU" and a CPU, with a judge of each step before it is done: ``fail(rung, windows)``."""

    def __init__(self, model: Model, fail: Callable[[Rung, int], Exception | None], **look: Any) -> None:
        self.steps: list[tuple[Rung, int]] = []
        self._fail = fail
        settings = DeviceSettings()
        super().__init__(Ladder((GPU, LIGHT, CPU), lambda rung: open_whisper(model, CPU)), settings, **look)
        self.begin()

    def run(self, windows: Sequence[Any], decode: Callable[[Sequence[Any]], Sequence[Any]], batch: Any = None) -> Any:
        def judged(piece: Sequence[Any]) -> Sequence[Any]:
            self.steps.append((self.rung, len(piece)))
            error = self._fail(self.rung, len(piece))
            if error is not None:
                raise error
            return decode(piece)

        return super().run(windows, judged, batch)


def more_than(limit: int, *devices: str) -> Callable[[Rung, int], Exception | None]:
    return lambda rung, count: RuntimeError(FULL) if count > limit and rung.device in devices else None
