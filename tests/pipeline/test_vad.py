"""Speech detection: the model's own probabilities, spans by hysteresis, windows that lose no speech."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.stages import vad
from pipeline.stages.audio import Audio, TrackWriter
from pipeline.stages.decode import decode
from pipeline.stages.vad import FRAME, LONGEST, Thresholds, spans_of, speech, windows
from pipeline.types import MediaInfo, Span, SpeechWindow
from tests.pipeline import media

RATE = 16_000


def decoded(source: Path, folder: Path) -> Audio:
    return decode(
        source,
        folder,
        per_channel=False,
        max_duration=None,
        report=lambda done, total: None,
        opened=lambda claimed, channels: None,
    )


def audio_of(sound: np.ndarray, folder: Path) -> Audio:
    pcm = np.round(sound * 32767).astype(np.int16).reshape(-1, 1)
    with TrackWriter(folder, 1) as writer:
        writer.write(pcm)
    info = MediaInfo(duration=len(pcm) / RATE, channels=1, container="wav", codec="pcm_s16le")
    return Audio(folder, info, 1, len(pcm))


def frames(*runs: tuple[float, int]) -> np.ndarray:
    """Probabilities from (value, number of frames)."""
    return np.concatenate([np.full(count, value, np.float32) for value, count in runs])


# ── the model ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_streaming_changes_no_probability(tmp_path: Path) -> None:
    """Block by block, the probabilities are bit for bit those of faster-whisper's model over the whole recording."""
    from faster_whisper.vad import get_vad_model

    audio = decoded(media.DATA / "test.opus", tmp_path)
    whole = audio.read(0, 0, audio.samples)
    reference = get_vad_model()(np.pad(whole, (0, -len(whole) % FRAME))).reshape(-1)
    at_once = np.concatenate(list(vad.probabilities(audio, 0)))
    in_blocks = list(vad.probabilities(audio, 0, block=7))
    assert len(in_blocks) > 50
    assert np.array_equal(at_once, reference)
    assert np.array_equal(np.concatenate(in_blocks), reference)


def test_real_speech_is_found_between_silences(tmp_path: Path) -> None:
    """Speech after five seconds of silence is found where it is, and nothing is found in the silence."""
    voice = decoded(media.JFK, tmp_path)
    sound = voice.read(0, 0, voice.samples)
    padded = np.concatenate([np.zeros(5 * RATE), sound, np.zeros(5 * RATE)])
    spans = speech(audio_of(padded, tmp_path), 0, lambda done, total: None)
    assert 5.0 <= spans[0].start <= 5.6
    assert 15.4 <= spans[-1].end <= 16.5
    assert sum(span.end - span.start for span in spans) > 7.0


@pytest.mark.parametrize("level", [0.0, 0.005])
def test_speech_after_a_long_silence_is_found(level: float, tmp_path: Path) -> None:
    """After two minutes of silence, or of hiss, the sentences are found that are found after two seconds of it.

    The model's state drifts in silence: carried on for good, it misses a sentence of this recording.
    """
    voice = decoded(media.JFK, tmp_path)
    sound = voice.read(0, 0, voice.samples)
    hiss = level * np.random.default_rng(0).standard_normal(120 * RATE)
    found = []
    for seconds in (2, 120):
        padded = np.concatenate([hiss[: seconds * RATE], sound])
        spans = speech(audio_of(padded, tmp_path), 0, lambda done, total: None)
        found.append(sum(span.end - span.start for span in spans))
        assert seconds - 0.1 <= spans[0].start <= seconds + 0.5
    assert found[1] == pytest.approx(found[0], abs=0.5)


@pytest.mark.parametrize("block", [1, 7, 124, 125, 126, 1000])
def test_blocks_change_nothing_across_silences(block: int, tmp_path: Path) -> None:
    """Where the model forgets depends on the recording, not on how much of it is read at a time."""
    voice = decoded(media.JFK, tmp_path)
    sound = voice.read(0, 0, voice.samples)[: 3 * RATE]
    audio = audio_of(np.concatenate([sound, np.zeros(13 * RATE), sound, np.zeros(5 * RATE + 77)]), tmp_path)
    whole = np.concatenate(list(vad.probabilities(audio, 0)))
    assert np.array_equal(np.concatenate(list(vad.probabilities(audio, 0, block=block))), whole)


def test_no_speech(tmp_path: Path) -> None:
    """Silence, a hum and a 10 ms recording hold no speech and make no windows."""
    hum = media.tone(5.0, hertz=100.0, level=0.1)[0]
    for sound in (np.zeros(5 * RATE), hum, np.zeros(160)):
        assert windows(speech(audio_of(sound, tmp_path), 0, lambda done, total: None)) == ()


def test_progress_ends_at_the_recordings_length(tmp_path: Path) -> None:
    """Reports rise from block to block up to the recording's length, never past it."""
    reports: list[tuple[float, float | None]] = []
    speech(audio_of(np.zeros(70 * RATE + 100), tmp_path), 0, lambda done, total: reports.append((done, total)))
    assert len(reports) == 9
    assert reports == sorted(reports)
    assert reports[-1] == (70.00625, 70.00625)


# ── hysteresis ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_speech_begins_at_the_onset_and_lasts_to_the_offset() -> None:
    """Between the thresholds speech goes on but does not begin; the padding is added on both sides."""
    probability = frames((0.1, 50), (0.4, 10), (0.6, 20), (0.4, 20), (0.1, 50))
    span = Span(start=(60 * FRAME - 3200) / RATE, end=(100 * FRAME + 3200) / RATE)
    assert spans_of(probability, 150 * FRAME) == (span,)


def test_a_short_dip_is_no_pause() -> None:
    """Less than min_silence below the offset joins, more separates."""
    joined = frames((0.9, 20), (0.1, 15), (0.9, 20), (0.0, 30))
    parted = frames((0.9, 20), (0.1, 16), (0.9, 20), (0.0, 30))
    assert len(spans_of(joined, len(joined) * FRAME)) == 1
    assert len(spans_of(parted, len(parted) * FRAME)) == 2


def test_a_click_is_no_speech() -> None:
    """Less than min_speech is dropped, at the end of the recording too."""
    for tail in (0, 30):
        click = frames((0.0, 20), (0.9, 3), (0.0, tail))
        word = frames((0.0, 20), (0.9, 4), (0.0, tail))
        assert spans_of(click, len(click) * FRAME) == ()
        assert len(spans_of(word, len(word) * FRAME)) == 1


def test_spans_end_with_the_recording() -> None:
    """Speech up to a last, partial frame ends where the recording ends; padding goes neither below 0 nor past it."""
    probability = frames((0.9, 10))
    assert spans_of(probability, 9 * FRAME + 1) == (Span(start=0.0, end=(9 * FRAME + 1) / RATE),)


def test_a_long_span_is_split_where_it_is_least_like_speech() -> None:
    """Forty seconds without a pause are cut in the middle of the one dip; nothing is lost between the parts."""
    probability = frames((0.95, 700), (0.6, 3), (0.95, 547))
    first, second = spans_of(probability, 1250 * FRAME)
    assert first.end == second.start == 701.5 * FRAME / RATE
    assert (first.start, second.end) == (0.0, 40.0)


def test_thresholds_that_cannot_be() -> None:
    """An offset above the onset, or padding that makes spans overlap, is refused."""
    with pytest.raises(ValueError, match="cannot be"):
        Thresholds(onset=0.3, offset=0.5)
    with pytest.raises(ValueError, match="cannot be"):
        Thresholds(min_silence=0.3, pad=0.2)


probabilities = st.lists(
    st.tuples(st.sampled_from([0.0, 0.3, 0.4, 0.7, 1.0]), st.integers(1, 1500)), min_size=1, max_size=30
)


@settings(max_examples=60, deadline=None)
@given(runs=probabilities, cut=st.integers(0, FRAME - 1))
def test_every_frame_of_speech_lies_in_exactly_one_window(runs: list[tuple[float, int]], cut: int) -> None:
    """Spans and windows are ordered, apart, inside the track and short; no speech is in none or two."""
    probability = frames(*runs)
    length = len(probability) * FRAME - cut
    spans = spans_of(probability, length)
    packed = windows(spans)
    for sequence in (spans, packed):
        assert all(0 <= s.start < s.end <= length / RATE and s.end - s.start <= LONGEST + 1e-6 for s in sequence)
        assert all(a.end <= b.start for a, b in pairwise(sequence))
    for span in spans:
        assert sum(w.start <= span.start and span.end <= w.end for w in packed) == 1
    run = 0
    for frame, value in enumerate(probability):
        run = run + 1 if value >= 0.5 else 0
        middle = (frame + 0.5) * FRAME / RATE
        if run >= 4 and middle < length / RATE:
            assert sum(w.start <= middle < w.end for w in packed) == 1


# ── windows ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def of(*edges: tuple[float, float]) -> tuple[Span, ...]:
    return tuple(Span(start=start, end=end) for start, end in edges)


def test_neighbours_share_a_window() -> None:
    """What fits into thirty seconds is one window."""
    spans = of((1, 5), (6, 20), (25, 31))
    assert windows(spans) == (SpeechWindow(start=1, end=31, speech=spans),)


def test_windows_are_cut_at_the_longest_pauses() -> None:
    """Where there is a choice, the cut is at the longest pause, not where thirty seconds happen to be full."""
    spans = of((0, 10), (10.2, 14), (19, 24), (24.3, 29), (29.5, 40))
    packed = windows(spans)
    assert [(w.start, w.end) for w in packed] == [(0, 14), (19, 40)]
    assert [w.speech for w in packed] == [spans[:2], spans[2:]]


def test_no_more_windows_than_needed() -> None:
    """A longer pause is not worth one window more."""
    spans = of((0, 1), (9, 28), (28.5, 29.5), (30, 58))
    assert len(windows(spans)) == 2


def test_exactly_thirty_seconds_fit() -> None:
    """A span of thirty seconds whose float length is a hair more is taken; a longer one is refused."""
    start = 0.1 + 0.2
    assert len(windows(of((start, start + 30.0 + 1e-9)))) == 1
    with pytest.raises(ValueError, match="longer"):
        windows(of((0, 30.01)))


def test_ten_hours_of_spans_are_packed_quickly_and_in_full() -> None:
    """Eighteen thousand spans: every one lies in one window, and the windows are few."""
    spans = of(*((2.0 * i, 2.0 * i + 1.5) for i in range(18_000)))
    packed = windows(spans)
    assert len(packed) == 18_000 / 15
    assert packed[0].start == 0.0
    assert packed[-1].end == spans[-1].end
