"""What an exception of a native library means: out of memory, a GPU that is lost, a GPU that cannot be used.

Takes an exception, gives a yes or no, or the pipeline's own error. Libraries have no common classes for it
(CTranslate2 raises RuntimeError with CUDA's own words), so it goes by type names and messages; the words are those of
CUDA's and cuBLAS's error strings.
"""

from __future__ import annotations

from pipeline.errors import DeviceLost, OutOfMemory, PipelineError

_NO_MEMORY = (
    "out of memory",  # CUDA's own words, in CTranslate2's and torch's messages; ENOMEM of Linux is "cannot allocate …"
    "cannot allocate memory",
    "can't allocate memory",  # torch's allocator on the CPU
    "failed to allocate",  # CTranslate2's and oneDNN's on the CPU, onnxruntime's
    "bad_alloc",
    "cublas_status_alloc_failed",
    "cublas_status_not_initialized",  # cublasCreate finds no room for its workspace; it does not say so better
)

# A CUDA context is of no use after these: every later call fails, with the same words or others.
_LOST = (
    "unspecified launch failure",
    "illegal memory access",
    "illegal instruction",
    "illegal address",
    "misaligned address",
    "invalid program counter",
    "hardware stack error",
    "launch timed out",
    "device-side assert",
    "uncorrectable",  # ECC, and NVLink
    "fallen off the bus",
    "no cuda-capable device",
    "gpu is lost",
    "busy or unavailable",
    "unknown error",  # CUDA's own name for an error, which is what a GPU that was reset gives
    "driver shutting down",
    "cublas_status_execution_failed",
    "cublas_status_internal_error",
    "cublas_status_mapping_error",
)
_OF_A_GPU = ("cuda", "cublas", "cudnn", "nvidia", "gpu", "driver")


def reason(error: BaseException) -> str:
    """The first line of what the exception says, or its name."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def is_out_of_memory(error: BaseException) -> bool:
    """Memory ran out, on the GPU or of the machine; a smaller piece of work may fit."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # of torch, which is not imported
        return True
    return _says(error, _NO_MEMORY)


def is_device_lost(error: BaseException) -> bool:
    """The GPU, or this process's context on it, is gone: only another process can use it again, if at all."""
    return _says(error, _LOST) and _says(error, _OF_A_GPU) and not is_out_of_memory(error)


def is_of_the_gpu(error: BaseException) -> bool:
    """The GPU, its driver or its libraries are at fault, not the model."""
    return _says(error, _OF_A_GPU)


def explained(error: BaseException) -> PipelineError | None:
    """The pipeline's own error for one that a stage did not expect; None if it is neither of the two kinds."""
    if is_out_of_memory(error):
        return OutOfMemory(f"memory ran out: {reason(error)}")
    if is_device_lost(error):
        return DeviceLost(f"the GPU was lost in the middle of the work: {reason(error)}")
    return None


def _says(error: BaseException, words: tuple[str, ...]) -> bool:
    text = str(error).lower()
    return isinstance(error, RuntimeError | OSError | ValueError) and any(word in text for word in words)
