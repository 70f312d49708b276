"""Recordings decoded in a test's own folder, and what the decoder told meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.stages.decode import Audio, decode


class Heard:
    """What a decode reported."""

    def __init__(self) -> None:
        self.reports: list[tuple[float, float | None]] = []
        self.opened: list[tuple[float | None, int]] = []


def run(
    source: Path,
    folder: Path,
    *,
    per_channel: bool = False,
    max_duration: float | None = None,
    heard: Heard | None = None,
) -> Audio:
    heard = heard or Heard()
    out = folder / "decoded"
    out.mkdir(exist_ok=True)
    return decode(
        source,
        out,
        per_channel=per_channel,
        max_duration=max_duration,
        report=lambda done, total: heard.reports.append((done, total)),
        opened=lambda claimed, channels: heard.opened.append((claimed, channels)),
    )


def whole(audio: Audio, track: int = 0) -> Any:
    return audio.read(track, 0, audio.samples)
