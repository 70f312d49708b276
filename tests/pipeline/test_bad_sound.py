"""Sound that is no speech, or bad speech, through detection and a real decoder: nothing is made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sound import hush, noise
from whisper_rig import model_of

from pipeline.devices import DeviceSettings
from pipeline.models import Models
from pipeline.models.base import Recogniser, Request
from pipeline.stages.decode import decode
from pipeline.stages.transcribe import transcribe
from pipeline.stages.vad import speech, windows
from pipeline.types import SAMPLE_RATE
from tests.pipeline import media
from tests.pipeline.test_transcribe import Sound


@pytest.fixture(scope="module")
def whisper(fixed_whisper: Path) -> Recogniser:
    return Models(DeviceSettings(device="cpu", compute_type="float32")).get(model_of(fixed_whisper))


def chords(seconds: float) -> NDArray[np.float32]:
    """Organ chords with overtones, one a second: music without a voice."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    roots = np.array([220.0, 174.6, 196.0, 164.8])[(time % 4).astype(int)]
    sound = sum(
        np.sin(2 * np.pi * np.cumsum(roots * third * overtone) / SAMPLE_RATE) / overtone
        for third in (1.0, 1.25, 1.5)
        for overtone in (1, 2, 3)
    )
    return (0.1 * np.asarray(sound)).astype(np.float32)


def click() -> NDArray[np.float32]:
    sound = np.zeros(5 * SAMPLE_RATE, np.float32)
    sound[2 * SAMPLE_RATE : 2 * SAMPLE_RATE + 16] = 0.9
    return sound


def tone() -> NDArray[np.float32]:
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(30 * SAMPLE_RATE) / SAMPLE_RATE)).astype(np.float32)


def white() -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(3).standard_normal(20 * SAMPLE_RATE)).astype(np.float32)


NO_SPEECH = {
    "silence": np.zeros(20 * SAMPLE_RATE, np.float32),
    "next to silence": hush(10),
    "music": chords(20),
    "a click": click(),
    "a tone": tone(),
    "white noise": white(),
}


@pytest.mark.parametrize("name", NO_SPEECH)
def test_nothing_is_made_up(name: str, whisper: Recogniser) -> None:
    """Silence, music, a click, a tone, noise: no words. (The decoder would say some: it takes any noise for words.)"""
    sound = Sound(NO_SPEECH[name].reshape(1, -1))
    spans = speech(sound, 0, lambda done, total: None)  # type: ignore[arg-type]
    result = transcribe(sound, [windows(spans)], whisper, Request(), lambda *report: None)
    assert result.channels[0].words == ()
    assert result.warnings == ()


def test_clipped_shouting_is_heard(tmp_path: Path) -> None:
    """A recording driven twenty times over full scale is still speech, and found where it was."""
    audio = decode(
        media.JFK,
        tmp_path,
        per_channel=False,
        max_duration=None,
        report=lambda done, total: None,
        opened=lambda claimed, channels: None,
    )
    voice = audio.read(0, 0, audio.samples)
    loud = Sound(np.clip(20 * voice, -1, 1).reshape(1, -1))
    found = [sum(s.end - s.start for s in speech(one, 0, lambda done, total: None)) for one in (audio, loud)]  # type: ignore[arg-type]
    assert found[1] == pytest.approx(found[0], rel=0.4)


def test_words_beside_the_speech_are_dropped(whisper: Recogniser) -> None:
    """A window in which nobody speaks, as far as is known, has no words, whatever the decoder says."""
    from pipeline.models.base import Window

    sound = noise(3.2)
    assert [len(b.words) for b in whisper.transcribe([Window(0, sound, ())], Request(language="en"))] == [0]
    assert [len(b.words) for b in whisper.transcribe([Window(0, sound)], Request(language="en"))] == [3]
