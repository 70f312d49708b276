"""A folder of weights: which files the recogniser reads, whether they are all there, and who they are.

Takes a folder, reads it, asks nobody else. Knows nothing of names, nor of how a model is chosen or run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.errors import ModelUnavailable, WeightsChanged

RECORD = "dropscribe-model.json"  # what `pipeline.models.fetch` writes beside the weights

# The files that the recogniser reads; the first three it cannot do without.
NEEDED = ("config.json", "model.bin", "tokenizer.json")
WEIGHTS = (*NEEDED, "preprocessor_config.json", "vocabulary.json", "vocabulary.txt")

Stamps = tuple[tuple[str, int, int], ...]
"""Name, size in bytes and modification time in nanoseconds of each file of a model."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Record(BaseModel):
    """``dropscribe-model.json``: what a folder's weights are and where they came from.

    ``files``: name to size in bytes. ``sha256``: the same names to digests in hex; empty in records of format 1.
    ``commit``: of the hub, which then is the revision; empty where the weights were made here, and the revision is a
    digest of ``sha256``. ``converted_from``: ``repository@commit`` or the folder of a model that was converted, and
    ``quantization`` how. ``at``: in a bucket, the folder beside the record with the files; empty where they lie beside
    it themselves.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal[1, 2] = 2
    repo: str = ""
    commit: str = ""
    files: dict[str, Annotated[int, Field(ge=0)]]
    sha256: dict[str, Sha256] = {}
    converted_from: str = ""
    quantization: str = ""
    at: str = Field("", pattern=r"^[0-9a-f]{0,64}$")

    @model_validator(mode="after")
    def _consistent(self) -> Record:
        if not set(self.files) <= set(WEIGHTS):
            raise ValueError("files has names that are none of a model's")  # they become paths
        if self.sha256 and set(self.sha256) != set(self.files):
            raise ValueError("sha256 is of other files than files")
        return self

    @property
    def revision(self) -> str:
        """The digest that goes into recipes. ValueError if the record says too little to know it."""
        if self.commit:
            return self.commit
        if not self.sha256:
            raise ValueError("the record has neither a commit nor checksums")
        return digest_of(self.files, self.sha256)

    def dump(self) -> bytes:
        """As it lies beside the weights: the same record is the same bytes."""
        return (json.dumps(self.model_dump(), sort_keys=True, indent=1) + "\n").encode()


def is_model(folder: Path) -> bool:
    """True if the folder looks like a Whisper model in CTranslate2's format, even one that lacks a file."""
    return (folder / "model.bin").is_file() and (folder / "config.json").is_file()


def missing(folder: Path) -> tuple[str, ...]:
    """The files that a model's folder lacks. A missing tokenizer would be looked for on the network, so it counts."""
    return lacking(name for name in WEIGHTS if (folder / name).is_file())


def lacking(files: Iterable[str]) -> tuple[str, ...]:
    """What a model with just these files lacks."""
    there = set(files)
    absent = [name for name in NEEDED if name not in there]
    if not any(name.startswith("vocabulary.") for name in there):
        absent.append("vocabulary.json")
    return tuple(absent)


# ── who they are ─────────────────────────────────────────────────────────────────────────────────────────────────────


def identity(folder: Path) -> tuple[str, str]:
    """The revision, a digest of who the weights are, and the version that people are shown. OSError."""
    stamps = _stamps(folder)
    record = _believed(folder, stamps)
    if record is None or not (record.commit or record.sha256):  # a record of format 1 may have neither
        revision = _digest_of(folder, stamps)
        return revision, version_of(revision, "")
    return record.revision, version_of(record.revision, record.commit)


def version_of(revision: str, commit: str) -> str:
    return commit[:12] if commit else f"sha256-{revision[:12]}"


def check_unchanged(folder: Path, revision: str) -> None:
    """Whether the folder still holds the weights that were chosen: by its record, or by its files' digest where there
    is none or they are younger than it. `WeightsChanged` if not, `ModelUnavailable` if they cannot be read.
    """
    try:
        absent, now = missing(folder), ""
        if not absent:
            now, _ = identity(folder)
    except OSError as error:
        raise ModelUnavailable(f"the weights in {folder} cannot be read: {error.strerror or error}") from error
    if absent:
        raise ModelUnavailable(f"the weights in {folder} are incomplete: there is no {' and no '.join(absent)}")
    if now != revision:
        raise WeightsChanged(
            f"the weights in {folder} were changed while the worker ran: they are {now[:12]}, not {revision[:12]}"
        )


def read_record(folder: Path) -> Record | None:
    """The folder's record; None if there is none that can be read."""
    try:
        return Record.model_validate_json((folder / RECORD).read_bytes())
    except (OSError, ValidationError):
        return None


def _believed(folder: Path, stamps: Stamps) -> Record | None:
    """The folder's record, if the folder still has just the weights that were recorded: by size, and by content where
    a file is younger than the record. Fine-tunes of one architecture have the same size.
    """
    record = read_record(folder)
    if record is None or {name: size for name, size, _ in stamps} != record.files:
        return None
    written = (folder / RECORD).stat().st_mtime_ns
    if record.sha256 and any(mtime > written for _, _, mtime in stamps) and digests(folder, stamps) != record.sha256:
        return None
    return record


def describe(folder: Path, *, repo: str = "", commit: str = "", source: str = "", quantization: str = "") -> Record:
    """A record of what lies in the folder now; reads all of it. OSError."""
    stamps = _stamps(folder)
    sizes = {name: size for name, size, _ in stamps}
    return Record(
        repo=repo,
        commit=commit,
        files=sizes,
        sha256=digests(folder, stamps),
        converted_from=source,
        quantization=quantization,
    )


def described(folder: Path) -> Record:
    """The folder's own record with its checksums, or one that is made of it now. OSError."""
    record = _believed(folder, _stamps(folder))
    if record is None:
        return describe(folder)
    if record.sha256:
        return record
    return describe(folder, repo=record.repo, commit=record.commit)


def write_record(folder: Path, record: Record) -> None:
    """Written after the weights, so that their identity need not be hashed."""
    (folder / RECORD).write_bytes(record.dump())


def damage(folder: Path) -> str:
    """What is wrong with the folder's files, by its record: one line, empty if nothing is. Reads all of them. OSError.

    Without a record only what is missing can be told.
    """
    if absent := missing(folder):
        return f"there is no {' and no '.join(absent)}"
    record = read_record(folder)
    if record is None:
        return ""
    stamps = _stamps(folder)
    sizes = {name: size for name, size, _ in stamps}
    for name, size in record.files.items():
        if name not in sizes:
            return f"there is no {name}"
        if sizes[name] != size:
            return f"{name} has {sizes[name]:,} bytes instead of {size:,}"
    if not record.sha256:
        return ""
    found = dict(_contents.__wrapped__(folder, stamps))  # a failing disk changes no stamps
    wrong = [name for name, digest in record.sha256.items() if found[name] != digest]
    return f"{' and '.join(wrong)}: not the recorded checksum" if wrong else ""


# ── digests ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def digest_of(sizes: Mapping[str, int], contents: Mapping[str, str]) -> str:
    """SHA-256 over the files' names, sizes in bytes and SHA-256 in hex: a revision without a commit."""
    whole = hashlib.sha256()
    for name in sorted(sizes):
        whole.update(f"{name}\0{sizes[name]}\0{contents[name]}\n".encode())
    return whole.hexdigest()


def _stamps(folder: Path) -> Stamps:
    stats = ((name, (folder / name).stat()) for name in sorted(WEIGHTS) if (folder / name).is_file())
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def digests(folder: Path, stamps: Stamps) -> dict[str, str]:
    """SHA-256 in hex of each file."""
    return dict(_contents(folder, stamps))


def _digest_of(folder: Path, stamps: Stamps) -> str:
    return digest_of({name: size for name, size, _ in stamps}, dict(_contents(folder, stamps)))


@lru_cache(maxsize=64)
def _contents(folder: Path, stamps: Stamps) -> tuple[tuple[str, str], ...]:
    """Remembered while nothing changes: gigabytes take seconds."""
    found = []
    for name, _, _ in stamps:
        with (folder / name).open("rb") as file:
            found.append((name, hashlib.file_digest(file, "sha256").hexdigest()))
    return tuple(found)
