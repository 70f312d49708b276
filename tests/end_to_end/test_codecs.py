"""The same speech in other codecs and containers, video among them: the same words at the same times. And Deepgram's
own SDK reads the result.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import pytest
from deepgram.types.listen_v1response import ListenV1Response

from handler.settings import Settings
from tests.end_to_end import recordings
from tests.end_to_end.bucket_rig import FolderBucket, Rig, SkippingClock, words_of
from tests.pipeline import media
from tests.pipeline.media import Sound

MakeRig = Callable[..., Rig]

LIKE = 0.8  # of the words heard in the FLAC
SECONDS = 0.3  # that a word may be off
LENGTH = 7.9  # seconds of examples/jfk.flac; in its last sentence sphinx hears other words in each codec
SAID = "and so my fellow americans ask not what your country can do for you"

Write = Callable[[Path, Sound], Path]


def audio(name: str, codec: str, rate: int, **given: Any) -> Write:
    """Sound comes at 16 kHz and is encoded at ``rate``."""

    def write(folder: Path, sound: Sound) -> Path:
        return media.write_audio(folder / name, recordings.resampled(sound, rate), rate, codec, **given)

    return write


def video(name: str) -> Write:
    def write(folder: Path, sound: Sound) -> Path:
        seconds = sound.shape[1] / recordings.RATE
        return media.write_video(folder / name, seconds, recordings.resampled(sound, 48_000), bit_rate=128_000)

    return write


CODECS: dict[str, Write] = {
    "mp3": audio("a.mp3", "libmp3lame", 44_100, form="fltp", bit_rate=128_000),
    "opus": audio("a.opus", "libopus", 48_000, bit_rate=128_000),
    "aac": audio("a.m4a", "aac", 44_100, form="fltp", bit_rate=128_000),
    "wav, 24 bits": audio("a.wav", "pcm_s24le", 48_000, form="s32"),
    "webm": audio("a.webm", "libopus", 48_000, bit_rate=128_000),
    "mp4 video": video("a.mp4"),
}


@pytest.fixture(scope="module")
def rigged(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> tuple[Rig, dict[str, Any]]:
    """A rig that heard the speech as FLAC already, and the result."""
    folder = tmp_path_factory.mktemp("codecs")
    settings = Settings(
        model="sphinx", home=folder / "home", work_dir=folder / "work", settle_seconds=0.0, backoff_seconds=0.01
    )
    rig = Rig(FolderBucket(folder / "bucket"), request.getfixturevalue("engine"), settings, SkippingClock())
    rig.drop("jfk.flac", recordings.flac(folder, LENGTH))
    rig.drain()
    return rig, rig.result("jfk.flac")


def test_what_was_said(rigged: tuple[Rig, dict[str, Any]]) -> None:
    """Sphinx, poor as it is, hears most of the words that are said."""
    _, result = rigged
    assert alike(SAID.split(), [word["word"] for word in words_of(result)]) >= 0.5


@pytest.mark.parametrize("codec", CODECS)
def test_another_codec(codec: str, rigged: tuple[Rig, dict[str, Any]], tmp_path: Path) -> None:
    """The transcript is that of the FLAC, to four words in five; what is the same is at the same time."""
    rig, reference = rigged
    path = CODECS[codec](tmp_path, recordings.speech(LENGTH))
    rig.drop(f"{codec}/{path.name}", path)
    rig.drain()
    result = rig.result(f"{codec}/{path.name}")
    assert result["metadata"]["duration"] == pytest.approx(reference["metadata"]["duration"], abs=SECONDS)
    expected, found = words_of(reference), words_of(result)
    assert alike([word["word"] for word in expected], [word["word"] for word in found]) >= LIKE
    matcher = SequenceMatcher(None, [word["word"] for word in expected], [word["word"] for word in found], False)
    for block in matcher.get_matching_blocks():
        for one, other in zip(expected[block.a :][: block.size], found[block.b :][: block.size], strict=True):
            assert other["start"] == pytest.approx(one["start"], abs=SECONDS), one["word"]
            assert other["end"] == pytest.approx(one["end"], abs=SECONDS), one["word"]


def alike(expected: list[str], found: list[str]) -> float:
    """The share of the words expected that were found, in their order."""
    matcher = SequenceMatcher(None, expected, found, False)
    return sum(block.size for block in matcher.get_matching_blocks()) / len(expected)


def test_the_sdk_reads_a_result(rigged: tuple[Rig, dict[str, Any]]) -> None:
    """Deepgram's own SDK takes a published result for a response of its own, attribute by attribute."""
    rig, plain = rigged
    response = ListenV1Response.model_validate_json(rig.read("results/jfk.flac.json") or b"")
    metadata = response.metadata
    assert metadata.channels == 1
    assert metadata.duration == pytest.approx(LENGTH, abs=0.1)
    assert metadata.request_id == json.loads(rig.read("progress/jfk.flac.json") or b"")["job_id"]
    assert metadata.created.year >= 2024
    assert len(metadata.models) == 1
    [channel] = response.results.channels
    assert channel.alternatives is not None
    [best] = channel.alternatives
    assert best.words is not None
    assert len(best.words) == len(words_of(plain)) > 10
    assert best.transcript == " ".join(str(word.word) for word in best.words)
    for word in best.words:
        assert isinstance(word.word, str)
        assert isinstance(word.start, float)
        assert isinstance(word.end, float)
        assert isinstance(word.confidence, float)
    assert response.results.utterances
    spoken = sum(len(utterance.words or ()) for utterance in response.results.utterances)
    assert spoken == len(best.words)
