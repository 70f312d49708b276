"""Makes recordings of every kind with PyAV and numpy, for tests and benchmarks: no ffmpeg or sox needed.

Sound is a float array of shape (channels, samples) in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

Sound = NDArray[np.float64]

ROOT = Path(__file__).parents[2]
JFK = ROOT / "examples" / "jfk.flac"
DATA = ROOT / "tests" / "data" / "audio"


def tone(seconds: float, rate: int = 16_000, hertz: float = 440.0, level: float = 0.5) -> Sound:
    """One channel of a sine."""
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)[None, :]


def clicks(seconds: float, at: Sequence[float], rate: int = 16_000) -> Sound:
    """Silence with 10 ms bursts of a 1 kHz tone at the given times: what tells whether times are kept."""
    sound = np.zeros((1, round(seconds * rate)))
    burst = tone(0.01, rate, 1000.0, 0.9)[0]
    for second in at:
        start = round(second * rate)
        sound[0, start : start + len(burst)] = burst
    return sound


def onsets(sound: NDArray[np.float32], rate: int = 16_000) -> list[float]:
    """The times at which sound begins after at least 0.2 s without any."""
    loud = np.flatnonzero(np.abs(sound) > 0.25)
    return [float(i) / rate for i in loud[np.diff(loud, prepend=-rate) > 0.2 * rate]]


def beginning(seconds: float) -> Sound:
    """What is said at the beginning of the example recording, at 16 kHz."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=16_000)
    with av.open(str(JFK)) as container:
        frames = [piece for frame in container.decode(audio=0) for piece in resampler.resample(frame)]
    sound = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)
    return sound[:, : round(seconds * 16_000)].astype(np.float64)


_FORMATS: dict[str, tuple[str, Callable[[Sound], NDArray[Any]]]] = {
    "u8": ("u1", lambda x: np.round(x * 127 + 128)),
    "s16": ("<i2", lambda x: np.round(x * 32767)),
    "s32": ("<i4", lambda x: np.round(x * 2147483647)),
    "flt": ("<f4", lambda x: x),
    "dbl": ("<f8", lambda x: x),
}


def frame_of(sound: Sound, rate: int, form: str, layout: str) -> av.AudioFrame:
    """A frame in the packed or planar sample format ``form``."""
    dtype, scaled = _FORMATS[form.removesuffix("p")]
    samples = np.ascontiguousarray(scaled(sound).astype(dtype))
    if not form.endswith("p"):
        samples = np.ascontiguousarray(samples.T.reshape(1, -1))
    frame = av.AudioFrame.from_ndarray(samples, format=form, layout=layout)
    frame.sample_rate = rate
    return frame


def write_audio(
    path: Path,
    sound: Sound,
    rate: int = 16_000,
    codec: str = "pcm_s16le",
    *,
    form: str = "s16",
    layout: str | None = None,
    bit_rate: int | None = None,
    pieces: Sequence[tuple[float, float, float]] = (),
    container: str | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode ``sound``. ``pieces``: (from, to, timestamp) in seconds, to leave gaps; by default all of it from 0 on.

    ``form`` is the sample format that the encoder is fed with, ``options`` are the container's.
    """
    layout = layout or {1: "mono", 2: "stereo"}.get(len(sound), f"{len(sound)} channels")
    with av.open(str(path), "w", format=container, container_options=options) as output:
        stream = output.add_stream(codec, rate=rate, layout=layout)
        if bit_rate:
            stream.bit_rate = bit_rate
        for start, stop, stamp in pieces or [(0.0, sound.shape[1] / rate, 0.0)]:
            _encode(output, stream, sound[:, round(start * rate) : round(stop * rate)], rate, form, layout, stamp)
        output.mux(stream.encode(None))
    return path


def _encode(output: Any, stream: Any, sound: Sound, rate: int, form: str, layout: str, stamp: float) -> None:
    step = stream.codec_context.frame_size or 1024
    for start in range(0, sound.shape[1], step):
        frame = frame_of(sound[:, start : start + step], rate, form, layout)
        frame.pts = round(stamp * rate) + start
        frame.time_base = Fraction(1, rate)
        output.mux(stream.encode(frame))


def write_video(
    path: Path,
    seconds: float,
    sound: Sound | None,
    rate: int = 48_000,
    sound_at: float = 0.0,
    bit_rate: int | None = None,
) -> Path:
    """A small MPEG-4 video, with the sound (AAC) starting ``sound_at`` seconds into it, or without any."""
    with av.open(str(path), "w") as output:
        video = output.add_stream("mpeg4", rate=25)
        video.width = video.height = 64
        video.pix_fmt = "yuv420p"
        audio = None if sound is None else output.add_stream("aac", rate=rate, layout="mono")
        if audio is not None and bit_rate:
            audio.bit_rate = bit_rate
        for index in range(round(seconds * 25)):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), index % 256, np.uint8), format="rgb24")
            picture.pts, picture.time_base = index, Fraction(1, 25)
            output.mux(video.encode(picture))
        output.mux(video.encode(None))
        if audio is not None and sound is not None:
            _encode(output, audio, sound, rate, "fltp", "mono", sound_at)
            output.mux(audio.encode(None))
    return path


def picture(path: Path, codec: str = "png") -> Path:
    """One 64 × 64 picture."""
    context = av.CodecContext.create(codec, "w")
    context.width = context.height = 64  # type: ignore[attr-defined]
    context.pix_fmt = "rgb24" if codec == "png" else "yuvj420p"  # type: ignore[attr-defined]
    context.time_base = Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
    packets = context.encode(frame.reformat(format=context.pix_fmt)) + context.encode(None)  # type: ignore[attr-defined]
    path.write_bytes(b"".join(bytes(packet) for packet in packets))
    return path


def id3_with_picture(picture_bytes: bytes) -> bytes:
    """An ID3v2.3 tag with a title that is not valid UTF-8 and a cover picture, to put before an MP3."""
    cover = b"\0image/png\0\3cover\0" + picture_bytes
    title = b"\3" + b"caf\xe9 \xff\xfe"
    frames = b"".join(
        name + len(body).to_bytes(4, "big") + b"\0\0" + body for name, body in ((b"TIT2", title), (b"APIC", cover))
    )
    size = bytes((len(frames) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\3\0\0" + size + frames
