"""``python -m pipeline probe``: what a machine can compute with, found out by trying."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_driver import compiled, cublas, opener
from whisper_rig import model_of

from pipeline.catalog import Model, resolve
from pipeline.devices import DeviceSettings, Gpu, Gpus, gpus
from pipeline.errors import ModelUnavailable
from pipeline.machine import Machine
from pipeline.probe import cuda_libraries, probe, told

NOWHERE = Path("/nowhere")


def no_gpu() -> Gpus:
    return Gpus(problem="no NVIDIA driver")


def run(*arguments: str, home: Path = NOWHERE, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", "probe", *arguments],
        env={**os.environ, "DROPSCRIBE_HOME": str(home), **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_real_command(fixed_whisper: Path) -> None:
    """The command as a person runs it: the model was loaded on the CPU and encoded; in JSON it reads back whole."""
    done = run("--model", str(fixed_whisper), "--device", "cpu", "--json", home=fixed_whisper.parent)
    assert done.returncode == 0, done.stderr
    machine = Machine.model_validate_json(done.stdout)
    [trial] = machine.trials
    assert (trial.device, trial.compute_type, trial.problem) == ("cpu", "int8_float32", "")
    assert trial.load_seconds is not None
    assert trial.encode_seconds is not None
    assert "int8_float32" in machine.compute_types["cpu"]
    assert [(model.name, model.folder) for model in machine.models] == [("fixed-whisper", str(fixed_whisper))]
    assert machine.models[0].size > (fixed_whisper / "model.bin").stat().st_size
    assert machine.problem == ""


def test_for_people(fixed_whisper: Path) -> None:
    """Without ``--json`` it is a line for each thing."""
    done = run("--model", str(fixed_whisper), "--device", "cpu")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("CTranslate2 ")
    assert any(line.startswith("fixed-whisper on cpu as int8_float32: loaded in ") for line in lines)
    with pytest.raises(json.JSONDecodeError):
        json.loads(done.stdout)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--device", "gpu"], "--device"),
        (["--compute-type", "float8"], "float8"),
        (["--gpu-memory-threshold", "2"], "2"),
    ],
)
def test_wrong_arguments(arguments: list[str], words: str) -> None:
    """A device, a compute type or a share that there is not: one line, exit 2."""
    done = run(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_a_model() -> None:
    """With no weights on disk the rest is told, and why nothing was tried."""
    machine = probe(DeviceSettings(), lambda: resolve("sphinx", None, NOWHERE), None, NOWHERE, no_gpu)
    assert machine.trials == ()
    assert "no Whisper model" in machine.problem
    assert machine.compute_types["cpu"]


def test_a_model_that_is_not_here() -> None:
    """The same with a model that cannot be found: its own words."""

    def choose() -> Model:
        raise ModelUnavailable("the model x is not on this machine", "Fetch it.")

    machine = probe(DeviceSettings(), choose, None, NOWHERE, no_gpu)
    assert machine.problem == "the model x is not on this machine. Fetch it."


@pytest.mark.skipif(os.path.exists("/dev/nvidiactl"), reason="there is a GPU here")
def test_a_gpu_that_cannot_be_used(fixed_whisper: Path) -> None:
    """A GPU that the driver shows and CTranslate2 cannot use: the CPU works, the GPU does not, with the reason."""
    look: Callable[[], Gpus] = lambda: Gpus(found=(Gpu(index=0, name="one", capability="9.0", total=1),))  # noqa: E731
    machine = probe(DeviceSettings(), lambda: model_of(fixed_whisper), None, NOWHERE, look)
    assert [(trial.device, bool(trial.problem)) for trial in machine.trials] == [("cuda", True), ("cpu", False)]
    assert "CUDA" in machine.trials[0].problem
    assert machine.trials[0].encode_seconds is None
    assert "GPU 0: one" in told(machine)
    assert machine.trials[0].problem in told(machine)


def test_broken_weights(fixed_whisper: Path, tmp_path: Path) -> None:
    """Weights that cannot be loaded are told as the trial's problem, in one line."""
    model = model_of(fixed_whisper).model_copy(update={"folder": str(tmp_path)})
    [trial] = probe(DeviceSettings(), lambda: model, None, NOWHERE, no_gpu).trials
    assert "incomplete" in trial.problem
    assert "\n" not in trial.problem


def test_libraries_of_the_wheel(tmp_path: Path) -> None:
    """Those of the wheel are named as such, with path and version."""
    wheel = cublas(tmp_path)
    found = cuda_libraries(opener({str(path): path for path in wheel.values()}), list(wheel.values()))
    assert [(one.name, one.source, one.version) for one in found] == [
        ("libcublasLt.so.12", "wheel", "12.8.4"),
        ("libcublas.so.12", "wheel", "12.8.4"),
    ]
    assert found[1].path == str(wheel["libcublas.so.12"])


def test_libraries_of_the_system(tmp_path: Path) -> None:
    """Without the wheel it is the loader that finds them; where it did is told."""
    libraries = cublas(tmp_path)
    found = cuda_libraries(opener(libraries), [])
    assert [(one.source, one.version) for one in found] == [("system", "12.8.4")] * 2
    if sys.platform == "linux":
        assert found[1].path == str(libraries["libcublas.so.12"])


def test_libraries_that_are_not_there() -> None:
    """A driver without cuBLAS is the most common way for a GPU to be of no use: said by name."""
    found = cuda_libraries(opener({}), [])
    assert [one.source for one in found] == [None, None]
    assert "libcublas.so.12" in found[1].problem


def test_it_reads_back(tmp_path: Path) -> None:
    """With GPUs, too, the JSON is the whole of what was found."""
    look: Any = lambda: gpus(opener(compiled(tmp_path)))  # noqa: E731
    machine = probe(DeviceSettings(device="cpu"), lambda: resolve("sphinx", None, NOWHERE), None, NOWHERE, look)
    assert len(machine.gpus.found) == 2
    assert Machine.model_validate_json(machine.model_dump_json()) == machine


@pytest.mark.gpu
def test_the_real_gpu(fixed_whisper: Path) -> None:
    """On a machine with a GPU: cuBLAS is found, and the model encodes on the GPU and on the CPU."""
    done = run("--model", str(fixed_whisper), "--json")
    assert done.returncode == 0, done.stderr
    machine = Machine.model_validate_json(done.stdout)
    assert machine.gpus.found
    assert all(one.source for one in machine.libraries)
    assert [(trial.device, trial.problem) for trial in machine.trials] == [("cuda", ""), ("cpu", "")]
    assert "float16" in machine.compute_types["cuda"]
