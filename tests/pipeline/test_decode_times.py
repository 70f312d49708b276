"""Decoding: every sound is at its time in the recording, whatever the timestamps say."""

from __future__ import annotations

from pathlib import Path

import pytest
from decode_rig import run, whole

from tests.pipeline import media


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
