"""The stage: tracks and windows in, one transcript out, in order, with progress on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sound import hush, noise

from pipeline.catalog import Model, resolve
from pipeline.devices import DeviceSettings
from pipeline.errors import OptionsError
from pipeline.models import Models
from pipeline.models.base import Batch, Request, Window
from pipeline.stages.transcribe import transcribe
from pipeline.types import SAMPLE_RATE, MediaInfo, Span, SpeechWindow, Transcript, Warning, Word

DAMAGE = Warning(parameter="source", type="damaged", message="Some of it was skipped.")


@dataclass
class Sound:
    """Decoded sound in memory; remembers what was read of it."""

    data: NDArray[np.float32]  # (tracks, samples)
    warnings: tuple[Warning, ...] = ()
    reads: list[tuple[int, int, int]] = field(default_factory=list)

    @property
    def info(self) -> MediaInfo:
        return MediaInfo(duration=self.samples / SAMPLE_RATE, channels=2, container="wav", codec="pcm_s16le")

    @property
    def tracks(self) -> int:
        return len(self.data)

    @property
    def samples(self) -> int:
        return self.data.shape[1]

    def read(self, track: int, start: int, stop: int) -> NDArray[np.float32]:
        self.reads.append((track, start, stop))
        return self.data[track, start:stop]


class Echo:
    """A recogniser that says, for each window, a word with its start and the loudness of its first sample."""

    punctuates = False
    fills_windows = False

    def __init__(self, model: Model) -> None:
        self.model = model
        self.longest = 0
        self.speech: list[tuple[tuple[float, float], ...] | None] = []

    def check(self, request: Request) -> tuple[Warning, ...]:
        if request.language == "xx":
            raise OptionsError("language: xx is unknown")
        hint = Warning(parameter="hotwords", type="unsupported_option", message="No effect.")
        return (hint,) if request.hotwords else ()

    def warnings(self) -> tuple[Warning, ...]:
        return ()

    def transcribe(self, windows: Sequence[Window], request: Request) -> Iterator[Batch]:
        for window in windows:
            self.speech.append(window.speech)
            self.longest = max(self.longest, len(window.samples))
            text = f"{window.start:g}:{window.samples[0]:g}"
            word = Word(text=text, start=window.start, end=window.end, confidence=0.5)
            yield Batch((word,), window.seconds, "en", 0.75)


@pytest.fixture
def echo() -> Echo:
    return Echo(resolve("sphinx", None, Path("/nowhere")))


def ignore(done: float, total: float, partial: str) -> None:
    pass


def spans(*times: tuple[float, float]) -> tuple[Span, ...]:
    return tuple(Span(start=start, end=end) for start, end in times)


def steps(tracks: int, seconds: int) -> Sound:
    """Sound whose samples are the number of their track and second: 0.12 is second 12 of track 0, 1.05 … of track 1."""
    second = np.arange(seconds * SAMPLE_RATE) // SAMPLE_RATE / 100
    return Sound(np.stack([track + second for track in range(tracks)]).astype(np.float32))


def test_each_tracks_windows_in_order(echo: Echo) -> None:
    """Every window's samples come from its own place in its own track, and so do the words."""
    windows = (spans((1, 2), (5, 9)), spans((0, 3)))
    result = transcribe(steps(2, 10), windows, echo, Request(), ignore)
    assert [[w.text for w in c.words] for c in result.channels] == [["1:0.01", "5:0.05"], ["0:1"]]
    assert [(c.language, c.language_confidence) for c in result.channels] == [("en", 0.75)] * 2
    assert result.media.duration == 10
    assert not result.punctuated
    assert result.model == echo.model.info()
    assert Transcript.model_validate_json(result.model_dump_json()) == result


def test_sound_is_read_as_it_is_needed(echo: Echo) -> None:
    """A window is read when its turn comes, so memory does not grow with the recording."""
    sound, seen = steps(1, 10), []

    def report(done: float, total: float, partial: str) -> None:
        seen.append(len(sound.reads))

    transcribe(sound, [spans((0, 1), (2, 3), (4, 5))], echo, Request(), report)
    assert seen == [1, 2, 3]


def test_progress_rises_to_the_whole(echo: Echo) -> None:
    """Seconds done rise over all tracks to the total, which counts speech and not silence."""
    seen: list[tuple[float, float]] = []
    windows = (spans((1, 2), (5, 9)), spans((0, 3)))
    transcribe(steps(2, 10), windows, echo, Request(), lambda done, total, _: seen.append((done, total)))
    assert seen == [(1, 8), (5, 8), (8, 8)]


def test_the_partial_text_is_the_last_thousand_characters(echo: Echo) -> None:
    """Partial text grows by each batch, and past 1,000 characters it is the tail."""
    seen: list[str] = []
    windows = [spans(*((n, n + 1) for n in range(300)))]
    result = transcribe(steps(1, 300), windows, echo, Request(), lambda *report: seen.append(report[2]))
    whole = " ".join(w.text for w in result.channels[0].words)
    assert seen[1] == "0:0 1:0.01"
    assert len(whole) > 1_000
    assert seen[-1] == whole[-1_000:]
    assert all(len(a) <= len(b) <= 1_000 for a, b in pairwise(seen))


def test_no_speech_is_an_empty_transcript(echo: Echo) -> None:
    """A track without windows has no words and no language, and nothing of it is read."""
    sound = steps(2, 3)
    result = transcribe(sound, [(), ()], echo, Request(), ignore)
    assert [(c.words, c.language) for c in result.channels] == [((), None)] * 2
    assert sound.reads == []


def test_windows_are_cut_to_the_sound_and_to_thirty_seconds(echo: Echo) -> None:
    """Rounding at the end of a file, or a window that is too long, loses no sample and reads none that is not there."""
    sound = steps(1, 95)
    transcribe(sound, [spans((0.5, 62), (94, 95.00004), (96, 97))], echo, Request(), ignore)
    assert echo.longest == 30 * SAMPLE_RATE
    stretches = [(start / SAMPLE_RATE, stop / SAMPLE_RATE) for _, start, stop in sound.reads]
    assert stretches == [(0.5, 30.5), (30.5, 60.5), (60.5, 62), (94, 95)]


def test_a_window_knows_where_its_speech_is(echo: Echo) -> None:
    """Each piece has its own part of the speech, cut to the piece; a bare span is speech from end to end."""
    talk = SpeechWindow(start=10, end=50, speech=spans((10, 15), (20, 41), (48, 50)))
    transcribe(steps(1, 60), [(talk, *spans((55, 58)))], echo, Request(), ignore)
    assert echo.speech == [((10, 15), (20, 40)), ((40, 41), (48, 50)), ((55, 58),)]


def test_every_warning_reaches_the_transcript(echo: Echo) -> None:
    """Damage of the sound and hints without effect are in it; how the model was called is not its affair."""
    echo.model = resolve("nova-3", None, Path("/nowhere"))
    sound = Sound(np.zeros((1, 10), np.float32), warnings=(DAMAGE,))
    result = transcribe(sound, [()], echo, Request(hotwords=("a",)), ignore)
    assert [w.parameter for w in result.warnings] == ["source", "hotwords"]


def test_an_impossible_request_reads_nothing(echo: Echo) -> None:
    """The person hears of a bad option before any work is done."""
    sound = steps(1, 3)
    with pytest.raises(OptionsError):
        transcribe(sound, [spans((0, 1))], echo, Request(language="xx"), ignore)
    assert sound.reads == []


def test_windows_for_other_tracks_are_refused(echo: Echo) -> None:
    """A track must not be left out silently."""
    with pytest.raises(ValueError, match="tracks"):
        transcribe(steps(2, 1), [()], echo, Request(), ignore)


def test_through_a_real_whisper(fixed_whisper: Path) -> None:
    """Two channels through faster-whisper: each with its own words, times and language."""
    left = np.concatenate([hush(2), noise(3), hush(5)])
    right = np.concatenate([hush(5.5), noise(1.6, high=True), hush(2.9)])
    sound = Sound(np.stack([left, right]))
    whisper = Models(DeviceSettings(device="cpu")).get(
        resolve(str(fixed_whisper), None, Path("/nowhere"), trusted=True)
    )
    result = transcribe(sound, [spans((2, 5.5)), spans((5.5, 7.5))], whisper, Request(), ignore)
    assert [[w.text for w in c.words] for c in result.channels] == [["Alpha", "Bravo.", "Charlie"], ["Alpha", "Bravo."]]
    assert [c.words[0].start for c in result.channels] == [pytest.approx(2, abs=0.1), pytest.approx(5.5, abs=0.1)]
    assert [c.language for c in result.channels] == ["en", "de"]
    assert result.punctuated
