"""Checks of the room that a worker has: memory, the disk of the models, and the versions of what it is made of."""

from __future__ import annotations

import re
import shutil
from importlib import metadata
from pathlib import Path

from handler.cli.doctor.finding import Context, Finding
from handler.cli.screen import size

_MEMINFO = Path("/proc/meminfo")  # proc(5), in KiB
_GROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))  # cgroups(7), v2, v1
_LITTLE_MEMORY = 4 * 2**30  # bytes for all of this: handler, engine, a small Whisper, and the sound
_LITTLE_DISK = 5 * 2**30  # bytes that a large Whisper and a separator take
_BESIDE = ("ctranslate2", "torch", "torchaudio", "nemo_toolkit", "demucs")  # told, where they are installed
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?([^;]*)(;.*)?")


def memory(context: Context, meminfo: Path = _MEMINFO, groups: tuple[Path, ...] = _GROUPS) -> Finding:
    """What this machine has, or what the container it is in may use, if that is less."""
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        total, free = (int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    except (OSError, ValueError, KeyError, IndexError):
        return Finding(status="ok", detail="the system does not say how much memory there is")
    limit = min((found for path in groups if (found := _limit(path)) is not None), default=total)
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


def _limit(path: Path) -> int | None:
    """None where there is none; a number near 2^63 is none, too."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


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
    found = _REQUIREMENT.fullmatch(line.strip())
    there = _version(found[1]) if found is not None else None
    if found is None or there is None:
        return ""
    for bound in found[2].strip(" ()").split(","):
        relation = re.match(r"[<>=]*", bound.strip())
        if relation is not None and not _holds(there, relation[0], bound.strip().removeprefix(relation[0])):
            return f"{found[1]} {there} in the place of {found[1]}{found[2].strip()}"
    return ""


def _holds(there: str, relation: str, bound: str) -> bool:
    """Of the relations that this project asks for; of others nothing is known, and nothing said."""
    have, wanted = _numbers(there), _numbers(bound)
    width = max(len(have), len(wanted))
    padded = [(*numbers, *[0] * (width - len(numbers))) for numbers in (have, wanted)]
    match relation:
        case ">=":
            return padded[0] >= padded[1]
        case "<":
            return padded[0] < padded[1]
    return True


def _numbers(version: str) -> tuple[int, ...]:
    """The release alone: ``2.11.0+cpu`` as (2, 11, 0)."""
    release = re.match(r"\d+(\.\d+)*", version.strip())
    return tuple(int(part) for part in release[0].split(".")) if release else ()
