"""Decoding: a recording that plays gives its sound at the right times; anything else a `MediaError` in plain words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from decode_rig import Heard, run, whole

from pipeline.errors import (
    MediaError,
    OutOfSpace,
    TooLong,
    TooManyChannels,
    UnreadableMedia,
)
from tests.pipeline import media

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
