"""Checks of what computes: GPUs, CUDA's libraries, the models on disk, and whether a model encodes on each device."""

from __future__ import annotations

from handler.cli.doctor.finding import Context, Finding
from pipeline.catalog import on_disk
from pipeline.machine import Machine, Trial

_WHEEL = "pip install nvidia-cublas-cu12"
_CPU = "Jobs run on the CPU."


def gpus(context: Context) -> Finding:
    """What the driver says, and whether jobs will use it."""
    settings, found = context.settings, context.machine.gpus
    data = found.model_dump(mode="json")
    if not found.found:
        detail = f"none: {found.problem}"
        if settings.device == "cuda":
            advice = "Install NVIDIA's driver (in a container: run it with --gpus all), or set DROPSCRIBE_DEVICE=auto."
            return Finding(status="fail", detail=detail, advice=advice, data=data)
        return Finding(status="ok", detail=detail, advice=_CPU, data=data)
    detail = "; ".join([*(gpu.described for gpu in found.found), *([found.problem] if found.problem else [])])
    first = found.found[0].share_of_others
    if settings.device == "cpu":
        return Finding(status="ok", detail=detail, advice="DROPSCRIBE_DEVICE=cpu: jobs do not use it.", data=data)
    if settings.device == "auto" and first is not None and first > settings.gpu_memory_threshold:
        advice = (
            f"Others hold {first:.0%} of it, more than DROPSCRIBE_GPU_MEMORY_THRESHOLD: jobs run on the CPU until "
            "there is room."
        )
        return Finding(status="warn", detail=detail, advice=advice, data=data)
    return Finding(status="ok", detail=detail, data=data)


def cuda_libraries(context: Context) -> Finding:
    """cuBLAS of CUDA 12, which CTranslate2 opens by name, and whether CTranslate2 gets as far as the GPU."""
    machine, device = context.machine, context.settings.device
    data = [one.model_dump(mode="json") for one in machine.libraries]
    told = [
        f"{one.name} {one.version} ({'preloaded from the wheel' if one.source == 'wheel' else 'the system’s'})"
        if one.source
        else f"{one.name} is not found"
        for one in machine.libraries
    ]
    detail = ", ".join(told)
    if not machine.gpus.found:
        return Finding(status="ok", detail="not needed without a GPU", data=data)
    if device == "cpu":
        return Finding(status="ok", detail=f"{detail}; not needed with DROPSCRIBE_DEVICE=cpu", data=data)
    bad = "fail" if device == "cuda" else "warn"
    if any(one.source is None for one in machine.libraries):
        return Finding(status=bad, detail=detail, advice=f"The GPU is of no use without: `{_WHEEL}`.", data=data)
    if "cuda" not in machine.compute_types:
        detail = f"{detail}; CTranslate2 {machine.ctranslate2} cannot use the GPU with this driver"
        driver = machine.gpus.driver or "an unknown CUDA version"
        advice = f"The driver supports {driver}; CTranslate2 needs 12 or newer: update NVIDIA's driver."
        return Finding(status=bad, detail=detail, advice=advice, data=data)
    return Finding(status="ok", detail=detail, data=data)


def models(context: Context) -> Finding:
    """Every Whisper on this machine. None is no failure: the check of the default model says what that means."""
    settings = context.settings
    found = on_disk(settings.models, settings.home)
    data = [model.model_dump(mode="json") for model in found]
    if not found:
        return Finding(
            status="ok", detail="no Whisper on disk", advice="`dropscribe models pull` brings one.", data=data
        )
    return Finding(status="ok", detail=", ".join(f"{model.name} ({model.version})" for model in found), data=data)


def probe_encode(context: Context) -> Finding:
    """The default model, loaded on each device that a job may come to, and run once."""
    machine = context.machine
    data = {
        "trials": [trial.model_dump(mode="json") for trial in machine.trials],
        "compute_types": {device: list(kinds) for device, kinds in machine.compute_types.items()},
        "ctranslate2": machine.ctranslate2,
    }
    if not machine.trials:
        return Finding(status="ok", detail=f"nothing was tried: {machine.problem}", data=data)
    detail = "; ".join(_told(trial) for trial in machine.trials)
    failed = {trial.device for trial in machine.trials if trial.problem}
    if not failed:
        return Finding(status="ok", detail=detail, data=data)
    if failed == {"cuda"} and context.settings.device == "auto":
        return Finding(status="warn", detail=detail, advice=f"{_gpu_advice(machine)} {_CPU}", data=data)
    advice = _gpu_advice(machine) if "cuda" in failed else "Fetch the model anew, or use a smaller one."
    return Finding(status="fail", detail=detail, advice=advice, data=data)


def _gpu_advice(machine: Machine) -> str:
    if any(one.source is None for one in machine.libraries):
        return f"Make the GPU usable: `{_WHEEL}`."
    return "See that nvidia-smi works, and that the driver is as new as CUDA 12."


def _told(trial: Trial) -> str:
    where = f"{trial.model} on {trial.device} as {trial.compute_type}"
    if trial.problem:
        return f"{where}: {trial.problem}"
    return f"{where}: loaded in {trial.load_seconds:.1f} s, 30 s of sound encoded in {trial.encode_seconds:.2f} s"
