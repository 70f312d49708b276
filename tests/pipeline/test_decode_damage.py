"""Decoding what is damaged, and what is no recording: what can be heard, or an error in plain words."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from decode_rig import run, whole

from pipeline.errors import (
    EmptyMedia,
    NoAudio,
    UnreadableMedia,
)
from pipeline.stages.decode import Audio
from tests.pipeline import media

# ── damage ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def kinds(audio: Audio) -> Sequence[str]:
    return [warning.type for warning in audio.warnings]


@pytest.mark.parametrize(
    ("name", "codec", "form"),
    [
        ("a.wav", "pcm_s16le", "s16"),
        ("a.mp3", "libmp3lame", "fltp"),
        ("a.flac", "flac", "s16"),
        ("a.webm", "libopus", "s16"),
        ("a.ogg", "libopus", "s16"),
        ("a.aiff", "pcm_s16be", "s16"),
        ("a.m4a", "aac", "fltp"),
        ("a.mp4", "aac", "fltp"),
    ],
)
def test_a_truncated_file_gives_what_is_there(tmp_path: Path, name: str, codec: str, form: str) -> None:
    """Half a file gives about half its sound and a warning that it is cut off."""
    rate = 48_000
    options = {"movflags": "+faststart"} if name.endswith(("m4a", "mp4")) else {}
    source = media.write_audio(tmp_path / name, media.tone(20.0, rate), rate, codec, form=form, options=options)
    body = source.read_bytes()
    source.write_bytes(body[: len(body) // 2 + 5])
    audio = run(source, tmp_path)
    assert 5.0 < audio.info.duration < 15.0
    assert "truncated_media" in kinds(audio)


@pytest.mark.parametrize(("name", "codec"), [("a.mp3", "libmp3lame"), ("a.mka", "aac")])
def test_damage_in_the_middle_is_skipped_and_said(tmp_path: Path, name: str, codec: str) -> None:
    """Zeroed bytes in the middle cost the sound there and a warning; what follows keeps its time if it is stamped."""
    rate = 48_000
    sound = media.clicks(20.0, [1.0, 19.0], rate) + media.tone(20.0, rate, level=0.05)
    source = media.write_audio(tmp_path / name, sound, rate, codec, form="fltp", bit_rate=128_000)
    body = bytearray(source.read_bytes())
    middle = len(body) // 2
    body[middle : middle + 20_000] = bytes(20_000)
    source.write_bytes(body)
    audio = run(source, tmp_path)
    onsets = media.onsets(whole(audio))
    assert onsets[0] == pytest.approx(1.0, abs=0.05)
    assert onsets[-1] == pytest.approx(19.0, abs=0.05 if name.endswith("mka") else 2.0)
    assert "damaged_media" in kinds(audio)


def test_variable_bit_rate_without_a_header_is_not_called_truncated(tmp_path: Path) -> None:
    """A length that libav made up from the first frame's bit rate is no claim to miss."""
    loud = media.write_audio(tmp_path / "1.aac", media.tone(1.0, 44_100), 44_100, "aac", form="fltp", container="adts")
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, (1, 44_100 * 10))
    rich = media.write_audio(tmp_path / "2.aac", noise, 44_100, "aac", form="fltp", container="adts", bit_rate=256_000)
    source = tmp_path / "joined.aac"
    source.write_bytes(loud.read_bytes() + rich.read_bytes())
    assert run(source, tmp_path).warnings == ()


# ── what is no recording ─────────────────────────────────────────────────────────────────────────────────────────────


def test_empty_file(tmp_path: Path) -> None:
    """Zero bytes are EmptyMedia."""
    source = tmp_path / "a.wav"
    source.touch()
    with pytest.raises(EmptyMedia, match="0 bytes"):
        run(source, tmp_path)


GARBAGE = {
    "text.wav": b"Dear listener, this is a letter and not a recording.\n" * 200,
    "text.txt": b"Dear listener, this is a letter and not a recording.\n" * 200,
    "captions.srt": b"1\n00:00:01,000 --> 00:00:02,000\nHello\n\n" * 20,
    "noise.mp3": np.random.default_rng(7).bytes(50_000),
    "zeros.wav": bytes(10_000),
    "one.wav": b"R",
    "header.wav": b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0data\0\0\0\0",
    "page.html": b"<!DOCTYPE html><html><body>403 Forbidden</body></html>\n",
    "archive.zip": b"PK\3\4" + bytes(5000),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_unreadable(tmp_path: Path, name: str) -> None:
    """Bytes that are no recording are UnreadableMedia, whatever the file is called."""
    source = tmp_path / name
    source.write_bytes(GARBAGE[name])
    with pytest.raises(UnreadableMedia) as caught:
        run(source, tmp_path)
    assert caught.value.hint


@pytest.mark.parametrize(("name", "codec"), [("a.png", "png"), ("a.jpg", "mjpeg"), ("renamed.wav", "png")])
def test_a_picture(tmp_path: Path, name: str, codec: str) -> None:
    """A picture is NoAudio and is called a picture, even when it is named like a recording."""
    with pytest.raises(NoAudio, match="picture"):
        run(media.picture(tmp_path / name, codec), tmp_path)


def test_video_without_sound(tmp_path: Path) -> None:
    """A silent film is NoAudio and is called a video."""
    with pytest.raises(NoAudio, match="video without sound"):
        run(media.write_video(tmp_path / "a.mp4", 1.0, None), tmp_path)


PLAYLISTS = {
    "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{other}\n#EXT-X-ENDLIST\n",
    "b.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:{other}\n#EXT-X-ENDLIST\n",
    "a.ffconcat": "ffconcat version 1.0\nfile {other}\n",
    "a.wav": "ffconcat version 1.0\nfile {other}\n",
    "a.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    "a.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="audio/wav"><Representation id="0" '
    'bandwidth="1"><BaseURL>{other}</BaseURL></Representation></AdaptationSet></Period></MPD>',
}


@pytest.mark.parametrize("name", PLAYLISTS)
@pytest.mark.parametrize("absolute", [True, False])
def test_a_list_of_files_opens_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, absolute: bool
) -> None:
    """A playlist that points at another recording on this machine is refused, and gives none of its sound."""
    other = media.write_audio(tmp_path / "other.wav", media.tone(1.0))
    monkeypatch.chdir(tmp_path)
    source = tmp_path / name
    source.write_text(PLAYLISTS[name].format(other=other if absolute else other.name))
    with pytest.raises(UnreadableMedia):
        run(source, tmp_path)


def test_numbered_names_are_plain_names(tmp_path: Path) -> None:
    """A name like picture-%d.png or http:… is a file's name, not a pattern or an address."""
    media.write_audio(tmp_path / "part-1.wav", media.tone(1.0))
    source = media.write_audio(tmp_path / "x.wav", media.tone(0.5)).rename(tmp_path / "http:part-%d.wav")
    assert run(source, tmp_path).samples == 8000


def test_libav_prints_nothing(tmp_path: Path) -> None:
    """Decoding a damaged recording writes nothing to the process's standard output and error."""
    source = media.write_audio(tmp_path / "a.mp3", media.tone(5.0, 44_100), 44_100, "libmp3lame", form="fltp")
    body = bytearray(source.read_bytes())
    body[20_000:25_000] = bytes(5000)
    source.write_bytes(body)
    code = (
        "import sys; from pathlib import Path; from pipeline.stages.decode import decode\n"
        "decode(Path(sys.argv[1]), Path(sys.argv[2]), per_channel=False, max_duration=None,"
        " report=lambda *a: None, opened=lambda *a: None)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(source), str(tmp_path)], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")
