"""A recording's sound in, its voices without the music out: 16 kHz tracks like those that decoding gives.

Reads the recording, decoded at the model's rate, segment by segment, has a separator find the voices, cross-fades and
resamples them. Memory does not grow with the recording. What comes out is what demucs' own ``Separator`` gives with
``shifts=0``. Knows the separator as a protocol, and nothing of decoding, or of where a model lies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Protocol

import numpy as np

from pipeline.stages.audio import Audio, TrackWriter, seconds
from pipeline.stages.downsample import Downsampling, downsampling
from pipeline.stages.overlap import Block, OverlapAdd, Segment, segments
from pipeline.types import Warning

_LEAST_STD = 1e-8  # what demucs adds, for sound that is none
_READ = 1 << 18  # samples looked at together for the statistics

Report = Callable[[float, float | None], None]


class Separator(Protocol):
    """A loaded model. ``rate`` in Hz; ``channels`` and ``segment`` (samples) of what it takes at once; ``fixed``: it
    takes no less.
    """

    @property
    def rate(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def segment(self) -> int: ...
    @property
    def fixed(self) -> bool: ...
    @property
    def batch(self) -> int:
        """How many segments are best given at once."""

    @property
    def device(self) -> str:
        """``cpu`` or ``cuda``, now."""

    def voices(self, stretches: Sequence[Block]) -> list[Block]:
        """The voices of stretches of one shape, (channels, samples), normalised."""

    def warnings(self) -> tuple[Warning, ...]: ...


def separate(
    wide: Audio, audio: Audio, folder: Path, separator: Separator, report: Report, *, per_channel: bool
) -> Audio:
    """The voices of a recording: the tracks and samples of ``audio``, written into ``folder``, which exists.

    ``audio``: the recording as decoded for recognisers; ``wide``: the same at the separator's rate, in stereo where the
    separator takes it, or a track for each channel if ``per_channel``, which are then separated one by one.
    ``report(seconds done, seconds in all)`` after each batch. `OutOfMemory`, `DeviceLost`, `OutOfSpace`.
    """
    if wide.rate != separator.rate or (wide.tracks if per_channel else 1) != audio.tracks:
        raise ValueError(f"{wide.tracks} tracks at {wide.rate} Hz are not what the separator takes")
    total = seconds(audio.samples)
    parts = [[track] for track in range(wide.tracks)] if per_channel else [list(range(wide.tracks))]
    mixes = [_with_statistics(_Mix(wide, tracks, separator.channels)) for tracks in parts]
    with TrackWriter(folder, audio.tracks) as writer:
        voices = _separated(mixes, separator, lambda done: report(min(total, done), total))
        _downsampled(voices, downsampling(separator.rate, len(mixes), separator.device), writer, audio.samples)
    return Audio(folder, audio.info, audio.tracks, audio.samples, (*audio.warnings, *separator.warnings()))


@dataclass(frozen=True, slots=True)
class _Mix:
    """Tracks of a recording that are separated together, as a model's ``channels``. ``mean`` and ``std`` as demucs
    takes them: of the whole recording's mono mix.
    """

    audio: Audio
    tracks: list[int]
    channels: int
    mean: float = 0.0
    std: float = 0.0

    def read(self, start: int, stop: int) -> Block:
        """Shape (channels, stop - start); silence outside of the recording."""
        found = np.stack([self.audio.read(track, start, stop) for track in self.tracks])
        if len(found) != self.channels:  # one is both sides; for a model of one channel decoding made one
            found = np.broadcast_to(found[:1], (self.channels, found.shape[1]))
        before = min(stop, max(0, -start)) if start < 0 else 0
        return np.pad(found, ((0, 0), (before, stop - start - before - found.shape[1])))

    def normalised(self, segment: Segment) -> Block:
        sound = self.read(segment.first, segment.first + segment.samples)
        inside = slice(max(0, -segment.first), self.audio.samples - segment.first)
        sound[:, inside] = (sound[:, inside] - np.float32(self.mean)) / np.float32(self.std + _LEAST_STD)
        return sound

    def restored(self, voices: Block) -> Block:
        """Voices as the model gives them, to one track."""
        loud = voices * np.float32(self.std + _LEAST_STD) + np.float32(self.mean)
        mono: Block = loud.mean(axis=0)
        return mono


def _with_statistics(mix: _Mix) -> _Mix:
    """In a pass of its own over the recording."""
    count, total, squares = mix.audio.samples, 0.0, 0.0
    for start in range(0, count, _READ):
        mono = mix.read(start, min(count, start + _READ)).mean(axis=0, dtype=np.float64)
        total += float(mono.sum())
        squares += float(mono @ mono)
    mean = total / count
    variance = max(0.0, squares - count * mean * mean) / max(1, count - 1)
    return _Mix(mix.audio, mix.tracks, mix.channels, mean, float(np.sqrt(variance)))


def _separated(mixes: Sequence[_Mix], separator: Separator, report: Callable[[float], None]) -> Iterator[Block]:
    """The voices of all mixes, a track of each, as far as they are finished: shape (mixes, samples)."""
    length = mixes[0].audio.samples
    if not any(mix.std for mix in mixes):  # nothing but silence, which a model might hum along with
        yield np.zeros((len(mixes), 0), np.float32)
        return
    sums = [OverlapAdd(length, separator.segment, separator.channels) for _ in mixes]
    for some in _batches(segments(length, separator.segment, fixed=separator.fixed), separator, len(mixes)):
        made = iter(separator.voices([mix.normalised(segment) for segment in some for mix in mixes]))
        for segment in some:
            finished = [added.push(segment.trimmed(next(made))) for added in sums]
            yield np.stack([mix.restored(voices) for mix, voices in zip(mixes, finished, strict=True)])
        report(some[-1].stop / separator.rate)


def _batches(every: Iterator[Segment], separator: Separator, mixes: int) -> Iterator[list[Segment]]:
    """Segments of one shape, as many as make a batch."""
    for _, alike in groupby(every, attrgetter("samples")):
        some: list[Segment] = []
        for segment in alike:
            some.append(segment)
            if len(some) * mixes >= separator.batch:
                yield some
                some = []
        if some:
            yield some


def _downsampled(blocks: Iterator[Block], resampler: Downsampling, writer: TrackWriter, samples: int) -> None:
    """Just as many samples as the recording has: what rounding leaves over or lacks is less than a millisecond."""

    def write(pieces: Iterator[np.ndarray[tuple[int, ...], np.dtype[np.int16]]]) -> None:
        for piece in pieces:
            writer.write(piece[: samples - writer.samples])

    for block in blocks:
        write(resampler.push(block))
    write(resampler.drain())
    writer.skip(samples - writer.samples)
