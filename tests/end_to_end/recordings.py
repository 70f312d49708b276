"""Recordings that people really drop: good ones, damaged ones, strange ones, and files that are none.

Each maker takes an empty folder and gives the path of the file that it made there.
"""

from __future__ import annotations

import functools
import struct
from pathlib import Path

import av
import numpy as np

from tests.pipeline import media
from tests.pipeline.media import Sound

RATE = 16_000


@functools.cache
def _jfk() -> Sound:
    from faster_whisper.audio import decode_audio

    sound: Sound = decode_audio(str(media.JFK)).astype(np.float64)[None, :]
    return sound


def speech(seconds: float = 3.0) -> Sound:
    """The first seconds of examples/jfk.flac at 16 kHz; one channel."""
    return _jfk()[:, : round(seconds * RATE)]


def resampled(sound: Sound, rate: int) -> Sound:
    """From 16 kHz to ``rate``, by libav."""
    if rate == RATE:
        return sound
    resampler = av.AudioResampler("flt", "mono", rate)
    frames = [*resampler.resample(media.frame_of(sound, RATE, "flt", "mono")), *resampler.resample(None)]
    return np.concatenate([frame.to_ndarray() for frame in frames], axis=1).astype(np.float64)


def flac(folder: Path, seconds: float = 3.0) -> Path:
    return media.write_audio(folder / "speech.flac", speech(seconds), RATE, "flac")


def channels(folder: Path, count: int) -> Path:
    """Somebody speaks on the channel 3 of ``count``; the others are silent."""
    sound = np.zeros((count, 3 * RATE))
    sound[3] = speech()[0]
    return media.write_audio(folder / f"{count}.wav", sound, RATE)


def steady(seconds: float, *, high: bool = False, again_at: float | None = None) -> Sound:
    """Somebody who speaks at one level over noise, from the first moment on; one channel.

    The fixed Whisper takes it for English or, with ``high``, for German; 3 s are ``Alpha Bravo.`` to it. With
    ``again_at`` the same is said once more at that second, and there is nothing but the noise in between.
    """
    speech = _jfk()[0, round(0.4 * RATE) :][: round(seconds * RATE)]
    level = np.sqrt(np.convolve(speech**2, np.full(320, 1 / 320), "same"))
    sound = 0.1 * speech / (level + 0.003)
    if again_at is not None:
        sound = np.concatenate([sound, np.zeros(round(again_at * RATE) - len(sound)), sound])
    white = np.random.default_rng(0).standard_normal(len(sound))
    if not high:
        return np.clip(sound + 0.05 * white, -1, 1)[None]
    spectrum, frequencies = np.fft.rfft(white), np.fft.rfftfreq(len(white), 1 / RATE)
    spectrum[frequencies < 1_500] *= 0.02  # Hz
    hiss = np.fft.irfft(spectrum, len(white))
    return np.clip(sound + 0.5 * hiss / np.abs(hiss).max(), -1, 1)[None]


# ── cut off ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def cut(path: Path, share: float) -> Path:
    """Keep that share of the file."""
    body = path.read_bytes()
    path.write_bytes(body[: int(len(body) * share)])
    return path


def cut_flac(folder: Path) -> Path:
    return cut(flac(folder, 5.0), 0.5)


def cut_mp3(folder: Path) -> Path:
    return cut(media.write_audio(folder / "cut.mp3", speech(5.0), RATE, "libmp3lame", form="fltp"), 0.5)


def cut_wav(folder: Path) -> Path:
    return cut(media.write_audio(folder / "cut.wav", speech(5.0), RATE), 0.5)


def mp4_without_moov(folder: Path) -> Path:
    """A recorder that lost its power: the index, which is written last, is not there."""
    path = media.write_video(folder / "whole.mp4", 3.0, resampled(speech(), 48_000))
    body = path.read_bytes()
    at = body.rindex(b"moov") - 4
    assert at > len(body) // 2
    path.write_bytes(body[:at])
    return path


# ── not a recording ──────────────────────────────────────────────────────────────────────────────────────────────────


def empty(folder: Path) -> Path:
    path = folder / "empty.wav"
    path.touch()
    return path


def text(folder: Path) -> Path:
    path = folder / "text.wav"
    path.write_text("Dear Sir or Madam,\n\nplease find the recording attached.\n" * 20)
    return path


def png(folder: Path) -> Path:
    return media.picture(folder / "picture.png")


def jpg(folder: Path) -> Path:
    return media.picture(folder / "picture.jpg", "mjpeg")


def mute_video(folder: Path) -> Path:
    return media.write_video(folder / "mute.mp4", 1.0, None)


# ── strange, and fine ────────────────────────────────────────────────────────────────────────────────────────────────


def silence(folder: Path, seconds: int = 7200, rate: int = 8_000) -> Path:
    """A WAV of nothing but zeros, as a hole in the file: hours of it take no disk."""
    size = seconds * rate * 2
    path = folder / "silence.wav"
    with path.open("wb") as file:
        file.write(b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt ")
        file.write(struct.pack("<IHHIIHH", 16, 1, 1, rate, rate * 2, 2, 16))
        file.write(b"data" + struct.pack("<I", size))
        file.truncate(44 + size)
    return path


def moment(folder: Path) -> Path:
    """10 ms of a tone."""
    return media.write_audio(folder / "moment.wav", media.tone(0.01), RATE)


def ultrasonic(folder: Path) -> Path:
    """Speech at 384,000 samples a second."""
    return media.write_audio(folder / "384k.wav", resampled(speech(), 384_000), 384_000)


def repeated(folder: Path, seconds: float, codec: str) -> Path:
    """A click each second in ``seconds`` of silence: long, and quickly done."""
    sound = media.clicks(seconds, [float(at) for at in range(int(seconds))])
    path = folder / "long.ogg"
    return media.write_audio(path, sound, RATE, codec, container="wav" if codec == "pcm_s16le" else None)
