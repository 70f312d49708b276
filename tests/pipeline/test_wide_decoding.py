"""Decoding for a separator: at a rate of its own, in stereo."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import TooLong
from tests.pipeline.demucs_rig import decoded, whole
from tests.pipeline.media import clicks, onsets, tone, write_audio

RATE = 44_100


def levels(tmp_path: Path, channels: int, layout: str | None, **how: bool) -> list[float]:
    """How loud each track is in which a tone is on the last channel alone."""
    sound = np.concatenate([np.zeros((channels - 1, RATE)), tone(1.0, RATE, level=0.4)])
    source = write_audio(tmp_path / "a.wav", sound, RATE, layout=layout)
    audio = decoded(source, tmp_path / "a", rate=RATE, stereo=True, **how)
    assert audio.rate == RATE
    assert audio.samples == RATE
    assert audio.info.duration == pytest.approx(1.0)
    return [round(float(np.abs(track).max()), 2) for track in whole(audio)]


def test_stereo_stays_stereo(tmp_path: Path) -> None:
    """Left and right stay what they are, and mono is one track, not two."""
    assert levels(tmp_path / "2", 2, None) == [0.0, 0.4]
    assert levels(tmp_path / "1", 1, None) == [0.4]


@pytest.fixture(autouse=True)
def folders(tmp_path: Path) -> None:
    for name in ("1", "2", "3", "4"):
        (tmp_path / name).mkdir()


def test_every_channel_is_in_the_mix(tmp_path: Path) -> None:
    """Of more channels than two none is lost: a centre is on both sides, and so is what no loudspeaker is known for;
    with a track for each channel they are kept apart.
    """
    left, right = levels(tmp_path / "1", 3, "3.0")  # the centre comes last
    assert left == right
    assert left > 0.1
    left, right = levels(tmp_path / "2", 5, "5 channels")
    assert left == right == 0.08
    assert levels(tmp_path / "3", 3, "3.0", per_channel=True) == [0.0, 0.0, 0.4]


@pytest.mark.parametrize(("over", "refused"), [(0, False), (1, False), (2, True)])
def test_the_limit_is_the_same_at_every_rate(tmp_path: Path, over: int, refused: bool) -> None:
    """A recording that is not too long for the recogniser, by a sample or so, is not too long for the separator."""
    source = write_audio(tmp_path / "a.wav", np.pad(tone(2.0, RATE), ((0, 0), (0, over))), RATE)
    for rate in (16_000, RATE):
        with pytest.raises(TooLong) if refused else nullcontext():
            decoded(source, tmp_path / f"at-{rate}", rate=rate, max_duration=2.0)


def test_times_are_the_same_at_every_rate(tmp_path: Path) -> None:
    """A gap in the timestamps becomes as much silence at 44.1 kHz as at 16 kHz."""
    made = clicks(4.0, [0.5, 3.5], 16_000)
    source = write_audio(tmp_path / "a.mka", made, pieces=[(0.0, 1.0, 0.0), (3.0, 4.0, 9.0)])
    narrow, wide = decoded(source, tmp_path / "n"), decoded(source, tmp_path / "w", rate=RATE, stereo=True)
    assert wide.info.duration == pytest.approx(narrow.info.duration, abs=1e-3)
    assert onsets(whole(narrow)[0]) == pytest.approx([0.5, 9.5], abs=2e-3)
    assert onsets(whole(wide)[0], RATE) == pytest.approx([0.5, 9.5], abs=2e-3)
