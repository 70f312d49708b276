"""Opens a recording that nobody vouches for, and finds its sound.

Takes a local file, gives libav's container and its audio stream, or a `MediaError` in words a person can act on. What
is opened reads that one file: no protocol is allowed, and playlists (m3u8, ffconcat, dash …) that name other files or
hosts are refused twice, as formats and when they try to open something. Knows nothing of samples, time or disks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import av
import av.container
from av.stream import Discard

from pipeline.errors import EmptyMedia, NoAudio, UnreadableMedia

# Demuxers that open other files or hosts.
_LEAD_ELSEWHERE = {
    "concat", "dash", "hls", "imf", "webm_dash_manifest", "sdp", "rtp", "rtsp", "sap", "vobsub", "image2",
}  # fmt: skip
# Demuxers that are not files at all.
_DEVICES = {
    "lavfi", "alsa", "fbdev", "jack", "kmsgrab", "openal", "oss", "pulse", "sndio", "video4linux2,v4l2", "v4l2",
    "x11grab", "xcbgrab",
}  # fmt: skip
# Demuxers that take plain text or captions for something to play.
_TEXT = {
    "tty", "ffmetadata", "bin", "txd", "adf", "idf", "xbin", "aqtitle", "ass", "jacosub", "lrc", "microdvd",
    "mpl2", "mpsub", "pjs", "realtext", "sami", "scc", "srt", "stl", "subviewer", "subviewer1", "sup",
    "tedcaptions", "ttml", "vplayer", "webvtt", "rcwt",
}  # fmt: skip
_FORMATS = ",".join(sorted(av.formats_available.difference(_LEAD_ELSEWHERE, _DEVICES, _TEXT)))
_PICTURES = frozenset({"gif", "apng", "ico", "webp", "fits", "alias_pix"})
_BUFFER = 1 << 16  # bytes a read


class _LeadsElsewhere(Exception):
    """libav wanted to open a second file."""


def _refuse(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    raise _LeadsElsewhere(url)


@contextmanager
def opened_container(source: Path) -> Iterator[av.container.InputContainer]:
    """The container of ``source``. `EmptyMedia`, `UnreadableMedia`; OSError if the file itself cannot be read."""
    with source.open("rb") as file:
        if not file.read(1):
            raise EmptyMedia("The recording is empty (0 bytes).")
        file.seek(0)
        with _open(file) as container:
            yield container


def _open(file: BinaryIO) -> av.container.InputContainer:
    with readable():
        return av.open(
            file,
            "r",
            metadata_errors="ignore",
            buffer_size=_BUFFER,
            io_open=_refuse,
            container_options={"protocol_whitelist": "none", "format_whitelist": _FORMATS},
        )


@contextmanager
def readable() -> Iterator[None]:
    """Whatever libav objects to in there, `UnreadableMedia` it is."""
    try:
        yield
    except _LeadsElsewhere as error:
        raise UnreadableMedia("The file is a list of other files, not a recording.") from error
    except av.error.FFmpegError as error:
        raise UnreadableMedia("The file is not a recording in a format that can be read, or it is damaged.") from error


def audio_stream(container: av.container.InputContainer) -> Any:
    """The stream that a player would play, among those there is a decoder for. `NoAudio`, `UnreadableMedia`."""
    streams = container.streams.audio
    if not streams:
        raise _no_audio(container)
    best = container.streams.best("audio")
    playable = [stream for stream in (best, *streams) if stream is not None and stream.codec_context is not None]
    if not playable:
        raise UnreadableMedia("The recording's sound is in a codec that cannot be decoded here.")
    chosen = playable[0]
    for stream in container.streams:
        if stream.index != chosen.index:
            stream.discard = Discard.all  # a demuxer that can then does not even read the pictures of a video
    return chosen


def _no_audio(container: av.container.InputContainer) -> NoAudio | UnreadableMedia:
    name = container.format.name
    if name.endswith("_pipe") or name in _PICTURES:
        return NoAudio("The file is a picture, not a recording.")
    if container.streams.video:
        return NoAudio("The file is a video without sound.")
    return UnreadableMedia("The file holds no sound that can be read.")
