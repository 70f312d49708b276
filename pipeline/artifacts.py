"""Artifacts in a work directory: how they come to lie there, and a transcript read back.

Takes paths and bytes. Knows nothing of stages or jobs.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from pipeline.errors import EngineFailure
from pipeline.types import Transcript


def keep(path: Path, body: bytes) -> None:
    """Whole or not at all: an artifact that is there is believed."""
    temp = path.with_name(f"{path.name}.tmp")
    temp.write_bytes(body)
    temp.replace(path)


def transcript_in(path: Path) -> Transcript:
    """`EngineFailure` if it is none."""
    try:
        return Transcript.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise EngineFailure(f"the artifact {path.name} is not a transcript: {error.errors()[0]['msg']}") from error
