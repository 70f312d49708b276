"""The voices of a job's recording, taken out of music where that is asked for, or where there is music.

Takes a recording, decoded, and a way to load the separator; gives the voices, decoded alike, and leaves them as FLAC.
What cannot be done here is a reason, not an error: the job goes on with the recording as it is. Knows the stages that
this takes, and nothing of jobs or options.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from pipeline.errors import ModelUnavailable, OutOfMemory, sentence
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


class Voices(NamedTuple):
    """``audio``: None where the recording is to be taken as it is, because it has no music, or for the reason
    ``degraded``.
    """

    audio: Audio | None = None
    degraded: str | None = None


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
) -> Voices:
    """The voices of ``source``, which was decoded as ``audio`` with the same ``per_channel`` and ``max_duration``.

    They lie in ``folder``, which must not exist, as long as that does, and in the file ``stem``, which is believed if
    it is there. ``load`` gives the separator, ready for a job; called if there is something to separate. `DeviceLost`,
    `OutOfSpace`, OSError.
    """
    folder.mkdir()
    if stem.exists() and (kept := read_stem(stem, audio, folder)) is not None:
        return Voices(kept)
    if asked == "auto":
        whole = audio.info.duration
        found = music(audio, lambda done, total: report(0.0, whole))  # next to nothing of the stage's time
        log.info("%.0f s of music in %.0f s", found.seconds, found.whole)
        if not found.worth_separating:
            return Voices()
    try:
        separator = load()
        made = _separated(source, audio, folder, separator, report, per_channel, max_duration)
    except (ModelUnavailable, OutOfMemory) as error:
        log.warning("voices are not separated: %s", error)
        return Voices(degraded=f"Voices were not taken out of music: {sentence(error.message, error.hint)}")
    write_stem(made, stem)
    return Voices(made)


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
