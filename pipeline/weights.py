"""A folder of weights: which files the recogniser reads, whether they are all there, and who they are.

Takes a folder, reads it, asks nobody else. Knows nothing of names, nor of how a model is chosen or run.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

RECORD = "dropscribe-model.json"  # what `pipeline.models.fetch` writes beside the weights

# The files that the recogniser reads; the first three it cannot do without.
NEEDED = ("config.json", "model.bin", "tokenizer.json")
WEIGHTS = (*NEEDED, "preprocessor_config.json", "vocabulary.json", "vocabulary.txt")


class Record(BaseModel):
    """``dropscribe-model.json``: where a folder's weights came from. ``files``: name to size in bytes."""

    format: Literal[1] = 1
    repo: str
    commit: str
    files: dict[str, int]


def is_model(folder: Path) -> bool:
    """True if the folder looks like a Whisper model in CTranslate2's format, even one that lacks a file."""
    return (folder / "model.bin").is_file() and (folder / "config.json").is_file()


def missing(folder: Path) -> tuple[str, ...]:
    """The files that a model's folder lacks. A missing tokenizer would be looked for on the network, so it counts."""
    absent = [name for name in NEEDED if not (folder / name).is_file()]
    if not any((folder / name).is_file() for name in WEIGHTS if name.startswith("vocabulary.")):
        absent.append("vocabulary.json")
    return tuple(absent)


def identity(folder: Path) -> tuple[str, str]:
    """The revision, a digest of who the weights are, and the version that people are shown. OSError."""
    commit = _recorded_commit(folder)
    revision = commit or _digest(folder)
    return revision, commit[:12] if commit else f"sha256-{revision[:12]}"


def _recorded_commit(folder: Path) -> str | None:
    """The hub's commit, if the folder still has just the weights that were recorded with it (by size)."""
    try:
        record = Record.model_validate_json((folder / RECORD).read_bytes())
    except (OSError, ValidationError):
        return None
    sizes = {name: size for name, size, _ in _stamps(folder)}
    return record.commit if record.commit and sizes == record.files else None


def write_record(folder: Path, repo: str, commit: str) -> None:
    """Record where the folder's weights came from, so that their identity need not be hashed."""
    files = {name: size for name, size, _ in _stamps(folder)}
    record = Record(repo=repo, commit=commit, files=files)
    (folder / RECORD).write_text(json.dumps(record.model_dump(), sort_keys=True, indent=1) + "\n", encoding="utf-8")


def _digest(folder: Path) -> str:
    return _digest_of(folder, _stamps(folder))


def _stamps(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, size and modification time (ns) of each file that the recogniser reads."""
    stats = ((name, (folder / name).stat()) for name in sorted(WEIGHTS) if (folder / name).is_file())
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


@lru_cache(maxsize=64)
def _digest_of(folder: Path, stamps: tuple[tuple[str, int, int], ...]) -> str:
    """SHA-256 over names, sizes and contents. Remembered while nothing changes: gigabytes take seconds."""
    whole = hashlib.sha256()
    for name, size, _ in stamps:
        with (folder / name).open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{name}\0{size}\0{content}\n".encode())
    return whole.hexdigest()
