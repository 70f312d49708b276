"""Separation of voices: the same as demucs itself gives, in flat memory, whatever the batches and the recording."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.models.demucs import LoadedDemucs, load_demucs
from pipeline.stages.audio import Audio, TrackWriter
from pipeline.stages.downsample import ByLibav
from pipeline.stages.overlap import Block, OverlapAdd, segments
from pipeline.stages.separate import separate
from pipeline.types import MediaInfo, Warning
from tests.pipeline.demucs_rig import RATE, by_demucs, decoded, save_net, tiny_net, whole
from tests.pipeline.media import write_audio

INFO = MediaInfo(duration=1, channels=1, container="wav", codec="pcm_s16le")


class Passing:
    """A separator to which everything is voice; counts what it is given."""

    device = "cpu"

    def __init__(self, rate: int = RATE, channels: int = 2, segment: int = 20_000, batch: int = 3) -> None:
        self.rate, self.channels, self.segment, self.batch = rate, channels, segment, batch
        self.fixed = True
        self.given: list[int] = []

    def voices(self, stretches: Sequence[Block]) -> list[Block]:
        assert all(one.shape == (self.channels, self.segment) and one.dtype == np.float32 for one in stretches)
        self.given.append(len(stretches))
        return list(stretches)

    def warnings(self) -> tuple[Warning, ...]:
        return (Warning(parameter="stemming", type="degraded", message="slowly"),)


def sound(seconds: float, channels: int, rate: int = RATE, seed: int = 0) -> NDArray[np.float64]:
    """Noise and tones that differ from channel to channel, with an offset."""
    chance = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    tones = [0.2 * np.sin(2 * np.pi * (200 + 130 * nth) * t * (1 + 0.1 * t)) for nth in range(channels)]
    return np.stack(tones) + 0.05 * chance.standard_normal((channels, len(t))) + 0.02


def separated(
    tmp_path: Path, made: NDArray[np.float64], separator: Any, per_channel: bool = False, name: str = "a"
) -> tuple[Audio, Audio, Audio]:
    """(the recording for recognisers, the recording for the separator, the voices)"""
    source = write_audio(tmp_path / f"{name}.wav", made, RATE)
    audio = decoded(source, tmp_path / name / "narrow", per_channel=per_channel)
    wide = decoded(source, tmp_path / name / "wide", per_channel=per_channel, rate=separator.rate, stereo=True)
    folder = tmp_path / name / "voices"
    folder.mkdir()
    return audio, wide, separate(wide, audio, folder, separator, lambda done, total: None, per_channel=per_channel)


def as_track(voices: NDArray[np.float32], samples: int) -> NDArray[np.float32]:
    """Channels at 44.1 kHz as one track at 16 kHz."""
    resampler = ByLibav(RATE, 1)
    blocks = [*resampler.push(voices.mean(0, keepdims=True)), *resampler.drain()]
    track = np.concatenate(blocks)[:, 0][:samples] / np.float32(32768)
    return np.pad(track, (0, samples - len(track)))


def loaded(tmp_path: Path, batch: int, **changed: Any) -> tuple[Any, LoadedDemucs]:
    net = tiny_net(**changed)
    separator = load_demucs(save_net(net, tmp_path / "net", **changed))
    return net, Batched(separator, batch)  # type: ignore[return-value]


class Batched:
    """A loaded model that likes other batches than it would here."""

    def __init__(self, separator: LoadedDemucs, batch: int) -> None:
        self._separator = separator
        self.batch = batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._separator, name)

    def voices(self, stretches: Sequence[Block]) -> list[Block]:
        return self._separator._step(self._separator._ladder.model, stretches)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("seconds", "channels", "batch"),
    [(0.02, 2, 1), (0.4, 1, 1), (0.975, 2, 2), (1.0, 2, 1), (1.6, 2, 4), (3.3, 2, 3), (3.3, 1, 1)],
)
def test_the_same_as_demucs(tmp_path: Path, seconds: float, channels: int, batch: int) -> None:
    """Shorter than a segment, as long as one, longer; mono and stereo; batches: what demucs' apply_model makes of the
    recording at once, to one step of 16 bits.
    """
    net, separator = loaded(tmp_path, batch)
    audio, wide, voices = separated(tmp_path, sound(seconds, channels), separator)
    mix = whole(wide)
    expected = by_demucs(net, mix if channels == 2 else np.repeat(mix, 2, axis=0))
    track = as_track(expected, audio.samples)
    assert voices.samples == audio.samples
    assert np.abs(whole(voices)[0] - track).max() <= 1.01 / 32768
    assert np.abs(track).max() > 20 / 32768, "nothing was compared"


@pytest.mark.heavy
@pytest.mark.parametrize("changed", [{"use_train_segment": False}, {"audio_channels": 1}, {"norm_starts": 0}])
def test_other_nets(tmp_path: Path, changed: dict[str, Any]) -> None:
    """A net that takes segments of any length, one of a single channel, and one whose sources depend on each other give
    what demucs makes of them, too.
    """
    net, separator = loaded(tmp_path, 2, **changed)
    source = write_audio(tmp_path / "a.wav", sound(2.2, 2), RATE)
    audio = decoded(source, tmp_path / "narrow")
    wide = decoded(source, tmp_path / "wide", rate=RATE, stereo=separator.channels > 1)
    (tmp_path / "voices").mkdir()
    voices = separate(wide, audio, tmp_path / "voices", separator, lambda done, total: None, per_channel=False)
    assert np.abs(whole(voices)[0] - as_track(by_demucs(net, whole(wide)), audio.samples)).max() <= 1.01 / 32768


@pytest.mark.heavy
def test_each_channel_by_itself(tmp_path: Path) -> None:
    """With a track for each channel, each is separated as if it were a recording of its own."""
    _, separator = loaded(tmp_path, 4)
    made = sound(2.0, 3)
    _, _, voices = separated(tmp_path, made, separator, per_channel=True)
    assert voices.tracks == 3
    for track in range(3):
        _, _, alone = separated(tmp_path, made[track : track + 1], separator, name=f"alone-{track}")
        assert np.abs(whole(voices)[track] - whole(alone)[0]).max() <= 1.01 / 32768


@pytest.mark.parametrize("per_channel", [False, True])
def test_nothing_moves(tmp_path: Path, per_channel: bool) -> None:
    """What the separator leaves as it is comes out where it was, sample for sample, as loud as it was."""
    audio, _, voices = separated(tmp_path, sound(3.1, 2), Passing(), per_channel)
    assert np.abs(whole(voices) - whole(audio)).max() < 3 / 32768
    assert voices.info == audio.info
    assert [warning.message for warning in voices.warnings] == ["slowly"]


def test_silence_is_not_asked_about(tmp_path: Path) -> None:
    """Of digital silence the model is asked nothing, and silence of the same length comes out."""
    separator = Passing()
    audio, _, voices = separated(tmp_path, np.zeros((2, 2 * RATE)), separator)
    assert not separator.given
    assert voices.samples == audio.samples
    assert not whole(voices).any()


def test_segments_go_in_batches(tmp_path: Path) -> None:
    """As many segments as the separator likes are computed at once."""
    separator = Passing(batch=4)
    separated(tmp_path, sound(3.0, 2), separator)
    count = len(list(segments(3 * RATE, 20_000, fixed=True)))
    assert separator.given == [4] * (count // 4) + [count % 4] * (count % 4 > 0)


def test_progress_and_stopping(tmp_path: Path) -> None:
    """Progress only grows, up to the whole; what the report raises comes through."""
    source = write_audio(tmp_path / "a.wav", sound(3.0, 2), RATE)
    audio, wide = decoded(source, tmp_path / "n"), decoded(source, tmp_path / "w", rate=RATE, stereo=True)
    (tmp_path / "v").mkdir()
    told: list[tuple[float, float | None]] = []
    separate(wide, audio, tmp_path / "v", Passing(), lambda done, total: told.append((done, total)), per_channel=False)
    done = [one for one, _ in told]
    assert done == sorted(done)
    assert told[-1] == (3.0, 3.0)

    def stop(done: float, total: float | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        separate(wide, audio, tmp_path / "v", Passing(), stop, per_channel=False)


def test_sound_at_another_rate_is_refused(tmp_path: Path) -> None:
    """A recording at a rate that is not the separator's would come out at the wrong pitch: ValueError."""
    source = write_audio(tmp_path / "a.wav", sound(0.5, 2), RATE)
    audio = decoded(source, tmp_path / "n")
    with pytest.raises(ValueError, match="16000 Hz"):
        separate(audio, audio, tmp_path, Passing(), lambda done, total: None, per_channel=False)


def peak_of(tmp_path: Path, seconds: int) -> int:
    """Bytes allocated at most while a recording of noise is separated."""
    rate = 16_000
    folder, voices = tmp_path / f"{seconds}", tmp_path / f"{seconds}-voices"
    folder.mkdir()
    voices.mkdir()
    with TrackWriter(folder, 1) as writer:
        for second in range(seconds):
            noise = np.random.default_rng(second).integers(-3000, 3000, (rate, 1))
            writer.write(noise.astype(np.int16))
    audio = Audio(folder, INFO, 1, rate * seconds)
    tracemalloc.start()
    separate(audio, audio, voices, Passing(rate), lambda done, total: None, per_channel=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    """Fifteen times the length takes no more memory."""
    short, long = peak_of(tmp_path, 80), peak_of(tmp_path, 1200)
    assert long < 1.05 * short


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("length", [1, 2, 74, 75, 76, 99, 100, 101, 150, 151, 1000])
def test_segments_add_up(length: int, fixed: bool) -> None:
    """Whatever the length, cross-faded segments that were not changed are the track again, each sample given once."""
    track = np.random.default_rng(length).standard_normal((2, length)).astype(np.float32)
    around = np.pad(track, ((0, 0), (100, 100)))
    added = OverlapAdd(length, 100, 2)
    found = []
    for one in segments(length, 100, fixed=fixed):
        assert one.samples == (100 if fixed else one.stop - one.start)
        found.append(added.push(one.trimmed(around[:, 100 + one.first : 100 + one.first + one.samples])))
    assert np.allclose(np.concatenate(found, axis=1), track, atol=1e-6)
