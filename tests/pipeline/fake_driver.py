"""A driver that is not there: CUDA's and NVML's functions as a real shared library, compiled from a few lines of C.

The structures and signatures are those of cuda.h and nvml.h; two GPUs, the second of which is a slice of one (MIG).
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

GIB = 2**30
NAMES = ("NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-40GB MIG 3g.20gb")

# FOUND: what cuInit gives; COUNT: GPUs; OLD: no memory info of version 2 in NVML.
_CUDA = """
#include <stdlib.h>
#include <string.h>
int cuInit(unsigned flags) { return flags ? 1 : FOUND; }
int cuDriverGetVersion(int *version) { *version = 12080; return 0; }
int cuDeviceGetCount(int *count) { *count = COUNT; return 0; }
int cuDeviceGet(int *device, int index) { *device = 100 + index; return index < COUNT ? 0 : 101; }
int cuDeviceGetName(char *name, int length, int device) {
    strncpy(name, device == 100 ? "NVIDIA H100 80GB HBM3" : "NVIDIA A100-SXM4-40GB MIG 3g.20gb", length);
    return 0;
}
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (device == 100 ? 80UL : 20UL) << 30; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    if (attribute == 75) *value = device == 100 ? 9 : 8;
    else if (attribute == 76) *value = 0;
    else return 1;
    return 0;
}
int cuDeviceGetUuid_v2(unsigned char *uuid, int device) { memset(uuid, device, 16); return 0; }
int cuGetErrorString(int error, const char **text) {
    if (error == 999) return 1;
    *text = "no CUDA-capable device is detected";
    return 0;
}
"""
_NVML = """
#include <string.h>
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } Memory;
static int devices[2];
int nvmlInit_v2(void) { return READY; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 1; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) { *handle = &devices[index]; return index ? 2 : 0; }
int nvmlDeviceGetHandleByUUID(const char *uuid, void **handle) {
    if (!strcmp(uuid, "GPU-64646464-6464-6464-6464-646464646464")) *handle = &devices[0];
    else if (!strcmp(uuid, "MIG-65656565-6565-6565-6565-656565656565")) *handle = &devices[1];
    else return 6;
    return 0;
}
#ifndef OLD
int nvmlDeviceGetMemoryInfo_v2(void *handle, Memory *memory) {
    unsigned long long gib = 1ULL << 30;
    if (memory->version != (sizeof(Memory) | 2 << 24)) return 25;
    int whole = handle == &devices[0];
    if (!whole && handle != &devices[1]) return 2;
    memory->total = (whole ? 80 : 20) * gib;
    memory->free = (whole ? 70 : 1) * gib;
    memory->used = (whole ? 9 : 19) * gib;
    memory->reserved = whole ? gib : 0;
    return 0;
}
#endif
"""


_CUBLAS = """
int cublasGetProperty(int part, int *value) { int version[] = {12, 8, 4}; *value = version[part]; return 0; }
"""
_CUBLAS_LT = """
#include <stddef.h>
size_t cublasLtGetVersion(void) { return 120804; }
"""


def compiled(folder: Path, *, found: int = 0, count: int = 2, ready: int = 0, old: bool = False) -> Mapping[str, Path]:
    """The libraries by the name under which they are opened. ``found``: what cuInit gives; ``ready``: nvmlInit."""
    if (compiler := shutil.which("cc")) is None:
        pytest.skip("there is no C compiler here")
    defines = [f"-DFOUND={found}", f"-DCOUNT={count}", f"-DREADY={ready}", *(["-DOLD"] if old else [])]
    sources = {"libcuda.so.1": _CUDA, "libnvidia-ml.so.1": _NVML}
    return {name: _built(compiler, folder / name, source, defines) for name, source in sources.items()}


def cublas(folder: Path) -> Mapping[str, Path]:
    """cuBLAS, as far as it tells its version: 12.8.4."""
    if (compiler := shutil.which("cc")) is None:
        pytest.skip("there is no C compiler here")
    sources = {"libcublas.so.12": _CUBLAS, "libcublasLt.so.12": _CUBLAS_LT}
    return {name: _built(compiler, folder / name, source, []) for name, source in sources.items()}


def _built(compiler: str, library: Path, source: str, defines: Sequence[str]) -> Path:
    code = library.with_name(f"{library.name}.c")
    code.write_text(source)
    subprocess.run([compiler, "-shared", "-fPIC", *defines, "-o", str(library), str(code)], check=True)
    return library


def opener(libraries: Mapping[str, Path]) -> Callable[[str], ctypes.CDLL]:
    """As `ctypes.CDLL`, on a machine with those libraries."""

    def open_library(name: str) -> ctypes.CDLL:
        if name not in libraries:
            raise OSError(f"{name}: cannot open shared object file: No such file or directory")
        return ctypes.CDLL(str(libraries[name]))

    return open_library
