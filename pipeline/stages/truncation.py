"""Whether a recording ends before it should: an upload that was cut off, a recorder that lost its power.

Takes the file, its open container and the seconds that were decoded; gives a sentence for a person, or None. Only what
the file itself says is held against it, never a length that libav has guessed. Knows nothing of samples.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import av
import av.container

_GUESSED = frozenset(
    {"aac", "ac3", "dts", "eac3", "loas", "mp3"}
)  # raw streams: without a header the length is a guess
_UNKNOWN_SIZE = 0x7FFF_0000  # what writes to a pipe puts a size there that means "not known"
_OGG_PAGE = 27 + 255 + 255 * 255  # bytes of the largest page


def cut_off(source: Path, container: av.container.InputContainer, stream: Any, duration: float) -> str | None:
    """What shows that the recording is cut off; ``duration`` in seconds, as decoded."""
    with source.open("rb") as file:
        size = file.seek(0, 2)
        if container.format.name == "ogg":
            return (
                "The recording ends in the middle of an Ogg page: it seems cut off." if _half_page(file, size) else None
            )
        claimed = _iff_claim(file, size, duration) or _claim(container, stream, size)
    if claimed is None or duration >= claimed - max(1.0, 0.02 * claimed):
        return None
    return f"The recording says it is {claimed:.1f} s long, but its sound ends at {duration:.1f} s: it seems cut off."


def _claim(container: av.container.InputContainer, stream: Any, size: int) -> float | None:
    """Seconds of sound by the container's own account."""
    if stream.duration is not None and stream.time_base is not None:
        claimed = float(stream.duration * stream.time_base)
    elif len(container.streams) == 1 and container.duration:
        claimed = container.duration / av.time_base
    else:
        return None  # a video may well go on after its sound has ended
    rate = stream.codec_context.bit_rate
    if container.format.name in _GUESSED and rate and claimed > 0 and abs(size * 8 / rate / claimed - 1) < 0.02:
        return None  # made up from the file's size and the first frame's bit rate
    return claimed


def _iff_claim(file: BinaryIO, size: int, duration: float) -> float | None:
    """The seconds a WAV's, AVI's or AIFF's header speaks of; libav goes by the file's size when that is smaller."""
    file.seek(0)
    head = file.read(8)
    if head[:4] not in (b"RIFF", b"FORM"):
        return None
    said = 8 + int.from_bytes(head[4:], "little" if head[:4] == b"RIFF" else "big")
    return duration * said / size if size < said < _UNKNOWN_SIZE else None


def _half_page(file: BinaryIO, size: int) -> bool:
    file.seek(max(0, size - 2 * _OGG_PAGE))
    tail = file.read()
    start = tail.rfind(b"OggS")
    if start < 0 or len(tail) < start + 27:
        return True
    lacing = tail[start + 27 : start + 27 + tail[start + 26]]
    return len(lacing) < tail[start + 26] or len(tail) < start + 27 + len(lacing) + sum(lacing)
