"""Decoded sound on disk: int16, 16 kHz unless a stage wants another rate, one raw file a track.
`decode` writes it once, later stages read it piecewise.

Takes blocks of samples, gives float32 stretches of one track. Nothing is held in memory or mapped, so a ten-hour
recording costs what a ten-second one does. Knows nothing of containers, codecs or models. Whoever owns the folder
removes it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import OutOfSpace
from pipeline.types import SAMPLE_RATE, MediaInfo, Warning

_SAMPLE_BYTES = 2
_FULL_SCALE = 32768.0


def _track_path(folder: Path, track: int) -> Path:
    return folder / f"track-{track}.s16"


@dataclass(frozen=True, slots=True)
class Audio:
    """A decoded recording. ``samples`` per track, ``rate`` of them a second; sample 0 is the recording's time 0."""

    folder: Path
    info: MediaInfo
    tracks: int
    samples: int
    warnings: tuple[Warning, ...] = ()
    rate: int = SAMPLE_RATE

    def read(self, track: int, start: int, stop: int) -> NDArray[np.float32]:
        """Samples ``start`` to ``stop`` of ``track``, clipped to the recording: shape (≤ stop - start,), in [-1, 1]."""
        if not 0 <= track < self.tracks:
            raise IndexError(f"track {track} of {self.tracks}")
        start = max(0, start)
        count = min(stop, self.samples) - start
        if count <= 0:
            return np.zeros(0, np.float32)
        path = _track_path(self.folder, track)
        pcm = np.fromfile(path, dtype="<i2", count=count, offset=start * _SAMPLE_BYTES)
        if len(pcm) != count:
            raise OSError(errno.EIO, f"has {len(pcm)} samples from {start} on, not {count}", str(path))
        return pcm.astype(np.float32) / np.float32(_FULL_SCALE)


class TrackWriter:
    """Appends to the ``tracks`` raw files in ``folder``; a context manager. `OutOfSpace` if the disk is full."""

    def __init__(self, folder: Path, tracks: int, rate: int = SAMPLE_RATE) -> None:
        self.tracks = tracks
        self.rate = rate
        self.samples = 0  # written so far, per track
        self._open = ExitStack()
        with out_of_space():
            self._files = [self._open.enter_context(_track_path(folder, track).open("wb")) for track in range(tracks)]

    @property
    def seconds(self) -> float:
        return self.samples / self.rate

    def write(self, pcm: NDArray[np.int16]) -> None:
        """Append a block of shape (samples, tracks)."""
        with out_of_space():
            for track, file in enumerate(self._files):
                file.write(np.ascontiguousarray(pcm[:, track]).data)
        self.samples += len(pcm)

    def skip(self, samples: int) -> None:
        """Append digital silence: a hole in the file, so that it costs no disk and no time."""
        with out_of_space():
            for file in self._files:
                file.seek(samples * _SAMPLE_BYTES, 1)
        self.samples += samples

    def __enter__(self) -> TrackWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            with out_of_space(), self._open:
                for file in self._files:  # a hole at the very end is there only once this is said
                    file.truncate(self.samples * _SAMPLE_BYTES)
            return
        with suppress(OSError):  # the error under way matters more than a last flush that fails for the same reason
            self._open.close()


@contextmanager
def out_of_space() -> Iterator[None]:
    """Names what a full disk is: `OutOfSpace`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutOfSpace("The disk of the work directory is full: the decoded sound does not fit.") from error
        raise


def seconds(samples: int) -> float:
    return samples / SAMPLE_RATE
