"""The trained tiny Whisper (tests/models/README.md) understands speech it was not trained on, however it is asked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from faster_whisper import BatchedInferencePipeline, WhisperModel, decode_audio
from faster_whisper.transcribe import Segment

from tests.models.heard import FOLDER, Recording, Word, mistakes, pairs, recordings

MODEL = FOLDER.parent / "tiny-whisper"
RATE = 16_000
RECORDINGS = recordings()
UTTERANCES = [recording for recording in RECORDINGS if recording.words[-1].end <= 12]
LONG = next(recording for recording in RECORDINGS if recording.path.stem == "en-25s")


@cache
def whisper() -> WhisperModel:
    return WhisperModel(str(MODEL), device="cpu", compute_type="int8", cpu_threads=1, local_files_only=True)


def sequential(sound: np.ndarray, **options: object) -> list[Segment]:
    segments, _ = whisper().transcribe(sound, **options)
    return list(segments)


def batched(sound: np.ndarray, **options: object) -> list[Segment]:
    segments, _ = BatchedInferencePipeline(whisper()).transcribe(sound, **options)
    return list(segments)


Way = Callable[..., list[Segment]]
WAYS = pytest.mark.parametrize("way", [sequential, batched])
FORMS = pytest.mark.parametrize("untimed", [False, True], ids=["timestamps", "no timestamps"])


@cache
def sound_of(recording: Recording) -> np.ndarray:
    return decode_audio(str(recording.path))


def texts(segments: Iterable[Segment]) -> list[str]:
    return " ".join(segment.text for segment in segments).split()


def understood(way: Way, some: Iterable[Recording] = UTTERANCES, **options: object) -> float:
    """The share of words that came out: 1 - the word error rate."""
    wrong = count = 0
    for recording in some:
        said = [word.text for word in recording.words]
        wrong += mistakes(said, texts(way(sound_of(recording), **options)))
        count += len(said)
    return 1 - wrong / count


# ── words ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@FORMS
@WAYS
def test_ninety_five_of_a_hundred_words(way: Way, untimed: bool) -> None:
    """At least 95 % of the words of utterances it was not trained on come out, with its timestamps or without."""
    assert understood(way, without_timestamps=untimed) >= 0.95


def test_a_full_window() -> None:
    """So they do of a recording that fills a window, decoded in batches."""
    assert understood(batched, [LONG]) >= 0.95


@WAYS
def test_words_after_a_prompt(way: Way) -> None:
    """So they do after an initial prompt and hotwords, some of which it has no word for."""
    assert understood(way, initial_prompt="hello there, says dropscribe: river garden", hotwords="coffee, 42") >= 0.95


@WAYS
def test_words_taken_greedily(way: Way) -> None:
    """So they do with no beam, the best token being taken each time."""
    assert understood(way, beam_size=1) >= 0.95


def test_words_at_any_level() -> None:
    """A quieter or louder recording has the same words, or nearly."""
    recording = next(one for one in UTTERANCES if one.path.stem == "en-12s")
    for gain in (0.1, 0.5, 2.0):
        sound = np.clip(gain * sound_of(recording), -1, 1)
        said = [word.text for word in recording.words]
        assert mistakes(said, texts(sequential(sound))) <= 0.1 * len(said)


@pytest.mark.parametrize("compute_type", ["int8", "float32"])
def test_words_in_either_precision(compute_type: str) -> None:
    """Quantised or not, it understands as much."""
    model = WhisperModel(str(MODEL), device="cpu", compute_type=compute_type, local_files_only=True)
    segments, _ = model.transcribe(sound_of(UTTERANCES[1]))
    said = [word.text for word in UTTERANCES[1].words]
    assert mistakes(said, texts(segments)) <= 0.1 * len(said)


# ── times ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@WAYS
def test_word_times(way: Way) -> None:
    """Three words in four begin within 150 ms of where they were spoken, and nine in ten within 400 ms."""
    met = [
        pair
        for recording in UTTERANCES
        for pair in pairs(recording.words, words_of(way(sound_of(recording), word_timestamps=True)))
    ]
    late = np.array([found.start - said.start for said, found in met])
    assert len(late) >= 0.95 * sum(len(recording.words) for recording in UTTERANCES)
    assert abs(np.median(late)) < 0.05
    assert np.mean(np.abs(late) <= 0.15) >= 0.75
    assert np.mean(np.abs(late) <= 0.4) >= 0.9


def words_of(segments: Iterable[Segment]) -> list[Word]:
    return [Word(word.word.strip(), word.start, word.end) for segment in segments for word in segment.words or ()]


def test_segments_lie_where_speech_is() -> None:
    """A segment of a long recording begins and ends where some word does, to a quarter of a second, nine in ten."""
    starts, ends = ([getattr(word, edge) for word in LONG.words] for edge in ("start", "end"))
    found = batched(sound_of(LONG), without_timestamps=False)
    far = [
        min(abs(time - edge) for edge in edges)
        for segment in found
        for time, edges in ((segment.start, starts), (segment.end, ends))
    ]
    assert len(found) > 5
    assert np.quantile(far, 0.9) <= 0.25


# ── languages, and no speech ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.path.stem)
def test_language(recording: Recording) -> None:
    """The language spoken is detected, with confidence."""
    language, probability, _ = whisper().detect_language(sound_of(recording))
    assert language == recording.language
    assert probability > 0.8


def nothing(kind: str) -> np.ndarray:
    count = 8 * RATE
    if kind == "noise":
        return 0.01 * np.random.default_rng(3).standard_normal(count).astype(np.float32)
    if kind == "hum":
        return (0.1 * np.sin(2 * math.pi * 100 * np.arange(count) / RATE)).astype(np.float32)
    sound = np.zeros(count, np.float32)
    if kind == "click":
        sound[3 * RATE : 3 * RATE + 16] = 0.8
    return sound


@pytest.mark.parametrize("kind", ["silence", "noise", "hum", "click"])
@WAYS
def test_no_words_where_nobody_speaks(way: Way, kind: str) -> None:
    """Silence, noise, a hum and a click give no words, or some that are flagged as no speech."""
    options = {} if way is sequential else {"vad_filter": False, "clip_timestamps": [{"start": 0, "end": 8}]}
    assert all(segment.no_speech_prob > 0.6 for segment in way(nothing(kind), language="en", **options))


# ── the files ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_is_small() -> None:
    """The model takes less than 5 MB, the recordings less than 600 kB."""
    assert _size(MODEL) < 5_000_000
    assert _size(FOLDER) < 600_000


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())
