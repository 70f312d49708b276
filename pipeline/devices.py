"""The GPUs of this machine, asked of the driver itself: no torch, no CUDA libraries, no context on the GPU.

Takes nothing, or a way to open libraries; gives frozen facts in bytes. CUDA's driver (``libcuda``) says what there is
and obeys CUDA_VISIBLE_DEVICES; NVML (``libnvidia-ml``), which knows every GPU of the machine and is asked by the GPU's
UUID, says what is free. Knows nothing of models.

Sources: CUDA Driver API reference, "Device Management" and "Initialization"; NVML API reference, "Device Queries".
"""

from __future__ import annotations

import ctypes
import sys
import uuid
from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field

from pipeline.types import Frozen

CUDA_DRIVER = "libcuda.so.1"
NVML = "libnvidia-ml.so.1"
THRESHOLD = 0.9

OpenLibrary = Callable[[str], Any]
"""Opens a shared library by name, as `ctypes.CDLL` does. OSError if there is none."""

# enum CUdevice_attribute of cuda.h
_MAJOR, _MINOR = 75, 76
_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE
_NAME_BYTES = 256

Device = Literal["auto", "cpu", "cuda"]
ComputeType = Literal[
    "float32", "float16", "bfloat16", "int16", "int8", "int8_float32", "int8_float16", "int8_bfloat16"
]
"""CTranslate2's, without the two that leave the choice to it."""


class DeviceSettings(Frozen):
    """Where to compute. ``device``: ``auto`` is the first GPU if it can be used, else the CPU. ``compute_type``: None
    for the best on the device; with ``auto``, a device that does not have the one asked for takes its best, too.
    ``gpu_memory_threshold``: a GPU of which others hold more than this share is left alone (``auto`` only).
    """

    device: Device = "auto"
    compute_type: ComputeType | None = None
    gpu_memory_threshold: float = Field(default=THRESHOLD, gt=0, le=1)


class Gpu(Frozen):
    """One GPU. Sizes in bytes, None where nobody could tell.

    ``index``: as CUDA counts, after CUDA_VISIBLE_DEVICES. ``capability``: compute capability, ``9.0``. ``allocated``:
    by all processes on it. ``reserved``: by the driver for itself. ``torch_allocated``, ``torch_reserved``: of this
    process's torch, if it has used the GPU.
    """

    index: int
    name: str
    capability: str
    total: int
    free: int | None = None
    allocated: int | None = None
    reserved: int | None = None
    torch_allocated: int | None = None
    torch_reserved: int | None = None

    @property
    def described(self) -> str:
        """One line for people."""
        sizes = [(self.total, ""), (self.free, " free"), (self.allocated, " allocated")]
        sizes += [(self.reserved, " reserved by the driver"), (self.torch_allocated, " allocated by torch")]
        sizes += [(self.torch_reserved, " reserved by torch")]
        told = ", ".join(f"{count / 2**30:.1f} GiB{what}" for count, what in sizes if count is not None)
        return f"{self.index}: {self.name}, compute capability {self.capability}, {told}"

    @property
    def share_of_others(self) -> float | None:
        """How much of it is in use, less what this process's torch keeps; 0…1."""
        if self.free is None or not self.total:
            return None
        return max(0, self.total - self.free - (self.torch_reserved or 0)) / self.total


class Gpus(Frozen):
    """What the driver says. ``driver``: the CUDA version that it supports (``12.8``), None without one. ``problem``:
    why there are no GPUs, or less is known of them than could be; empty if all is well. ``broken``: there is a driver,
    and it fails otherwise than for lack of a GPU.
    """

    found: tuple[Gpu, ...] = ()
    driver: str | None = None
    problem: str = ""
    broken: bool = False


def gpus(open_library: OpenLibrary = ctypes.CDLL) -> Gpus:
    """The GPUs that CUDA sees. Never raises: a machine without a GPU is nothing special."""
    try:
        cuda = open_library(CUDA_DRIVER)
    except OSError:
        return Gpus(problem=f"no NVIDIA driver: there is no {CUDA_DRIVER}")
    try:
        return _asked(cuda, open_library)
    except (_DriverError, AttributeError) as error:  # AttributeError: a driver too old to have the function
        broken = not isinstance(error, _DriverError) or error.status != _NO_DEVICE
        return Gpus(problem=f"the NVIDIA driver gives no GPUs: {error}", broken=broken)


def memory_in_use(open_library: OpenLibrary = ctypes.CDLL) -> dict[int, tuple[int, int]]:
    """Bytes used and in all of each GPU, by NVML's own index, which knows nothing of CUDA_VISIBLE_DEVICES. CUDA itself
    is not touched, so a process that must keep off the GPU may ask. Empty where nobody can tell; never raises.
    """
    try:
        nvml = open_library(NVML)
        count = ctypes.c_uint()
        if nvml.nvmlInit_v2() != 0 or nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
            return {}
    except (OSError, AttributeError):
        return {}
    found = {}
    for index in range(count.value):
        handle = ctypes.c_void_p()
        if nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle)) == 0:
            told = _memory_of(nvml, handle)
            if told is not None:
                found[index] = (told.used, told.total)
    return found


def in_use(settings: DeviceSettings, look: Callable[[], Gpus] = gpus) -> dict[str, str]:
    """The GPU and why it is to be left alone: with ``auto``, when more of it is in use than the settings allow."""
    if settings.device != "auto":
        return {}
    found = look().found
    share = found[0].share_of_others if found else None
    if share is None or share <= settings.gpu_memory_threshold:
        return {}
    return {"cuda": f"{share:.0%} of the GPU's memory were in use by others"}


class _DriverError(Exception):
    """A call that did not return 0."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def _asked(cuda: Any, open_library: OpenLibrary) -> Gpus:
    _check(cuda, cuda.cuInit(ctypes.c_uint(0)))
    version = ctypes.c_int()
    _check(cuda, cuda.cuDriverGetVersion(ctypes.byref(version)))
    driver = f"{version.value // 1000}.{version.value % 1000 // 10}"
    count = ctypes.c_int()
    _check(cuda, cuda.cuDeviceGetCount(ctypes.byref(count)))
    memory, problem = _memory(open_library)
    found = tuple(_gpu(cuda, index, memory) for index in range(count.value))
    if not found:
        problem = "the NVIDIA driver sees no GPU; CUDA_VISIBLE_DEVICES may hide it"
    return Gpus(found=found, driver=driver, problem=problem)


def _gpu(cuda: Any, index: int, memory: _MemoryOf) -> Gpu:
    device = ctypes.c_int()
    _check(cuda, cuda.cuDeviceGet(ctypes.byref(device), ctypes.c_int(index)))
    name = ctypes.create_string_buffer(_NAME_BYTES)
    _check(cuda, cuda.cuDeviceGetName(name, ctypes.c_int(_NAME_BYTES), device))
    total = ctypes.c_size_t()
    _check(cuda, cuda.cuDeviceTotalMem_v2(ctypes.byref(total), device))
    capability = []
    for attribute in (_MAJOR, _MINOR):
        number = ctypes.c_int()
        _check(cuda, cuda.cuDeviceGetAttribute(ctypes.byref(number), ctypes.c_int(attribute), device))
        capability.append(str(number.value))
    identity = (ctypes.c_ubyte * 16)()
    _check(cuda, cuda.cuDeviceGetUuid_v2(ctypes.byref(identity), device))
    return Gpu(
        index=index,
        name=name.value.decode("utf-8", "replace"),
        capability=".".join(capability),
        total=total.value,
        **memory(uuid.UUID(bytes=bytes(identity))),
        **_torch(index),
    )


def _check(cuda: Any, status: int) -> None:
    if status == 0:
        return
    text = ctypes.c_char_p()
    known = cuda.cuGetErrorString(ctypes.c_int(status), ctypes.byref(text)) == 0 and text.value
    raise _DriverError(status, text.value.decode("utf-8", "replace") if known and text.value else f"error {status}")


# ── what is free ─────────────────────────────────────────────────────────────────────────────────────────────────────

_MemoryOf = Callable[[uuid.UUID], dict[str, int]]


class _Memory(ctypes.Structure):
    """nvmlMemory_v2_t of nvml.h. ``reserved``: by the driver; ``used``: by everybody else."""

    _fields_ = (
        ("version", ctypes.c_uint),
        ("total", ctypes.c_ulonglong),
        ("reserved", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    )


def _memory(open_library: OpenLibrary) -> tuple[_MemoryOf, str]:
    """How to learn what of a GPU is free, and why it cannot be learnt, if so."""
    try:
        nvml = open_library(NVML)
        status = nvml.nvmlInit_v2()
    except (OSError, AttributeError):
        return lambda identity: {}, f"free memory is not known: there is no {NVML}"
    if status != 0:
        return lambda identity: {}, f"free memory is not known: NVML gives error {status}"
    return lambda identity: _free(nvml, identity), ""


def _free(nvml: Any, identity: uuid.UUID) -> dict[str, int]:
    handle = ctypes.c_void_p()
    # A slice of a GPU (MIG) has a UUID of its own.
    names = (f"{kind}-{identity}".encode() for kind in ("GPU", "MIG"))
    if not any(nvml.nvmlDeviceGetHandleByUUID(ctypes.c_char_p(name), ctypes.byref(handle)) == 0 for name in names):
        return {}
    memory = _memory_of(nvml, handle)
    if memory is None:
        return {}
    return {"free": memory.free, "allocated": memory.used, "reserved": memory.reserved}


def _memory_of(nvml: Any, handle: ctypes.c_void_p) -> _Memory | None:
    memory = _Memory(version=ctypes.sizeof(_Memory) | 2 << 24)
    try:
        status = nvml.nvmlDeviceGetMemoryInfo_v2(handle, ctypes.byref(memory))
    except AttributeError:  # a driver before 510
        return None
    return memory if status == 0 else None


def _torch(index: int) -> dict[str, int]:
    """Of this process's torch, if it is loaded and has used CUDA: to ask must not start it."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {}
    return {
        "torch_allocated": int(torch.cuda.memory_allocated(index)),
        "torch_reserved": int(torch.cuda.memory_reserved(index)),
    }
