"""Which errors mean that memory ran out, and which that the GPU is lost: by the libraries' own words."""

from __future__ import annotations

import pytest

from pipeline.errors import DeviceLost, OutOfMemory
from pipeline.models.failures import explained, is_device_lost, is_out_of_memory


class OutOfMemoryError(RuntimeError):
    """As torch's is called."""


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA failed with error out of memory"),
        RuntimeError("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED"),
        RuntimeError("cuBLAS failed with status CUBLAS_STATUS_NOT_INITIALIZED"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("mkl_malloc: failed to allocate memory"),
        OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError("std::bad_alloc"),
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
    ],
    ids=str,
)
def test_out_of_memory_is_recognised(error: Exception) -> None:
    """The real words of CTranslate2, cuBLAS, torch and Python."""
    assert is_out_of_memory(error)
    assert not is_device_lost(error)
    assert isinstance(explained(error), OutOfMemory)


@pytest.mark.parametrize(
    "words",
    [
        "CUDA failed with error unspecified launch failure",
        "CUDA failed with error an illegal memory access was encountered",
        "CUDA failed with error uncorrectable ECC error encountered",
        "CUDA failed with error the launch timed out and was terminated",
        "CUDA failed with error no CUDA-capable device is detected",
        "CUDA failed with error CUDA-capable device(s) is/are busy or unavailable",
        "CUDA error: device-side assert triggered",
        "cuBLAS failed with status CUBLAS_STATUS_EXECUTION_FAILED",
        "CUDA failed with error unknown error",
        "GPU has fallen off the bus",
    ],
)
def test_a_lost_gpu_is_recognised(words: str) -> None:
    """The words of CUDA's errors after which a context is of no use."""
    assert is_device_lost(RuntimeError(words))
    assert not is_out_of_memory(RuntimeError(words))
    assert isinstance(explained(RuntimeError(words)), DeviceLost)


@pytest.mark.parametrize(
    "error", [RuntimeError("unknown error in line 3"), KeyError("out of memory"), ValueError("no")]
)
def test_what_is_neither(error: Exception) -> None:
    """Words alone are not enough where they could come from anywhere."""
    assert explained(error) is None
