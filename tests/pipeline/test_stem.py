"""Separated voices on their way: resampled in blocks, kept as FLAC, read again."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.stages.audio import Audio, TrackWriter
from pipeline.stages.downsample import ByBlocks, ByLibav, Downsampling, downsampling
from pipeline.stages.stem import read_stem, write_stem
from pipeline.types import MediaInfo
from tests.pipeline.demucs_rig import whole

INFO = MediaInfo(duration=1, channels=1, container="wav", codec="pcm_s16le")


def tracks_of(folder: Path, pcm: NDArray[np.int16]) -> Audio:
    """Sound on disk as decoding leaves it; ``pcm``: shape (samples, tracks)."""
    folder.mkdir()
    with TrackWriter(folder, pcm.shape[1]) as writer:
        writer.write(pcm)
    return Audio(folder, INFO, pcm.shape[1], len(pcm))


def noise(samples: int, tracks: int) -> NDArray[np.int16]:
    return np.random.default_rng(samples).integers(-32768, 32768, (samples, tracks)).astype(np.int16)


@pytest.mark.parametrize(("samples", "tracks"), [(1, 1), (5_000, 1), (300_001, 2), (40_000, 12)])
def test_flac_keeps_every_sample(tmp_path: Path, samples: int, tracks: int) -> None:
    """What was written as FLAC comes back to the bit, the loudest and the softest too, with more tracks than FLAC has
    channels; and nothing else is left.
    """
    audio = tracks_of(tmp_path / "a", noise(samples, tracks))
    write_stem(audio, tmp_path / "s.flac")
    (tmp_path / "b").mkdir()
    found = read_stem(tmp_path / "s.flac", audio, tmp_path / "b")
    assert found is not None
    assert np.array_equal(whole(found), whole(audio))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "s.flac"]
    assert len(list((tmp_path / "b").iterdir())) == tracks


@pytest.mark.parametrize("damage", ["cut", "of another recording", "no FLAC", "empty"])
def test_a_damaged_stem_is_no_stem(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    """A file that does not hold just these voices is not believed, and the log says so."""
    audio = tracks_of(tmp_path / "a", noise(50_000, 1))
    path = tmp_path / "s.flac"
    write_stem(tracks_of(tmp_path / "c", noise(40_000, 1)) if damage == "of another recording" else audio, path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-30_000])
    elif damage != "of another recording":
        path.write_bytes(b"" if damage == "empty" else b"no sound at all" * 100)
    (tmp_path / "b").mkdir()
    with caplog.at_level(logging.WARNING):
        assert read_stem(path, audio, tmp_path / "b") is None
    assert "s.flac cannot be used" in caplog.text


def test_a_stem_is_whole_or_not_there(tmp_path: Path) -> None:
    """When a track cannot be read, no half of a file is left under the stem's name, nor beside it."""
    audio = tracks_of(tmp_path / "a", noise(50_000, 2))
    (tmp_path / "a" / "track-1.s16").write_bytes(b"")
    with pytest.raises(OSError, match="samples"):
        write_stem(audio, tmp_path / "s.flac")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def drained(resampler: Downsampling, sound: NDArray[np.float32], step: int) -> NDArray[np.int16]:
    blocks = []
    for start in range(0, sound.shape[1], step):
        blocks += list(resampler.push(sound[:, start : start + step]))
    return np.concatenate([*blocks, *resampler.drain()])


@pytest.mark.heavy
@pytest.mark.parametrize("rate", [44_100, 48_000, 22_050, 8_000])
@pytest.mark.parametrize("seconds", [0.01, 10.0, 23.7])
def test_blocks_are_resampled_as_the_whole(rate: int, seconds: float) -> None:
    """A resampler of whole arrays, given blocks: the same samples as of all of it at once."""
    import julius
    import torch

    def convert(block: NDArray[np.float32]) -> NDArray[np.float32]:
        # Silence around it, which torchaudio assumes; julius repeats the edges.
        edge = rate // 50
        wide = np.pad(block, ((0, 0), (edge, edge)))
        made = julius.resample_frac(torch.from_numpy(wide), rate, 16_000).numpy()
        return made[:, 320 : made.shape[1] - 320]

    rate_seconds = round(rate * seconds)
    sound = (0.3 * np.random.default_rng(rate).standard_normal((2, rate_seconds))).astype(np.float32)
    expected = np.clip(np.rint(convert(sound) * 32768), -32768, 32767).T
    found = drained(ByBlocks(convert, rate, 2), sound, 10_007)
    assert len(found) == -(-rate_seconds * 16_000 // rate)
    count = min(len(found), len(expected))
    assert abs(len(found) - len(expected)) <= 1
    assert np.abs(found[:count] - expected[:count]).max() <= 1


def test_many_tracks_stay_apart() -> None:
    """libav resamples each of twelve tracks by itself."""
    t = np.arange(44_100) / 44_100
    sound = np.stack([0.02 * (nth + 1) * np.sin(2 * np.pi * 500 * t) for nth in range(12)]).astype(np.float32)
    found = drained(ByLibav(44_100, 12), sound, 3_001)
    assert found.shape == (16_000, 12)
    loud = np.abs(found[2_000:14_000]).max(axis=0) / 32768
    assert np.allclose(loud, 0.02 * np.arange(1, 13), rtol=0.02)


def test_without_torchaudio_libav_resamples(caplog: pytest.LogCaptureFixture) -> None:
    """Where torchaudio or its GPU is not to be had, voices from a GPU are resampled on the CPU, and the log says so."""
    try:
        import torch

        if torch.cuda.is_available():
            pytest.skip("there is a GPU")
    except ImportError:
        pass
    with caplog.at_level(logging.WARNING):
        assert isinstance(downsampling(44_100, 1, "cuda"), ByLibav)
    assert "torchaudio cannot be used" in caplog.text
    caplog.clear()
    assert isinstance(downsampling(44_100, 1, "cpu"), ByLibav)
    assert not caplog.text
