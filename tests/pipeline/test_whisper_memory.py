"""Whisper when memory runs out, the GPU is lost or others fill it: the right words come out, or a clear error.

A real recogniser over a hand-made Whisper; what is injected are the errors that the libraries raise, in their own
words. A "GPU" here is a rung whose weights lie on the CPU.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from sound import noise, window
from whisper_rig import NATO, all_words, model_of, run, texts

from pipeline.catalog import Model
from pipeline.devices import DeviceSettings, Gpu, Gpus
from pipeline.errors import DeviceLost, ModelUnavailable, OutOfMemory, WeightsChanged
from pipeline.models import Models
from pipeline.models.base import Request
from pipeline.models.gate import Gate
from pipeline.models.ladder import Ladder, Rung
from pipeline.models.loading import LoadedWhisper, best_rung, load_whisper, open_whisper, whisper_rungs, why_no_gpu
from pipeline.models.whisper import WhisperRecogniser
from pipeline.stages.transcribe import transcribe
from pipeline.types import SAMPLE_RATE, MediaInfo, Span, Warning

FULL = "CUDA failed with error out of memory"
LOST = "CUDA failed with error unspecified launch failure"
GPU = Rung("cuda", "float16", 16)
LIGHT = Rung("cuda", "int8_float16", 4)
CPU = Rung("cpu", "float32", 4)


def windows(count: int) -> list[Any]:
    return [window(30.0 * n, noise(1.2 + n % 3, seed=n)) for n in range(count)]


def expected(count: int) -> list[str]:
    return [word for n in range(count) for word in NATO[: 1 + n % 3]]


class Faulty(LoadedWhisper):
    """Weights on a "GPU" and a CPU, with a judge of each step before it is done: ``fail(rung, windows)``."""

    def __init__(self, model: Model, fail: Callable[[Rung, int], Exception | None], **look: Any) -> None:
        self.steps: list[tuple[Rung, int]] = []
        self._fail = fail
        settings = DeviceSettings()
        super().__init__(Ladder((GPU, LIGHT, CPU), lambda rung: open_whisper(model, CPU)), settings, **look)
        self.begin()

    def run(self, windows: Sequence[Any], decode: Callable[[Sequence[Any]], Sequence[Any]], batch: Any = None) -> Any:
        def judged(piece: Sequence[Any]) -> Sequence[Any]:
            self.steps.append((self.rung, len(piece)))
            error = self._fail(self.rung, len(piece))
            if error is not None:
                raise error
            return decode(piece)

        return super().run(windows, judged, batch)


@pytest.fixture(scope="module")
def model(fixed_whisper: Path) -> Model:
    return model_of(fixed_whisper)


def more_than(limit: int, *devices: str) -> Callable[[Rung, int], Exception | None]:
    return lambda rung, count: RuntimeError(FULL) if count > limit and rung.device in devices else None


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
    assert steps > 8
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


# ── where it is loaded ───────────────────────────────────────────────────────────────────────────────────────────────


def full(share: float) -> Callable[[], Gpus]:
    total = 80 * 2**30
    gpu = Gpu(index=0, name="one", capability="9.0", total=total, free=round(total * (1 - share)))
    return lambda: Gpus(found=(gpu,))


@pytest.mark.parametrize(("share", "device"), [(0.5, "cuda"), (0.89, "cuda"), (0.91, "cpu"), (1.0, "cpu")])
def test_a_gpu_that_others_fill_is_left_alone(model: Model, share: float, device: str) -> None:
    """Over the threshold the job goes to the CPU and says so; at each job it is looked at again."""
    shares = [share, 0.1]
    loaded = Faulty(model, lambda *_: None, look=lambda: full(shares[0])())
    recogniser = WhisperRecogniser(model, loaded)
    assert loaded.rung.device == device
    assert texts(run(recogniser, *windows(2))) == expected(2)
    messages = [told.message for told in recogniser.warnings()]
    assert len(messages) == (device == "cpu")
    if messages:
        assert f"{share:.0%} of the GPU's memory were in use by others" in messages[0]
    del shares[0]
    loaded.begin()
    assert loaded.rung.device == "cuda"


def test_what_we_fill_ourselves_does_not_count(model: Model) -> None:
    """Once the weights lie on the GPU its memory is mostly theirs: they are not taken off it for that."""
    shares = [0.1]
    loaded = Faulty(model, lambda *_: None, look=lambda: full(shares[0])())
    shares[0] = 0.99
    loaded.begin()
    assert loaded.rung.device == "cuda"


def test_a_gpu_of_which_little_is_known(model: Model) -> None:
    """Without NVML nobody knows what is free: the GPU is tried."""
    unknown = Gpus(found=(Gpu(index=0, name="one", capability="9.0", total=1),))
    assert Faulty(model, lambda *_: None, look=lambda: unknown).rung.device == "cuda"


ONE = Gpus(found=(Gpu(index=0, name="one", capability="9.0", total=1),), driver="11.4")


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (ONE, "the driver supports CUDA 11.4"),
        (Gpus(problem="the NVIDIA driver gives no GPUs: error 999", broken=True), "error 999"),
        (Gpus(problem="no NVIDIA driver"), ""),
    ],
    ids=["too-old", "fails", "none"],
)
def test_a_gpu_that_is_there_and_of_no_use(seen: Gpus, words: str) -> None:
    """After a GPU was lost, or with a driver that is too old, CTranslate2 sees no GPU, as on a machine without one: the
    driver tells the two apart. On the second nothing is amiss, and nobody is warned.
    """
    assert words in why_no_gpu(DeviceSettings(), [CPU], lambda: seen)
    assert bool(why_no_gpu(DeviceSettings(), [CPU], lambda: seen)) == bool(words)
    assert why_no_gpu(DeviceSettings(device="cpu"), [CPU], lambda: seen) == ""
    assert why_no_gpu(DeviceSettings(), [GPU, CPU], lambda: seen) == ""


def test_the_rungs_of_a_cpu() -> None:
    """Without a GPU there are the CPU's: the best type alone, or the one asked for and then a lighter one."""
    assert [rung.compute_type for rung in whisper_rungs(DeviceSettings(device="cpu"))] == ["int8_float32"]
    asked = whisper_rungs(DeviceSettings(device="cpu", compute_type="float32"))
    assert [(rung.device, rung.compute_type) for rung in asked] == [("cpu", "float32"), ("cpu", "int8_float32")]


def test_a_type_that_the_cpu_has_not() -> None:
    """One setting serves a fleet with and without GPUs: with `auto` a device that lacks the type takes its own best;
    where the device is named, the type is meant for it.
    """
    assert best_rung("cpu", DeviceSettings(compute_type="float16")).compute_type == "int8_float32"
    assert best_rung("cpu", DeviceSettings(device="cpu", compute_type="float16")).compute_type == "float16"


def test_a_type_that_the_device_has_not_is_an_error(model: Model) -> None:
    """It names the type, and is no shortage of memory."""
    with pytest.raises(ModelUnavailable, match="float16"):
        load_whisper(model, DeviceSettings(device="cpu", compute_type="float16"))


@pytest.mark.skipif(os.path.exists("/dev/nvidiactl"), reason="there is a GPU here")
def test_an_explicit_gpu_that_is_not_there(model: Model) -> None:
    """Whoever asks for the GPU gets it or an error, never a CPU in secret."""
    with pytest.raises(ModelUnavailable, match="the GPU cannot be used"):
        load_whisper(model, DeviceSettings(device="cuda"))


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


# ── with a GPU ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.gpu
@pytest.mark.parametrize("compute_type", [None, "float16", "int8_float16", "float32"])
def test_the_words_of_a_gpu(model: Model, compute_type: Any) -> None:
    """On a real GPU the words are those of the CPU, in whatever compute type."""
    loaded = load_whisper(model, DeviceSettings(device="cuda", compute_type=compute_type))
    assert loaded.whisper.model.device == "cuda"
    assert texts(run(WhisperRecogniser(model, loaded), *windows(9))) == expected(9)


@pytest.mark.gpu
def test_from_a_gpu_to_the_cpu(model: Model) -> None:
    """Weights that leave a real GPU in the middle of a job give its memory back, and the words go on."""

    steps: list[int] = []

    class Failing(LoadedWhisper):
        def run(self, windows: Any, decode: Any, batch: Any = None) -> Any:
            def judged(piece: Any) -> Any:
                steps.append(1)
                if len(steps) > 2 and self.rung.device == "cuda":
                    raise RuntimeError(FULL)
                return decode(piece)

            return super().run(windows, judged, batch)

    settings = DeviceSettings()
    rungs = whisper_rungs(settings)
    assert [rung.device for rung in rungs] == ["cuda", "cuda", "cpu"]
    loaded = Failing(Ladder(rungs, lambda rung: open_whisper(model, rung), lambda w: w.model.unload_model()), settings)
    loaded.begin()
    recogniser = WhisperRecogniser(model, loaded)
    assert texts(run(recogniser, *windows(20), batch_size=4)) == expected(20)
    assert loaded.rung.device == "cpu"
