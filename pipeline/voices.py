"""The voices of a job's recording, taken out of music where that is asked for, or where there is music.

Takes a recording, decoded, and a way to load the separator; gives the voices, decoded alike, and leaves them as FLAC.
Knows the stages that this takes, and nothing of jobs or options.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pipeline.plan import SEPARATING, artifact_name
from pipeline.stages.audio import Audio
from pipeline.stages.decode import decode
from pipeline.stages.music import music
from pipeline.stages.separate import Separator, separate
from pipeline.stages.stem import read_stem, write_stem

log = logging.getLogger(__name__)

STEM = artifact_name(SEPARATING)  # what is kept in the work directory

Report = Callable[[float, float | None], None]
"""Seconds done, and in all. May raise, to stop."""


def voices(
    source: Path,
    audio: Audio,
    folder: Path,
    stem: Path,
    load: Callable[[], Separator],
    report: Report,
    *,
    asked: Literal["auto", "true"] = "auto",
    per_channel: bool = False,
    max_duration: float | None = None,
) -> Audio | None:
    """The voices of ``source``, which was decoded as ``audio`` with the same ``per_channel`` and ``max_duration``; None
    where there is no music, if it was not ``asked`` for whatever there is.

    They lie in ``folder``, which must not exist, as long as that does, and in the file ``stem``, which is believed if
    it is there. ``load`` gives the separator, ready for a job; called if there is something to separate.
    `ModelUnavailable`, `OutOfMemory`, `DeviceLost`, `OutOfSpace`, OSError; what ``report`` raises.
    """
    folder.mkdir()
    if stem.exists() and (kept := read_stem(stem, audio, folder)) is not None:
        return kept
    if asked == "auto":
        whole = audio.info.duration
        found = music(audio, lambda done, total: report(0.0, whole))  # next to nothing of the stage's time
        log.info("%.0f s of music in %.0f s", found.seconds, found.whole)
        if not found.worth_separating:
            return None
    made = _separated(source, audio, folder, load(), report, per_channel, max_duration)
    write_stem(made, stem)
    return made


def _separated(
    source: Path,
    audio: Audio,
    folder: Path,
    separator: Separator,
    report: Report,
    per_channel: bool,
    max_duration: float | None,
) -> Audio:
    """The recording is decoded once more, as the separator wants it, into files that are gone afterwards."""
    whole = audio.info.duration
    wide = folder / "wide"
    wide.mkdir()
    try:
        sound = decode(
            source,
            wide,
            per_channel=per_channel,
            max_duration=max_duration,
            report=lambda done, claimed: report(0.0, whole),
            opened=lambda claimed, channels: None,
            rate=separator.rate,
            stereo=separator.channels > 1,
        )
        return separate(sound, audio, folder, separator, report, per_channel=per_channel)
    finally:
        shutil.rmtree(wide, ignore_errors=True)
