"""Artifacts in a work directory: how they come to lie there, and are read back.

Takes paths and bytes. Knows nothing of stages or jobs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from pipeline.errors import EngineFailure

Artifact = TypeVar("Artifact", bound=BaseModel)


def keep(path: Path, body: bytes) -> None:
    """Whole or not at all: an artifact that is there is believed."""
    temp = path.with_name(f"{path.name}.tmp")
    temp.write_bytes(body)
    temp.replace(path)


def read(path: Path, kind: type[Artifact]) -> Artifact:
    """What is told in the file. `EngineFailure` if it is nothing of that ``kind``."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        told = error.errors()[0]["msg"]
        raise EngineFailure(f"the artifact {path.name} is no {kind.__name__.lower()}: {told}") from error
