"""Whisper when memory runs out or the GPU is lost: the right words come out, or a clear error.

A real recogniser over a hand-made Whisper; what is injected are the errors that the libraries raise, in their own
words. A "GPU" here is a rung whose weights lie on the CPU.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from faulty_whisper import CPU, FULL, Faulty, expected, more_than, windows
from sound import noise
from whisper_rig import NATO, all_words, model_of, run, texts

from pipeline.catalog import Model
from pipeline.errors import DeviceLost, OutOfMemory, WeightsChanged
from pipeline.models import Models
from pipeline.models.base import Request
from pipeline.models.gate import Gate
from pipeline.models.ladder import Rung
from pipeline.models.loading import LoadedWhisper
from pipeline.models.whisper import WhisperRecogniser
from pipeline.stages.transcribe import transcribe
from pipeline.types import SAMPLE_RATE, MediaInfo, Span, Warning

LOST = "CUDA failed with error unspecified launch failure"


@pytest.fixture(scope="module")
def model(fixed_whisper: Path) -> Model:
    return model_of(fixed_whisper)


@pytest.mark.parametrize("language", [None, "en", "multi"])
@pytest.mark.parametrize("limit", [1, 2, 5])
def test_smaller_batches_have_the_same_words(model: Model, language: str | None, limit: int) -> None:
    """Batches that do not fit are made smaller, in whatever step; the words and their times are the same, and nobody
    is told.
    """
    loaded = Faulty(model, more_than(limit, "cuda"))
    recogniser = WhisperRecogniser(model, loaded)
    found = run(recogniser, *windows(9), language=language)
    whole = run(WhisperRecogniser(model, Faulty(model, lambda *_: None)), *windows(9), language=language)
    assert texts(found) == expected(9)
    assert [(w.text, w.start, w.end, w.language) for w in all_words(found)] == [
        (w.text, w.start, w.end, w.language) for w in all_words(whole)
    ]
    assert max(count for _, count in loaded.steps[-3:]) <= limit
    assert recogniser.warnings() == ()


def test_no_room_on_the_gpu_at_all(model: Model) -> None:
    """A GPU on which not one window fits: the words come from the CPU, and the transcript says so and why."""
    recogniser = WhisperRecogniser(model, Faulty(model, more_than(0, "cuda")))
    assert texts(run(recogniser, *windows(5))) == expected(5)
    [told] = recogniser.warnings()
    assert (told.parameter, told.type) == ("model", "degraded")
    assert "on the CPU as float32" in told.message
    assert FULL in told.message


def test_no_room_in_the_middle(model: Model) -> None:
    """Memory that is gone in the middle of a recording costs no word of it, and none comes twice."""
    steps: list[int] = []

    def fail(rung: Rung, count: int) -> Exception | None:
        steps.append(count)
        return MemoryError("std::bad_alloc") if len(steps) > 2 and rung.device == "cuda" else None

    recogniser = WhisperRecogniser(model, Faulty(model, fail))
    assert texts(run(recogniser, *windows(20), language="en", batch_size=4)) == expected(20)
    assert [told.type for told in recogniser.warnings()] == ["degraded"]


STRICT = Gate(most_compression=0.0)  # believes nothing, so that every window is decoded again, in every way there is


def test_no_room_at_any_step(model: Model) -> None:
    """Memory that runs out at the n-th step, for every n: the vote, the first decoding, each further attempt of a
    window that the gate does not believe. The words are the same each time.
    """
    count = 0
    limit = 0

    def fail(rung: Rung, size: int) -> Exception | None:
        nonlocal count
        count += 1
        return RuntimeError(FULL) if count > limit and rung.device == "cuda" else None

    def heard() -> list[str]:
        nonlocal count
        count = 0
        recogniser = WhisperRecogniser(model, Faulty(model, fail), STRICT)
        return texts(run(recogniser, *windows(1)))

    limit = 1000
    whole, steps = heard(), count
    assert steps > 7
    for limit in range(steps):
        assert heard() == whole, f"step {limit} of {steps}"


def test_no_room_anywhere(model: Model) -> None:
    """Not one window fits on any device: one clear, retryable error, no partial transcript."""
    recogniser = WhisperRecogniser(model, Faulty(model, more_than(0, "cuda", "cpu")))
    with pytest.raises(OutOfMemory, match="memory ran out") as caught:
        run(recogniser, *windows(3))
    assert caught.value.retryable
    assert caught.value.hint


def test_the_gpu_is_lost(model: Model) -> None:
    """In whatever step it happens it is `DeviceLost`, at once, and never words from half a GPU."""
    for nth in range(3):
        seen: list[int] = []

        def fail(rung: Rung, count: int, nth: int = nth, seen: list[int] = seen) -> Exception | None:
            seen.append(count)
            return RuntimeError(LOST) if len(seen) > nth else None

        with pytest.raises(DeviceLost, match="unspecified launch failure"):
            run(WhisperRecogniser(model, Faulty(model, fail)), *windows(9), batch_size=2)
        assert len(seen) == nth + 1


def test_the_next_job_says_so_too(model: Model) -> None:
    """A job that begins on a lower rung, because an earlier one ended there, carries the warning as well."""
    loaded = Faulty(model, more_than(0, "cuda"))
    run(WhisperRecogniser(model, loaded), *windows(1))
    loaded.begin()
    second = WhisperRecogniser(model, loaded)
    assert second.warnings() == ()
    run(second, *windows(1))
    assert [told.type for told in second.warnings()] == ["degraded"]


# ── the weights ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_weights_that_changed_are_not_loaded_again(fixed_whisper: Path, slow_whisper: Path, tmp_path: Path) -> None:
    """When the model is loaded anew in the middle of a job, other weights in the folder are an error: a transcript is
    of one model.
    """
    folder = tmp_path / "model"
    shutil.copytree(fixed_whisper, folder)
    model = model_of(folder)
    recogniser = WhisperRecogniser(model, Faulty(model, more_than(0, "cuda")))
    shutil.copy(slow_whisper / "model.bin", folder / "model.bin")
    with pytest.raises(WeightsChanged):
        run(recogniser, *windows(1))


def test_what_a_model_learnt_outlives_another(fixed_whisper: Path, slow_whisper: Path) -> None:
    """A fleet that alternates between models does not run out of memory anew at each change."""
    made: list[Faulty] = []

    class Rigged(Models):
        def _load(self, model: Model) -> LoadedWhisper:
            made.append(Faulty(model, more_than(0, "cuda")))
            return made[-1]

    models = Rigged()
    one, other = model_of(fixed_whisper), model_of(slow_whisper)
    run(models.get(one), *windows(1))
    models.get(other)
    models.get(one)
    assert len(made) == 2
    assert made[0].rung == CPU


class Sound:
    """Two seconds of noise as decoded sound."""

    info = MediaInfo(duration=2.0, channels=1, container="wav", codec="pcm_s16le")
    tracks = 1
    samples = 2 * SAMPLE_RATE
    warnings: tuple[Warning, ...] = ()

    def read(self, track: int, start: int, stop: int, /) -> Any:
        return noise(2)[start:stop]


def test_the_warning_is_in_the_transcript(model: Model) -> None:
    """What the recogniser has to say of how it computed stands in the artifact, beside the words."""
    recogniser = WhisperRecogniser(model, Faulty(model, more_than(0, "cuda")))
    spans = [[Span(start=0.0, end=2.0)]]
    transcript = transcribe(Sound(), spans, recogniser, Request(), lambda done, total, tail: None)
    assert [word.text for word in transcript.channels[0].words] == NATO[:2]
    assert [told.type for told in transcript.warnings] == ["degraded"]
