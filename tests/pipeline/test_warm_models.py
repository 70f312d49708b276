"""The models beside the recogniser between jobs: which are kept, and when one lets go of a GPU's memory."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.devices import DeviceSettings, Gpu, Gpus, in_use
from pipeline.models.ladder import Ladder, Rung
from pipeline.models.warm import Warm
from tests.pipeline.company import EVERYTHING, aligner

GPU, CPU = Rung("cuda", "float32", 8), Rung("cpu", "float32", 1)


def gpu(free: float, of_torch: float = 0.0) -> Gpus:
    """One of 100 bytes."""
    found = Gpu(
        index=0, name="a GPU", capability="9.0", total=100, free=round(free), torch_reserved=round(of_torch) or None
    )
    return Gpus(found=(found,))


class Counting:
    """A model that counts how often it let go of its weights."""

    def __init__(self) -> None:
        self.unloaded = 0

    def unload(self) -> None:
        self.unloaded += 1


def kept(warm: Warm, kind: str = "separator") -> Counting:
    model = Counting()
    warm._keep(kind, "this one", model)
    return model


@pytest.mark.parametrize(("free", "threshold", "unloads"), [(20, 0.9, 0), (5, 0.9, 1), (20, 0.5, 1)])
def test_a_full_gpu_is_made_room_on(free: int, threshold: float, unloads: int) -> None:
    """After its stage a model stays while less of the GPU is in use than the settings allow, and goes otherwise; its
    own share counts, because the next stage's model wants the place.
    """
    warm = Warm(DeviceSettings(gpu_memory_threshold=threshold), lambda: gpu(free, of_torch=60), lambda: True)
    model, other = kept(warm), kept(warm, "voices")
    warm.rest("separator")
    assert (model.unloaded, other.unloaded) == (unloads, 0)


def test_without_a_gpu_models_stay() -> None:
    """Where torch uses none, or nobody can tell what is free, nothing is let go of; nor is anything asked of a driver
    that is not there.
    """

    def nobody() -> Gpus:
        raise AssertionError("the driver was asked")

    on_cpu = Warm(None, nobody, lambda: False)
    model = kept(on_cpu)
    on_cpu.rest("separator")
    blind = Warm(None, lambda: Gpus(problem="no NVML"), lambda: True)
    other = kept(blind)
    blind.rest("separator")
    blind.rest("voices")  # of which there is none
    assert (model.unloaded, other.unloaded) == (0, 0)


def test_another_model_of_a_kind_takes_its_place() -> None:
    """The old one lets go of its weights before the new one comes; the same one is kept as it is."""
    warm = Warm()
    first = warm.aligners(EVERYTHING.aligners)
    assert warm.aligners(EVERYTHING.aligners) is first
    gone: list[str] = []
    first.unload = lambda: gone.append("first")  # type: ignore[method-assign]
    assert warm.aligners((aligner("english", "en", revision="2"),)) is not first
    assert gone == ["first"]


def ladder(looks: list[float], settings: DeviceSettings, loaded: list[str]) -> Ladder[Any]:
    def barring() -> dict[str, str]:
        return in_use(settings, lambda: gpu(looks.pop(0)))

    return Ladder((GPU, CPU), lambda rung: loaded.append(rung.device) or rung.device, barring=barring)  # type: ignore[func-returns-value]


def test_a_gpu_that_is_full_is_left_alone_until_there_is_room() -> None:
    """A ladder that asks for itself goes to the CPU for one job, and back; where its model lies already it does not
    ask: what is in use is mostly its own.
    """
    loaded: list[str] = []
    found = ladder([5, 60], DeviceSettings(), loaded)
    for below in (1, 0, 0):
        found.begin()
        found.run(["item"], lambda model, some: list(some))
        assert len(found.below) == below
    assert loaded == ["cpu", "cuda"]


def test_a_device_that_was_asked_for_is_never_barred() -> None:
    """With ``cuda`` the operator has decided; only ``auto`` looks for room."""
    assert in_use(DeviceSettings(device="cuda"), lambda: gpu(1)) == {}
    assert "99%" in in_use(DeviceSettings(), lambda: gpu(1))["cuda"]
    assert in_use(DeviceSettings(), Gpus) == {}
