"""The GPUs of a machine, asked of a driver: a fake one in C, none at all, and the real one where there is a GPU."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from fake_driver import GIB, NAMES, compiled, opener
from pydantic import ValidationError

from pipeline.devices import DeviceSettings, Gpu, gpus, memory_in_use


def test_what_a_driver_says(tmp_path: Path) -> None:
    """Name, compute capability, total and free memory, what is allocated and what the driver keeps, of each GPU and of
    a slice of one; and the CUDA version that the driver supports.
    """
    found = gpus(opener(compiled(tmp_path)))
    assert found.problem == ""
    assert found.driver == "12.8"
    assert found.found == (
        Gpu(index=0, name=NAMES[0], capability="9.0", total=80 * GIB, free=70 * GIB, allocated=9 * GIB, reserved=GIB),
        Gpu(index=1, name=NAMES[1], capability="8.0", total=20 * GIB, free=GIB, allocated=19 * GIB, reserved=0),
    )
    assert [gpu.share_of_others for gpu in found.found] == [0.125, 0.95]
    assert found.found[0].described == (
        "0: NVIDIA H100 80GB HBM3, compute capability 9.0, 80.0 GiB, 70.0 GiB free, 9.0 GiB allocated, "
        "1.0 GiB reserved by the driver"
    )


def test_memory_in_use(tmp_path: Path) -> None:
    """By NVML alone: what all processes use of each GPU, and all of it; CUDA is not opened for that."""
    libraries = dict(compiled(tmp_path))
    del libraries["libcuda.so.1"]
    assert memory_in_use(opener(libraries)) == {0: (9 * GIB, 80 * GIB)}


@pytest.mark.parametrize("lacking", ["nothing", "ready", "old"])
def test_memory_that_nobody_tells(tmp_path: Path, lacking: str) -> None:
    """Without NVML, with one that fails, and with one too old to say, there is nothing to tell, and no error."""
    libraries = compiled(tmp_path, ready=9 if lacking == "ready" else 0, old=lacking == "old")
    assert memory_in_use(opener({} if lacking == "nothing" else libraries)) == {}


def test_no_driver() -> None:
    """A machine without a GPU has none, and the reason is told; that is no error."""
    found = gpus(opener({}))
    assert found.found == ()
    assert "libcuda.so.1" in found.problem


@pytest.mark.parametrize(
    ("status", "words"), [(100, "no CUDA-capable device is detected"), (999, "error 999")], ids=["known", "unknown"]
)
def test_a_driver_without_a_gpu(tmp_path: Path, status: int, words: str) -> None:
    """A driver that cannot start says why, in its own words or by number."""
    found = gpus(opener(compiled(tmp_path, found=status)))
    assert found.found == ()
    assert words in found.problem
    assert found.broken == (status != 100)  # 100: there is none, which is nothing to complain about


def test_hidden_gpus(tmp_path: Path) -> None:
    """GPUs that CUDA_VISIBLE_DEVICES hides are not there, and the reason names the variable."""
    found = gpus(opener(compiled(tmp_path, count=0)))
    assert found.found == ()
    assert "CUDA_VISIBLE_DEVICES" in found.problem


@pytest.mark.parametrize("lacking", ["file", "start", "function"])
def test_without_nvml(tmp_path: Path, lacking: str) -> None:
    """In containers NVML may be missing or of no use: the GPUs are there all the same, and what is free is unknown."""
    libraries = dict(compiled(tmp_path, ready=9 if lacking == "start" else 0, old=lacking == "function"))
    if lacking == "file":
        del libraries["libnvidia-ml.so.1"]
    found = gpus(opener(libraries))
    assert [(gpu.total, gpu.free) for gpu in found.found] == [(80 * GIB, None), (20 * GIB, None)]
    assert found.found[0].share_of_others is None
    assert found.found[0].described.endswith("compute capability 9.0, 80.0 GiB")
    assert ("free memory is not known" in found.problem) == (lacking != "function")


def test_something_else_by_that_name(tmp_path: Path) -> None:
    """A library without the functions is a driver that gives no GPUs."""
    libraries = dict(compiled(tmp_path))
    libraries["libcuda.so.1"] = libraries["libnvidia-ml.so.1"]
    found = gpus(opener(libraries))
    assert found.found == ()
    assert found.problem


@pytest.fixture
def torch() -> Iterator[Any]:
    """A torch that somebody has imported already."""
    before = sys.modules.get("torch")
    stand_in: Any = ModuleType("torch")
    stand_in.cuda = SimpleNamespace(
        is_initialized=lambda: True, memory_allocated=lambda index: GIB, memory_reserved=lambda index: 2 * GIB
    )
    sys.modules["torch"] = stand_in
    yield stand_in
    if before is None:
        del sys.modules["torch"]
    else:
        sys.modules["torch"] = before


def test_torch_is_asked_only_if_it_runs(tmp_path: Path, torch: Any) -> None:
    """What this process's torch keeps is told, and is not others' memory; a torch that has not used CUDA is not asked,
    because to ask would start it.
    """
    driver = opener(compiled(tmp_path))
    gpu = gpus(driver).found[0]
    assert (gpu.torch_allocated, gpu.torch_reserved) == (GIB, 2 * GIB)
    assert gpu.share_of_others == 0.1
    torch.cuda.is_initialized = lambda: False
    assert gpus(driver).found[0].torch_reserved is None


def test_torch_is_never_imported(tmp_path: Path) -> None:
    """To look at GPUs costs no import of torch."""
    before = "torch" in sys.modules
    gpus(opener(compiled(tmp_path)))
    assert ("torch" in sys.modules) == before


@pytest.mark.parametrize(
    "wrong", [{"device": "gpu"}, {"compute_type": "float8"}, {"gpu_memory_threshold": 0}, {"gpu_memory_threshold": 1.1}]
)
def test_wrong_settings(wrong: dict[str, Any]) -> None:
    """What is no device, no compute type or no share is refused by name."""
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        DeviceSettings.model_validate(wrong)


@pytest.mark.gpu
def test_the_real_driver() -> None:
    """Where there is a GPU the real driver gives it, with plausible figures."""
    found = gpus()
    assert found.found
    assert found.driver is not None
    for gpu in found.found:
        assert gpu.name
        assert float(gpu.capability) >= 3
        assert gpu.free is None or 0 < gpu.free <= gpu.total
        assert gpu.share_of_others is None or 0 <= gpu.share_of_others <= 1
