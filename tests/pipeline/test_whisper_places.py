"""Where a Whisper is computed: on which device, in which type, and what is said when it is not the one wished for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faulty_whisper import CPU, FULL, GPU, Faulty, expected, windows
from whisper_rig import model_of, run, texts

from pipeline.catalog import Model
from pipeline.devices import DeviceSettings, Gpu, Gpus
from pipeline.errors import ModelUnavailable
from pipeline.models.ladder import Ladder
from pipeline.models.loading import LoadedWhisper, best_rung, load_whisper, open_whisper, whisper_rungs, why_no_gpu
from pipeline.models.whisper import WhisperRecogniser


@pytest.fixture(scope="module")
def model(fixed_whisper: Path) -> Model:
    return model_of(fixed_whisper)


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
