"""Recordings to be prepared, jobs that use what was, and patience."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from media import beginning, write_audio

from pipeline.catalog import resolve
from pipeline.options import Options
from pipeline.plan import GENERATING_OUTPUT, artifact_name
from pipeline.types import JobRequest, PrepareRequest

PATIENCE = 60  # s


def until(there: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not there():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def downloaded(folder: Path) -> Path:
    """A recording that a test may take away: one second in which somebody says a few words."""
    return write_audio(folder / "downloaded.wav", beginning(1.0))


def asking(folder: Path, source: Path, **parameters: Any) -> PrepareRequest:
    folder.mkdir()
    return PrepareRequest(folder=str(folder), source=str(source), **{"per_channel": False, **parameters})


def job_in(work: Path, recording: Path | None, prepared: Path | None = None, **options: Any) -> JobRequest:
    work.mkdir()
    if recording is not None:
        (work / "source.wav").symlink_to(recording)
    return JobRequest(
        work=str(work),
        source="source.wav",
        options=Options(**options).model_dump(mode="json"),
        model=resolve("sphinx", None, work).model_dump(mode="json"),
        seed="0" * 64,
        prepared=None if prepared is None else str(prepared),
    )


def results(work: Path) -> bytes:
    return (work / artifact_name(GENERATING_OUTPUT)).read_bytes()
