"""Separated voices as one FLAC file, and back: what is kept of them.

Takes and gives `Audio` at 16 kHz, sample for sample. Several tracks lie one behind the other in the file, because FLAC
holds no more than eight channels. Knows nothing of how voices are separated.
"""

from __future__ import annotations

import logging
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import MediaError
from pipeline.stages.audio import Audio, TrackWriter, out_of_space
from pipeline.stages.decode import decode
from pipeline.types import SAMPLE_RATE

log = logging.getLogger(__name__)

_BLOCK = 1 << 18  # samples of all tracks read at a time
_FULL_SCALE = 32768.0


def write_stem(voices: Audio, path: Path) -> None:
    """Whole or not at all. `OutOfSpace` if the disk is full."""
    temp = path.with_name(f"{path.name}.tmp")
    try:
        with out_of_space(), av.open(str(temp), "w", format="flac") as output:
            stream: Any = output.add_stream("flac", rate=SAMPLE_RATE, layout="mono", format="s16")
            stamp = 0
            for track in range(voices.tracks):
                for start in range(0, voices.samples, _BLOCK):
                    pcm = _pcm(voices, track, start, start + _BLOCK)
                    frame = av.AudioFrame.from_ndarray(pcm.reshape(1, -1), format="s16", layout="mono")
                    frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, stamp, Fraction(1, SAMPLE_RATE)
                    stamp += len(pcm)
                    output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        temp.replace(path)
    finally:
        temp.unlink(missing_ok=True)


def read_stem(path: Path, audio: Audio, folder: Path) -> Audio | None:
    """The voices of the recording that was decoded as ``audio``, in ``folder``, which exists; None, and a line in the
    log, where the file does not hold just them. `OutOfSpace`.
    """
    scratch = folder / "stem"
    scratch.mkdir()
    try:
        whole = decode(
            path,
            scratch,
            per_channel=False,
            max_duration=None,
            report=lambda done, total: None,
            opened=lambda claimed, channels: None,
        )
        if whole.samples != audio.tracks * audio.samples or whole.warnings:
            raise MediaError(f"it holds {whole.samples} samples, not {audio.tracks * audio.samples}")
        with TrackWriter(folder, audio.tracks) as writer:
            step = max(1, _BLOCK // audio.tracks)
            for start in range(0, audio.samples, step):
                stop = min(audio.samples, start + step)
                starts = (track * audio.samples for track in range(audio.tracks))
                writer.write(np.stack([_pcm(whole, 0, at + start, at + stop) for at in starts], axis=1))
    except MediaError as error:
        log.warning("the voices in %s cannot be used, they are separated again: %s", path.name, error)
        return None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Audio(folder, audio.info, audio.tracks, audio.samples, audio.warnings)


def _pcm(audio: Audio, track: int, start: int, stop: int) -> NDArray[np.int16]:
    """What lies in the file: the way to float32 and back loses nothing."""
    return (audio.read(track, start, stop) * np.float32(_FULL_SCALE)).astype(np.int16)
