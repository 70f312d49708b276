"""Any recording in, int16 sound on disk out, as a rule at 16 kHz: one mono track, one for each channel, or stereo.

Streams: demuxes, decodes, resamples and writes block by block, so memory does not grow with the recording. Sample 0 is
the recording's time 0, and pauses in its timestamps become silence. What is damaged is skipped and said. Knows nothing
of speech, models or the job's options.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import av.container
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import TooLong, TooManyChannels, UnreadableMedia
from pipeline.stages.audio import Audio, TrackWriter
from pipeline.stages.container import audio_stream, opened_container, readable
from pipeline.stages.resample import Run
from pipeline.stages.timeline import Timeline, origin_of
from pipeline.stages.truncation import cut_off
from pipeline.types import SAMPLE_RATE, MediaInfo, Warning

__all__ = ["MAX_TRACKS", "Audio", "decode"]

MAX_TRACKS = 20  # Deepgram's limit for multichannel
_MOST_DEMUX_ERRORS = 100  # in a row or not: a demuxer that fails this often will not recover
_ABSOLUTE_FORMATS = ("mov", "matroska", "nut")

Report = Callable[[float, float | None], None]
Opened = Callable[[float | None, int], None]


def decode(
    source: Path,
    folder: Path,
    *,
    per_channel: bool,
    max_duration: float | None,
    report: Report,
    opened: Opened,
    rate: int = SAMPLE_RATE,
    stereo: bool = False,
) -> Audio:
    """Decode the sound of ``source`` into raw files in ``folder`` (which exists).

    ``opened(claimed seconds or None, channels)`` is called once, when the first sound has been decoded;
    ``report(seconds done, seconds claimed or None)`` after each block. ``max_duration`` in seconds. ``stereo``: of a
    recording with several channels that are not kept apart, two tracks are made instead of one. Damage that could be
    skipped is in `Audio.warnings`.
    Raises `EmptyMedia`, `UnreadableMedia`, `NoAudio`, `TooLong`, `TooManyChannels`, `OutOfSpace`.
    """
    with opened_container(source) as container:
        stream = audio_stream(container)
        frames = _Frames(container, stream)
        claimed = _claimed(container)
        first = next(frames, None)
        if first is None:
            raise UnreadableMedia("No sound could be decoded: the recording is empty, damaged or encrypted.")
        channels = first.layout.nb_channels
        tracks = _tracks(channels, per_channel, stereo)
        opened(claimed, channels)
        timeline = Timeline(*_bounds(container, claimed, max_duration))
        with TrackWriter(folder, tracks, rate) as writer, readable():
            _copy(first, frames, timeline, writer, stereo, max_duration, lambda done: report(done, claimed))
        info = MediaInfo(
            duration=writer.seconds,
            channels=channels,
            container=container.format.name,
            codec=stream.codec_context.codec.canonical_name,
        )
        # A leap in the timestamps makes nonsense of the claimed length, too.
        missing = None if timeline.disbelieved else cut_off(source, container, stream, info.duration)
        warnings = _warnings(frames.damaged, timeline.disbelieved, missing)
    if not writer.samples:
        raise UnreadableMedia("The recording holds no sound.")
    return Audio(folder, info, tracks, writer.samples, warnings, rate)


def _copy(
    first: Any,
    frames: Iterator[Any],
    timeline: Timeline,
    writer: TrackWriter,
    mixed: bool,
    max_duration: float | None,
    report: Callable[[float], None],
) -> None:
    """Resample every frame to its place; a gap or a change of format drains one resampler and starts the next."""
    longest = math.inf if max_duration is None else max_duration
    run: Run | None = None
    frame = first
    while frame is not None:
        gap = timeline.gap(frame.time)
        if run is not None and (gap or not run.takes(frame)):
            _write(run.drain(), writer, report)
            run = None
        if gap:
            writer.skip(max(0, round(timeline.due * writer.rate) - writer.samples))
        if run is None:
            run = Run(frame, writer.tracks, writer.rate, mixed=mixed)
        timeline.advance(frame.samples / run.rate)
        # Due is a sum of floats; and at every rate the same recordings are too long.
        if timeline.due > longest + 0.5 / SAMPLE_RATE:
            raise TooLong(f"The recording is longer than the limit of {longest:g} s.")
        _write(run.push(frame), writer, report)
        frame = next(frames, None)
    if run is not None:
        _write(run.drain(), writer, report)


def _write(blocks: Iterator[NDArray[np.int16]], writer: TrackWriter, report: Callable[[float], None]) -> None:
    for block in blocks:
        writer.write(block)
        report(writer.seconds)


class _Frames:
    """The decoded frames of one stream, in order. Packets that cannot be read or decoded are counted in ``damaged``."""

    def __init__(self, container: av.container.InputContainer, stream: Any) -> None:
        self.damaged = 0
        self._container = container
        self._stream = stream
        self._frames = self._decoded()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._frames)

    def _decoded(self) -> Iterator[Any]:
        for packet in self._packets():
            try:
                frames = packet.decode() if packet is not None else self._stream.codec_context.decode(None)
            except (av.error.FFmpegError, ValueError):
                self.damaged += 1
                continue
            for frame in frames:
                if frame.samples and frame.sample_rate and frame.layout.nb_channels:
                    yield frame

    def _packets(self) -> Iterator[Any]:
        """Demux on past errors; None at last where libav itself did not come to flushing the decoder."""
        for _ in range(_MOST_DEMUX_ERRORS):
            try:
                yield from self._container.demux(self._stream)
                return
            except av.error.FFmpegError:
                self.damaged += 1
        yield None


def _tracks(channels: int, per_channel: bool, stereo: bool) -> int:
    if not per_channel:
        return min(2, channels) if stereo else 1
    if channels > MAX_TRACKS:
        raise TooManyChannels(
            f"The recording has {channels} channels; at most {MAX_TRACKS} can be transcribed one by one."
        )
    return channels


def _claimed(container: av.container.InputContainer) -> float | None:
    """The container's own idea of its length, in seconds; often a guess, sometimes a lie."""
    return container.duration / av.time_base if container.duration and container.duration > 0 else None


def _bounds(
    container: av.container.InputContainer, claimed: float | None, max_duration: float | None
) -> tuple[float, float]:
    """The timeline's origin and the point past which no silence is believed."""
    first = None if container.start_time is None else container.start_time / av.time_base
    origin = origin_of(first, absolute=container.format.name.startswith(_ABSOLUTE_FORMATS))
    limit = math.inf if max_duration is None else max_duration
    if claimed is not None:
        limit = min(limit, claimed + max(0.0, (first or 0.0) - origin) + 1.0)
    return origin, limit


def _warnings(damaged: int, disbelieved: float, missing: str | None) -> tuple[Warning, ...]:
    said = {
        "damaged_media": f"{damaged} part(s) of the recording could not be decoded and were left out."
        if damaged
        else "",
        "truncated_media": missing or "",
        "broken_timestamps": f"A leap of {disbelieved:.0f} s in the timestamps was not believed."
        if disbelieved
        else "",
    }
    return tuple(Warning(parameter="media", type=kind, message=message) for kind, message in said.items() if message)
