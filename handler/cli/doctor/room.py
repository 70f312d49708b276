"""Checks of the room that a worker has: memory, the disk of the models, and the versions of what it is made of."""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from handler.cli.doctor.finding import Context, Finding
from handler.cli.screen import size
from pipeline.memory import GROUPS, container_bytes

_MEMINFO = Path("/proc/meminfo")  # proc(5), in KiB
_LITTLE_MEMORY = 4 * 2**30  # bytes for all of this: handler, engine, a small Whisper, and the sound
_LITTLE_DISK = 5 * 2**30  # bytes that a large Whisper and a separator take
_BESIDE = ("ctranslate2", "torch", "torchaudio", "nemo_toolkit", "demucs")  # told, where they are installed


def memory(context: Context, meminfo: Path = _MEMINFO, groups: tuple[Path, ...] = GROUPS) -> Finding:
    """What this machine has, or what the container it is in may use, if that is less."""
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        total, free = (int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    except (OSError, ValueError, KeyError, IndexError):
        return Finding(status="ok", detail="the system does not say how much memory there is")
    limit = container_bytes(groups) or total
    room = min(total, limit)
    data = {"total": total, "available": free, "limit": limit if limit < total else None}
    detail = f"{size(room)}{' allowed to this container' if limit < total else ''}, {size(min(free, room))} free"
    ours = context.settings.engine_memory_bytes
    if ours is not None and ours > room:
        advice = f"DROPSCRIBE_ENGINE_MEMORY_BYTES is {size(ours)}: the kernel ends the engine before that. Lower it."
        return Finding(status="warn", detail=detail, advice=advice, data=data)
    if room < _LITTLE_MEMORY:
        advice = f"Large models need more; give {size(_LITTLE_MEMORY)} or more, or name a small model."
        return Finding(status="warn", detail=detail, advice=advice, data=data)
    return Finding(status="ok", detail=detail, data=data)


def models_disk(context: Context) -> Finding:
    """The disk on which fetched models are kept. Little room is no failure where they are there already."""
    home = context.settings.home
    there = next((path for path in (home, *home.parents) if path.exists()), Path("/"))
    try:
        free = shutil.disk_usage(there).free
    except OSError as error:
        return Finding(status="warn", detail=f"{there}: {error.strerror}", advice="Point DROPSCRIBE_HOME elsewhere.")
    detail = f"{home}, {size(free)} free"
    if free < _LITTLE_DISK:
        advice = "Enough for models that are there already; point DROPSCRIBE_HOME at a larger disk to fetch others."
        return Finding(status="warn", detail=detail, advice=advice)
    return Finding(status="ok", detail=detail)


def versions(context: Context, distribution: str = "dropscribe") -> Finding:
    """This program's, and whether what is installed beside it is what it asks for."""
    try:
        own, asked = metadata.version(distribution), metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return Finding(status="ok", detail=f"{distribution} runs from its source: no version to compare with")
    wrong = [told for line in asked if "extra ==" not in line and (told := _wrong(line))]
    beside = {name: there for name in _BESIDE if (there := _version(name)) is not None}
    detail = ", ".join([f"{distribution} {own}", *(f"{name} {there}" for name, there in beside.items())])
    data = {distribution: own, **beside}
    if wrong:
        advice = f"Install it anew: `pip install --upgrade {distribution}`."
        return Finding(status="fail", detail=f"{detail}; {'; '.join(wrong)}", advice=advice, data=data)
    return Finding(status="ok", detail=detail, data=data)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _wrong(line: str) -> str:
    """What is wrong with one requirement: an installed version out of its bounds. What is absent is another check's."""
    asked = Requirement(line)
    there = _version(asked.name)
    if there is None or asked.specifier.contains(there, prereleases=True):
        return ""
    return f"{asked.name} {there} in the place of {asked.name}{asked.specifier}"
