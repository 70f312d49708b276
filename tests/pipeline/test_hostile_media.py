"""Media made to do harm: headers that lie, bombs, crowds of streams. Each is refused or decoded for what it holds."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import media
import pytest

from pipeline.errors import MediaError, TooManyChannels, UnreadableMedia
from pipeline.stages.audio import Audio
from pipeline.stages.decode import decode

RATE = 16_000
FTYP = struct.pack(">I4s4sI4s", 20, b"ftyp", b"qt  ", 0, b"qt  ")


def run(source: Path, work: Path, most: float = 3600.0) -> Audio:
    folder = work / "decoded"
    folder.mkdir()
    return decode(
        source, folder, per_channel=False, max_duration=most, report=lambda *told: None, opened=lambda *told: None
    )


def atom(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def track(number: int, samples: int = RATE) -> bytes:
    """A QuickTime track of ``samples`` samples, which all tracks find at one place in the file."""
    head = atom(b"tkhd", struct.pack(">BBBBIIIII", 0, 0, 0, 7, 0, 0, number, 0, 1000) + bytes(60))
    media_head = atom(b"mdhd", struct.pack(">IIIIIHH", 0, 0, 0, RATE, samples, 0, 0))
    handler = atom(b"hdlr", struct.pack(">II4s", 0, 0, b"soun") + bytes(12) + b"a\0")
    entry = atom(b"sowt", bytes(6) + struct.pack(">H", 1) + bytes(8) + struct.pack(">HHHHI", 1, 16, 0, 0, RATE << 16))
    tables = (
        atom(b"stsd", struct.pack(">II", 0, 1) + entry)
        + atom(b"stts", struct.pack(">IIII", 0, 1, samples, 1))
        + atom(b"stsc", struct.pack(">IIIII", 0, 1, 1, samples, 1))
        + atom(b"stsz", struct.pack(">III", 0, 2, samples))
        + atom(b"stco", struct.pack(">III", 0, 1, len(FTYP) + 8))
    )
    information = atom(b"minf", atom(b"smhd", bytes(8)) + atom(b"stbl", tables))
    return atom(b"trak", head + atom(b"mdia", media_head + handler + information))


def quicktime(path: Path, tracks: int, samples: int = RATE) -> Path:
    """A file with a second of sound, and any number of tracks that claim ``samples`` samples of it."""
    head = atom(b"mvhd", struct.pack(">IIIII", 0, 0, 0, 1000, 1000) + bytes(80))
    crowd = b"".join(track(number + 1, samples) for number in range(tracks))
    path.write_bytes(FTYP + atom(b"mdat", b"\1\0" * RATE) + atom(b"moov", head + crowd))
    return path


def wav(path: Path, channels: int, rate: int, bits: int = 16) -> Path:
    """A WAV whose header says what it likes."""
    sound = b"\1\0" * 8000
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * bits // 8 & 0xFFFFFFFF, 2 & 0xFFFF, bits)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(sound)) + sound
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


def test_a_crowd_of_streams(tmp_path: Path) -> None:
    """One track is a recording; thousands of them in a file are refused, before any is decoded."""
    assert run(quicktime(tmp_path / "one.mov", 1), tmp_path).samples == RATE
    (tmp_path / "decoded").rename(tmp_path / "before")
    with pytest.raises(UnreadableMedia):
        run(quicktime(tmp_path / "many.mov", 5000), tmp_path)


def test_a_table_that_claims_more_than_there_is(tmp_path: Path) -> None:
    """Two thousand million samples in a table of a few bytes: what is in the file is decoded, and no more is made."""
    source = quicktime(tmp_path / "lie.mov", 1, samples=0x7FFFFFFF)
    audio = run(source, tmp_path, most=86_400.0)
    assert RATE <= audio.samples <= source.stat().st_size // 2
    assert sum(path.stat().st_size for path in audio.folder.iterdir()) == 2 * audio.samples
    assert [warning.type for warning in audio.warnings] == ["truncated_media"]


def test_a_compressed_header_that_swells(tmp_path: Path) -> None:
    """A header that unpacks to 64 MiB of nothing is no recording."""
    size = 64 << 20
    packed = atom(b"dcom", b"zlib") + atom(b"cmvd", struct.pack(">I", size) + zlib.compress(bytes(size), 9))
    source = tmp_path / "bomb.mov"
    source.write_bytes(FTYP + atom(b"moov", atom(b"cmov", packed)))
    with pytest.raises(UnreadableMedia):
        run(source, tmp_path)


@pytest.mark.parametrize(("channels", "rate"), [(65_535, 16_000), (255, 384_000), (1, 1), (1, 0x7FFFFFFF)])
def test_impossible_headers(tmp_path: Path, channels: int, rate: int) -> None:
    """Channels and rates that nothing records in are refused, and no memory is set apart for them."""
    with pytest.raises((UnreadableMedia, TooManyChannels)):
        run(wav(tmp_path / "a.wav", channels, rate), tmp_path)


def test_silence_that_swells(tmp_path: Path) -> None:
    """Hours of silence pack into nothing; what they unpack to ends at the limit of the length."""
    source = media.write_audio(tmp_path / "a.flac", media.tone(60.0) * 0, codec="flac")
    with pytest.raises(MediaError, match="longer than the limit"):
        run(source, tmp_path, most=10.0)


def test_a_tag_larger_than_the_recording(tmp_path: Path) -> None:
    """Megabytes of a tag before the sound are passed over, and nothing of them is in what is told of the recording."""
    source = media.write_audio(tmp_path / "a.mp3", media.tone(1.0, 44_100), 44_100, "libmp3lame", form="fltp")
    sound = source.read_bytes()
    frame = b"\0" + b"A" * (8 << 20)
    length = bytes((len(frame) >> shift) & 127 for shift in (21, 14, 7, 0))
    whole = len(frame) + 10
    tag = b"ID3\4\0\0" + bytes((whole >> shift) & 127 for shift in (21, 14, 7, 0)) + b"TXXX" + length + b"\0\0" + frame
    source.write_bytes(tag + sound)
    audio = run(source, tmp_path)
    assert audio.info.duration == pytest.approx(1.0, abs=0.1)
    assert "AAAA" not in repr(audio)
