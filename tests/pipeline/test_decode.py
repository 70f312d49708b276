"""Decoding: a recording that plays gives its sound at the right times; anything else a `MediaError` in plain words."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import (
    EmptyMedia,
    MediaError,
    NoAudio,
    OutOfSpace,
    TooLong,
    TooManyChannels,
    UnreadableMedia,
)
from pipeline.stages.decode import Audio, decode
from tests.pipeline import media


class Heard:
    """What a decode reported."""

    def __init__(self) -> None:
        self.reports: list[tuple[float, float | None]] = []
        self.opened: list[tuple[float | None, int]] = []


def run(
    source: Path,
    folder: Path,
    *,
    per_channel: bool = False,
    max_duration: float | None = None,
    heard: Heard | None = None,
) -> Audio:
    heard = heard or Heard()
    out = folder / "decoded"
    out.mkdir(exist_ok=True)
    return decode(
        source,
        out,
        per_channel=per_channel,
        max_duration=max_duration,
        report=lambda done, total: heard.reports.append((done, total)),
        opened=lambda claimed, channels: heard.opened.append((claimed, channels)),
    )


def whole(audio: Audio, track: int = 0) -> Any:
    return audio.read(track, 0, audio.samples)


KINDS: list[tuple[str, str, dict[str, Any]]] = [
    ("a.wav", "pcm_s16le", {"rate": 16_000}),
    ("8bit.wav", "pcm_u8", {"rate": 8_000, "form": "u8"}),
    ("float64.wav", "pcm_f64le", {"rate": 44_100, "form": "dbl"}),
    ("float32.wav", "pcm_f32le", {"rate": 48_000, "form": "flt"}),
    ("384khz.wav", "pcm_s32le", {"rate": 384_000, "form": "s32"}),
    ("a.flac", "flac", {"rate": 44_100}),
    ("a.mp3", "libmp3lame", {"rate": 44_100, "form": "fltp", "bit_rate": 128_000}),
    ("a.ogg", "libopus", {"rate": 48_000}),
    ("a.webm", "libopus", {"rate": 48_000}),
    ("a.mka", "pcm_s16le", {"rate": 22_050}),
    ("a.m4a", "aac", {"rate": 44_100, "form": "fltp"}),
    ("a.aac", "aac", {"rate": 44_100, "form": "fltp", "container": "adts"}),
    ("a.ts", "aac", {"rate": 48_000, "form": "fltp"}),
    ("a.aiff", "pcm_s16be", {"rate": 32_000}),
    ("mulaw.au", "pcm_mulaw", {"rate": 8_000}),
]


@pytest.mark.parametrize(("name", "codec", "options"), KINDS, ids=[kind[0] for kind in KINDS])
def test_every_kind_of_recording_keeps_its_sound_and_its_times(
    tmp_path: Path, name: str, codec: str, options: dict[str, Any]
) -> None:
    """Whatever the container, codec, rate and sample format, each click is heard within 30 ms of where it was."""
    at = [0.5, 1.0, 2.25]
    source = media.write_audio(tmp_path / name, media.clicks(3.0, at, options["rate"]), codec=codec, **options)
    audio = run(source, tmp_path)
    assert media.onsets(whole(audio)) == pytest.approx(at, abs=0.03)
    assert audio.info.duration == pytest.approx(3.0, abs=0.08)
    assert audio.samples == round(audio.info.duration * 16_000)
    assert audio.warnings == ()


def test_a_real_recording_is_what_the_reference_decoder_hears(tmp_path: Path) -> None:
    """Our samples are those of libav's own resampler fed frame by frame, to the last bit of int16."""
    from faster_whisper.audio import decode_audio

    audio = run(media.JFK, tmp_path)
    reference = decode_audio(str(media.JFK))
    assert audio.samples == len(reference) == 176_000
    assert np.abs(whole(audio) - reference).max() <= 1 / 32768
    assert audio.info.model_dump() == {"duration": 11.0, "channels": 2, "container": "flac", "codec": "flac"}


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_f32le"])
def test_a_loud_stereo_mix_does_not_clip(tmp_path: Path, codec: str) -> None:
    """Two channels at full scale mix down to full scale, not beyond it."""
    loud = media.tone(0.5, level=0.98).repeat(2, 0)
    form = "s16" if codec == "pcm_s16le" else "flt"
    heard = whole(run(media.write_audio(tmp_path / "a.wav", loud, codec=codec, form=form), tmp_path))
    assert np.allclose(heard, loud[0], atol=2e-4)


def test_channels_stay_apart(tmp_path: Path) -> None:
    """per_channel gives each channel its own track, unmixed, in the recording's order."""
    sound = np.concatenate([media.tone(1.0, hertz=hertz) for hertz in (200, 1000, 3000)])
    audio = run(media.write_audio(tmp_path / "a.wav", sound), tmp_path, per_channel=True)
    assert (audio.tracks, audio.info.channels) == (3, 3)
    for track in range(3):
        assert np.allclose(whole(audio, track), sound[track], atol=1e-4)


def test_real_stereo_keeps_both_speakers_apart(tmp_path: Path) -> None:
    """The two speakers of a real call land on two different tracks whose mean is the mono mix."""
    source = media.DATA / "stereo_diarization.wav"
    apart = run(source, tmp_path, per_channel=True)
    left, right = whole(apart, 0), whole(apart, 1)
    assert abs(np.corrcoef(left, right)[0, 1]) < 0.5
    mono = run(source, tmp_path)
    assert np.allclose(whole(mono), (left + right) / 2, atol=2 / 32768)


def test_twenty_channels(tmp_path: Path) -> None:
    """Twenty channels, the most of the contract, work apart and mixed, and no channel is lost from the mix."""
    sound = np.zeros((20, 16_000))
    for channel in range(20):
        sound[channel, channel * 800 : (channel + 1) * 800] = media.tone(0.05)[0]
    source = media.write_audio(tmp_path / "a.wav", sound)
    audio = run(source, tmp_path, per_channel=True)
    assert audio.tracks == 20
    assert all(np.allclose(whole(audio, track), sound[track], atol=1e-4) for track in range(20))
    assert np.allclose(whole(run(source, tmp_path)), sound.mean(0), atol=1e-3)


def test_no_voice_is_lost_from_channels_without_names(tmp_path: Path) -> None:
    """Six channels that nobody says are loudspeakers all count alike in the mix: none is taken for a subwoofer."""
    sound = np.zeros((6, 9600))
    for channel in range(6):
        sound[channel, channel * 1600 : (channel + 1) * 1600] = media.tone(0.1)[0]
    heard = whole(run(media.write_audio(tmp_path / "a.wav", sound), tmp_path))
    assert np.allclose(heard, sound.mean(0), atol=1e-3)


def test_a_truncated_mp4_without_its_index_is_unreadable(tmp_path: Path) -> None:
    """An MP4 whose index was to come last has nothing to decode by once it is cut off."""
    source = media.write_audio(tmp_path / "a.m4a", media.tone(5.0, 44_100), 44_100, "aac", form="fltp")
    source.write_bytes(source.read_bytes()[:20_000])
    with pytest.raises(UnreadableMedia):
        run(source, tmp_path)


def test_planar_frames_of_many_channels(tmp_path: Path) -> None:
    """Eight planar channels (FLAC's most, float planes in AAC) are decoded apart without touching other memory."""
    sound = np.concatenate([media.tone(1.0, 48_000, 200.0 * (i + 1), 0.3) for i in range(8)])
    source = media.write_audio(tmp_path / "a.m4a", sound, 48_000, "aac", form="flt", layout="7.1", bit_rate=512_000)
    audio = run(source, tmp_path, per_channel=True)
    peaks = [np.argmax(np.abs(np.fft.rfft(whole(audio, t)[1600:14_400]))) / 0.8 for t in (0, 1, 2, 4, 5, 6, 7)]
    assert peaks == pytest.approx([200.0, 400.0, 600.0, 1000.0, 1200.0, 1400.0, 1600.0], abs=3)


def test_too_many_channels(tmp_path: Path) -> None:
    """More than twenty channels are refused with multichannel, and still mix down without it."""
    source = media.write_audio(tmp_path / "a.wav", media.tone(0.2).repeat(21, 0))
    with pytest.raises(TooManyChannels, match="21 channels"):
        run(source, tmp_path, per_channel=True)
    assert run(source, tmp_path).samples == 3200


def test_more_channels_than_can_be_mixed(tmp_path: Path) -> None:
    """Beyond libav's own limit it is an error of the recording, not a crash."""
    raw = np.zeros((100, 16_000 // 10), "<i2")
    header = b"RIFF" + (36 + raw.nbytes).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    header += (1).to_bytes(2, "little") + (100).to_bytes(2, "little") + (16_000).to_bytes(4, "little")
    header += (16_000 * 200).to_bytes(4, "little") + (200).to_bytes(2, "little") + (16).to_bytes(2, "little")
    source = tmp_path / "a.wav"
    source.write_bytes(header + b"data" + raw.nbytes.to_bytes(4, "little") + raw.tobytes())
    with pytest.raises(MediaError):
        run(source, tmp_path)


def test_a_hundredth_of_a_second(tmp_path: Path) -> None:
    """A 10 ms recording is decoded, not taken for an empty one."""
    assert run(media.write_audio(tmp_path / "a.wav", media.tone(0.01)), tmp_path).samples == 160


def test_video(tmp_path: Path) -> None:
    """The sound of a video is decoded; its pictures are not needed."""
    source = media.write_video(tmp_path / "a.mp4", 2.0, media.clicks(2.0, [0.5, 1.5], 48_000))
    audio = run(source, tmp_path)
    assert media.onsets(whole(audio)) == pytest.approx([0.5, 1.5], abs=0.03)
    assert audio.info.codec == "aac"


def test_mp3_with_a_cover_and_a_bad_title(tmp_path: Path) -> None:
    """An ID3 tag with a picture and a title in no known encoding does not get in the way of an MP3."""
    mp3 = media.write_audio(tmp_path / "a.mp3", media.tone(1.0, 44_100), 44_100, "libmp3lame", form="fltp")
    tag = media.id3_with_picture(media.picture(tmp_path / "cover.png").read_bytes())
    source = tmp_path / "tagged.mp3"
    source.write_bytes(tag + mp3.read_bytes())
    audio = run(source, tmp_path)
    assert (audio.samples, audio.warnings) == (run(mp3, tmp_path).samples, ())
    assert (audio.info.container, audio.info.codec) == ("mp3", "mp3")


# ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_sound_that_starts_late_keeps_its_times(tmp_path: Path, name: str) -> None:
    """When a video's sound starts 1.5 s in, its words are at their places in the video."""
    source = media.write_video(tmp_path / name, 4.0, media.clicks(2.0, [0.5, 1.5], 48_000), sound_at=1.5)
    assert media.onsets(whole(run(source, tmp_path))) == pytest.approx([2.0, 3.0], abs=0.03)


def test_a_recording_that_starts_late_keeps_its_times(tmp_path: Path) -> None:
    """A Matroska file whose only stream starts at 2 s starts with 2 s of silence."""
    sound = media.clicks(2.0, [0.5])
    source = media.write_audio(tmp_path / "a.mka", sound, pieces=[(0.0, 2.0, 2.0)])
    audio = run(source, tmp_path)
    assert media.onsets(whole(audio)) == pytest.approx([2.5], abs=0.01)
    assert audio.info.duration == pytest.approx(4.0, abs=0.01)


def test_a_clock_for_a_start_is_not_a_pause(tmp_path: Path) -> None:
    """A live recording whose timestamps start at ten hours starts at once."""
    source = media.write_audio(tmp_path / "a.mka", media.clicks(2.0, [0.5]), pieces=[(0.0, 2.0, 36_000.0)])
    assert media.onsets(whole(run(source, tmp_path))) == pytest.approx([0.5], abs=0.01)


@pytest.mark.parametrize("per_channel", [False, True])
def test_gaps_become_silence(tmp_path: Path, per_channel: bool) -> None:
    """Pauses that are only in the timestamps are silence in the sound, however many, in every track."""
    sound = media.clicks(3.0, [0.5, 1.5, 2.5], 48_000).repeat(2, 0)
    pieces = [(0.0, 1.0, 0.0), (1.0, 2.0, 4.0), (2.0, 3.0, 65.0)]
    source = media.write_audio(tmp_path / "a.mka", sound, 48_000, pieces=pieces)
    audio = run(source, tmp_path, per_channel=per_channel)
    for track in range(audio.tracks):
        assert media.onsets(whole(audio, track)) == pytest.approx([0.5, 4.5, 65.5], abs=0.01)
    assert audio.info.duration == pytest.approx(66.0, abs=0.01)


def test_jitter_is_not_a_gap(tmp_path: Path) -> None:
    """Timestamps that are off by less than 50 ms neither add nor remove a sample."""
    pieces = [(i * 0.5, (i + 1) * 0.5, i * 0.5 + (0.04 if i % 2 else 0.0)) for i in range(10)]
    source = media.write_audio(tmp_path / "a.mka", media.tone(5.0), pieces=pieces)
    assert run(source, tmp_path).samples == 80_000


def test_timestamps_that_start_over_lose_no_sound(tmp_path: Path) -> None:
    """Two recordings joined byte by byte, the second counting from 0 again, are heard one after the other."""
    first = media.write_audio(tmp_path / "a.ts", media.clicks(3.0, [0.5], 48_000), 48_000, "aac", form="fltp")
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() * 2)
    assert media.onsets(whole(run(joined, tmp_path))) == pytest.approx([0.5, 3.5], abs=0.1)


def test_a_leap_to_another_year_is_not_believed(tmp_path: Path) -> None:
    """Timestamps that leap by ten hours write no ten hours of silence: the sound goes on, and a warning says so."""
    pieces = [(0.0, 1.0, 0.0), (1.0, 2.0, 36_000.0)]
    source = media.write_audio(tmp_path / "a.mka", media.clicks(2.0, [0.5, 1.5]), pieces=pieces)
    audio = run(source, tmp_path)
    assert media.onsets(whole(audio)) == pytest.approx([0.5, 1.5], abs=0.01)
    assert [warning.type for warning in audio.warnings] == ["broken_timestamps"]


def test_no_silence_past_the_limit(tmp_path: Path) -> None:
    """A gap that would lead past max_duration is not believed."""
    pieces = [(0.0, 1.0, 0.0), (1.0, 2.0, 50.0)]
    source = media.write_audio(tmp_path / "a.mka", media.tone(2.0), pieces=pieces)
    assert run(source, tmp_path, max_duration=10.0).samples == 32_000


def test_a_change_of_rate_and_channels_on_the_way(tmp_path: Path) -> None:
    """Joined MP3s of different rates and channel counts become one recording on the same tracks."""
    one = media.write_audio(
        tmp_path / "1.mp3", media.clicks(2.0, [0.5], 44_100).repeat(2, 0), 44_100, "libmp3lame", form="fltp"
    )
    two = media.write_audio(tmp_path / "2.mp3", media.clicks(2.0, [0.5], 16_000), 16_000, "libmp3lame", form="fltp")
    joined = tmp_path / "joined.mp3"
    joined.write_bytes(one.read_bytes() + two.read_bytes())
    audio = run(joined, tmp_path)
    assert media.onsets(whole(audio)) == pytest.approx([0.5, 2.6], abs=0.15)
    apart = run(joined, tmp_path, per_channel=True)
    assert apart.tracks == 2
    assert media.onsets(whole(apart, 0)) == media.onsets(whole(audio))
    assert media.onsets(whole(apart, 1)) == media.onsets(whole(audio))[:1]


# ── limits and reports ───────────────────────────────────────────────────────────────────────────────────────────────


def test_too_long_stops_at_the_limit(tmp_path: Path) -> None:
    """A recording over the limit is refused, naming the limit, before much more than the limit has been written."""
    source = media.write_audio(tmp_path / "a.wav", media.tone(60.0))
    with pytest.raises(TooLong, match="10 s"):
        run(source, tmp_path, max_duration=10.0)
    assert (tmp_path / "decoded" / "track-0.s16").stat().st_size <= 32_000 * 11
    assert run(source, tmp_path, max_duration=60.0).samples == 960_000


def test_progress_is_reported(tmp_path: Path) -> None:
    """opened comes once with the claimed length and channels; reports rise to the recording's end."""
    heard = Heard()
    audio = run(media.write_audio(tmp_path / "a.wav", media.tone(30.0).repeat(2, 0)), tmp_path, heard=heard)
    assert heard.opened == [(30.0, 2)]
    done = [done for done, _ in heard.reports]
    assert len(done) > 3
    assert done == sorted(done)
    assert done[-1] == audio.info.duration == 30.0
    assert {total for _, total in heard.reports} == {30.0}


def test_a_full_disk(tmp_path: Path) -> None:
    """A full disk is OutOfSpace (retried), not an error of the recording."""
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    folder = tmp_path / "decoded"
    folder.mkdir()
    (folder / "track-0.s16").symlink_to("/dev/full")
    with pytest.raises(OutOfSpace) as caught:
        run(media.JFK, tmp_path)
    assert caught.value.retryable


def test_read_is_clipped_to_the_recording(tmp_path: Path) -> None:
    """read gives what there is of the stretch, and nothing beyond either end."""
    audio = run(media.write_audio(tmp_path / "a.wav", media.tone(0.1)), tmp_path)
    everything = audio.read(0, -5, 10_000)
    assert everything.dtype == np.float32
    assert len(everything) == 1600
    assert np.array_equal(audio.read(0, 100, 200), everything[100:200])
    assert len(audio.read(0, 1600, 1700)) == 0
    with pytest.raises(IndexError):
        audio.read(1, 0, 10)


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
