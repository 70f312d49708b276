"""What is on record of a model beside the recogniser: what it is, where it came from, and which weights it has.

Takes a folder, reads ``dropscribe-companion.json`` in it, and hashes what that does not vouch for. Knows nothing of
what else may lie there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from pipeline import aligners
from pipeline.errors import ModelUnavailable
from pipeline.known import Kind
from pipeline.types import Frozen
from pipeline.weights import Sha256

RECORD = "dropscribe-companion.json"
CONFIG, SAFETENSORS = "config.json", "model.safetensors"  # a separator's

_FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][^/\\\x00]{0,200}$")]


class Record(Frozen):
    """``dropscribe-companion.json``, beside a model's weights.

    What a person may write: ``kind`` and ``file``, where the folder leaves that open, and ``licence``, by its SPDX
    name. What `fetch` and `push` add: ``repo`` and ``commit`` of the hub; ``languages`` of an aligner; ``files``, name
    to size in bytes, and ``sha256`` of them in hex; ``at``: in a bucket, the folder beside the record with the files.
    """

    format: Literal[1] = 1
    kind: Kind | None = None
    file: _FileName | Literal[""] = ""
    licence: str = ""
    languages: tuple[str, ...] = ()
    repo: str = ""
    commit: str = ""
    files: dict[_FileName, Annotated[int, Field(ge=0)]] = {}
    sha256: dict[_FileName, Sha256] = {}
    at: Annotated[str, Field(pattern=r"^[0-9a-f]{0,64}$")] = ""

    @model_validator(mode="after")
    def _consistent(self) -> Record:
        if self.sha256 and set(self.sha256) != set(self.files):
            raise ValueError("sha256 is of other files than files")
        if RECORD in self.files or (self.files and self.file and self.file not in self.files):
            raise ValueError("files are not the model's")
        return self

    @property
    def revision(self) -> str:
        """Of what is computed with. ValueError where the record does not say what that is."""
        if self.kind is None or not self.file or not set(own_files(self.kind, self.file)) <= set(self.sha256):
            raise ValueError("the record does not say which weights these are")
        return revision(self.kind, self.file, self.sha256)

    def dump(self) -> bytes:
        """As it lies beside the weights: the same record is the same bytes."""
        return (json.dumps(self.model_dump(mode="json"), sort_keys=True, indent=1) + "\n").encode()


def read_record(folder: Path) -> Record | None:
    """None if there is none. `ModelUnavailable` for one that says nothing usable, OSError."""
    try:
        return Record.model_validate_json((folder / RECORD).read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        what = f"{f'{where}: ' if where else ''}{first['msg'].removeprefix('Value error, ')}"
        raise ModelUnavailable(
            f"{folder / RECORD} describes no model: {what}", "Correct it, or remove it: weights say what they are."
        ) from error


def own_files(kind: Kind, file: str) -> tuple[str, ...]:
    """The files that make up a model, in the order in which its revision counts them."""
    if kind == "separator":
        return CONFIG, SAFETENSORS
    return (aligners.RECORD, file) if kind == "aligner" else (file,)


def revision(kind: Kind, file: str, sha256: Mapping[str, str]) -> str:
    """From the SHA-256 of each of `own_files`, in hex. A file's name does not count where anybody may choose it."""
    if kind == "separator":
        lines = "".join(f"{name}\0{sha256[name]}\n" for name in own_files(kind, file))
        return hashlib.sha256(lines.encode()).hexdigest()
    if kind == "aligner":
        return aligners.revision_of(sha256[aligners.RECORD], sha256[file])
    return sha256[file]


def version_of(revision: str, commit: str) -> str:
    """As people are shown it."""
    return commit[:12] or f"sha256-{revision[:12]}"


def digests(folder: Path, names: Iterable[str], record: Record | None) -> dict[str, str]:
    """SHA-256 of each file in hex: as recorded, where no file is younger than its record, or counted. OSError."""
    names = tuple(names)
    stats = {name: (folder / name).stat() for name in names}
    if record is not None and set(names) <= set(record.sha256):
        written = (folder / RECORD).stat().st_mtime_ns
        if all(stat.st_mtime_ns <= written and stat.st_size == record.files[name] for name, stat in stats.items()):
            return {name: record.sha256[name] for name in names}
    return {name: _sha256(folder / name, stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    """Remembered while nothing changes: gigabytes take seconds."""
    return hash_of(path)


def hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
