"""The tiny HTDemucs of tests/models, through the whole of separation: voices come out of music."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.models.demucs import load_demucs
from pipeline.voices import STEM, voices
from tests.pipeline.demucs_rig import decoded, whole
from tests.pipeline.media import write_audio

TINY = Path(__file__).parents[1] / "models" / "tiny-demucs"


@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(4))
def test_voices_come_out_of_music(tmp_path: Path, seed: int) -> None:
    """Voices and songs it was not trained on, mixed at one level, in a stereo file at 48 kHz: the music is noticed, and
    the voices' signal-to-distortion ratio rises by at least 5 dB.
    """
    from tests.models.make_tiny_demucs import mixture, sdr
    from tests.pipeline.synthetic_sound import resampled

    music, said = mixture(seed)
    mix = resampled(music + said, 16_000, 48_000)
    source = write_audio(tmp_path / "a.wav", 0.5 * np.stack([mix, mix]), 48_000)
    audio = decoded(source, tmp_path / "a")
    found = voices(
        source,
        audio,
        tmp_path / "v",
        tmp_path / STEM,
        lambda: load_demucs(TINY),
        lambda done, total: None,
        asked="true",
    )
    assert found is not None
    before, after = (sdr(0.5 * said, whole(one)[0].astype(np.float64)) for one in (audio, found))
    assert after - before >= 5.0


def test_it_is_small() -> None:
    """A fixture is under 5 MB with all that belongs to it, and says what it is."""
    files = [path for name in ("tiny-demucs", "tiny-demucs-heard") for path in (TINY.parent / name).iterdir()]
    assert sum(path.stat().st_size for path in files) < 5_000_000
    assert "no use on real recordings" in (TINY / "README.md").read_text()
