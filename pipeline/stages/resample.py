"""Decoded frames in, blocks of int16 out, through libav's own filters: a resampler, a down-mix that cannot clip.

Takes frames of one kind (rate, channels, sample format) and the number of tracks wanted: 1 mixes down, the frame's own
number keeps the channels apart, 2 with ``mixed`` is stereo. Knows nothing of containers, timestamps or files.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av
import av.filter
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import TooManyChannels, UnreadableMedia
from pipeline.types import SAMPLE_RATE

_RATES = range(1_000, 5_000_001)  # Hz; outside of it, a header is lying and a filter for it would eat the memory
_MOST_CHANNELS = 64  # libswresample's own limit
_BLOCK = 1 << 17  # samples of all channels resampled at a time: large enough that Python's share is small


class Run:
    """A run of frames of one kind. They are gathered first: a filter call for each would cost more than the work.

    ``rate``: of the samples that come out. ``mixed``: two tracks are the left and the right of a mix, not the first two
    channels.
    """

    def __init__(self, frame: Any, tracks: int, rate: int = SAMPLE_RATE, *, mixed: bool = False) -> None:
        self.rate: int = frame.sample_rate
        self._channels: int = frame.layout.nb_channels
        self._format: str = frame.format.name
        self._tracks = tracks
        self._block = max(1, min(_BLOCK // self._channels, 10 * self.rate))
        self._fifo = av.AudioFifo()
        self._graph = _graph(frame, tracks, rate, mixed)

    def takes(self, frame: Any) -> bool:
        return bool(
            frame.sample_rate == self.rate
            and frame.layout.nb_channels == self._channels
            and frame.format.name == self._format
        )

    def push(self, frame: Any) -> Iterator[NDArray[np.int16]]:
        """Take a frame; gives blocks of shape (samples, tracks) when there is enough for one."""
        frame.pts = None  # or the FIFO insists on gapless timestamps
        self._fifo.write(frame)
        return self._convert() if self._fifo.samples >= self._block else iter(())

    def drain(self) -> Iterator[NDArray[np.int16]]:
        """What is left. The run is over then."""
        yield from self._convert()
        self._graph.push(None)
        yield from self._pulled()

    def _convert(self) -> Iterator[NDArray[np.int16]]:
        block = self._fifo.read()
        if block is not None:
            self._graph.push(block)
            yield from self._pulled()

    def _pulled(self) -> Iterator[NDArray[np.int16]]:
        while True:
            try:
                frame = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            # Interleaved on purpose: with eight or more planes, PyAV reads past the end of libav's list of them.
            pcm = np.frombuffer(frame.planes[0], "<i2", count=frame.samples * self._tracks)
            yield pcm.reshape(-1, self._tracks)


def _graph(frame: Any, tracks: int, rate: int, mixed: bool) -> Any:
    """libav's filters from frames like this one to interleaved int16 of ``tracks`` channels."""
    channels = frame.layout.nb_channels
    name = frame.layout.name
    if frame.sample_rate not in _RATES:
        raise UnreadableMedia(f"The recording claims {frame.sample_rate} samples a second: it is damaged.")
    if channels > _MOST_CHANNELS:
        raise TooManyChannels(f"The recording has {channels} channels; at most {_MOST_CHANNELS} can be read.")
    if tracks == channels and tracks > 1:
        return _linked(frame, rate)
    if tracks > 1 and not (mixed and channels > 2):  # the number of channels changed on the way: a lone one is both
        first = [min(i, channels - 1) for i in range(tracks)]  # sides of a mix, else what is missing is silent
        kept = [1 if mixed else int(i < channels) for i in range(tracks)]
        return _linked(frame, rate, f"{tracks}c|" + "|".join(f"c{i}={kept[i]}*c{first[i]}" for i in range(tracks)))
    if channels > 2 and name == f"{channels} channels":
        # libav would guess a loudspeaker for each and drop what it takes for a subwoofer: a voice may be on it.
        return _linked(frame, rate, _mean(channels, tracks))
    try:
        return _linked(frame, rate, layout="stereo" if tracks > 1 else "mono")
    except av.error.FFmpegError:  # a layout that libswresample has no mix for
        return _linked(frame, rate, _mean(channels, tracks))


def _mean(channels: int, tracks: int) -> str:
    mean = "+".join(f"{1 / channels:.9f}*c{i}" for i in range(channels))
    return f"stereo|c0={mean}|c1={mean}" if tracks > 1 else f"mono|c0={mean}"


def _linked(frame: Any, rate: int, pan: str | None = None, layout: str = "") -> Any:
    graph = av.filter.Graph()
    source = {
        "sample_rate": str(frame.sample_rate),
        "sample_fmt": frame.format.name,
        "channel_layout": frame.layout.name,
    }
    target = {"sample_rates": str(rate), "sample_fmts": "s16"} | ({"channel_layouts": layout} if layout else {})
    nodes = [graph.add("abuffer", **source)]
    if pan is not None:
        nodes.append(graph.add("pan", pan))
    nodes += [graph.add("aformat", **target), graph.add("abuffersink")]
    graph.link_nodes(*nodes)
    graph.configure()
    return graph
