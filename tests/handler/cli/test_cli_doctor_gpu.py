"""``dropscribe doctor`` on machines with and without a GPU that works: told by a probe, with what to do."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_rig import NO_MACHINE, Cli

from handler.cli.doctor.probing import ask_machine
from handler.errors import EngineDied
from handler.settings import Settings
from pipeline.devices import Gpu, Gpus
from pipeline.machine import Library, Machine, Trial

GIB = 2**30
H100 = Gpu(
    index=0, name="NVIDIA H100", capability="9.0", total=80 * GIB, free=70 * GIB, allocated=9 * GIB, reserved=GIB
)
CUBLAS = tuple(
    Library(name=name, source="wheel", path=f"/wheel/{name}", version="12.8.4")
    for name in ("libcublasLt.so.12", "libcublas.so.12")
)
NO_CUBLAS = tuple(one.model_copy(update={"source": None, "version": "", "problem": "no such file"}) for one in CUBLAS)
ON_GPU = Trial(model="small", device="cuda", compute_type="float16", load_seconds=2.0, encode_seconds=0.01)
ON_CPU = Trial(model="small", device="cpu", compute_type="int8_float32", load_seconds=1.0, encode_seconds=0.5)
NO_GPU_USE = ON_GPU.model_copy(update={"problem": "Library libcublas.so.12 is not found or cannot be loaded"})

HEALTHY = Machine(
    gpus=Gpus(found=(H100,), driver="12.8"),
    libraries=CUBLAS,
    ctranslate2="4.8.5",
    compute_types={"cpu": ("int8_float32",), "cuda": ("float16",)},
    models=(),
    trials=(ON_GPU, ON_CPU),
)
WITHOUT_CUBLAS = HEALTHY.model_copy(update={"libraries": NO_CUBLAS, "trials": (NO_GPU_USE, ON_CPU)})
CHECKS = ("gpus", "cuda libraries", "models", "probe encode")


def checks(cli: Cli, machine: Machine, *, code: int = 0, **env: str) -> dict[str, dict[str, Any]]:
    cli.machine = machine
    cli.env.update({f"DROPSCRIBE_{name.upper()}": value for name, value in env.items()})
    result = cli("doctor", "--json")
    assert result.exit_code == code, result.output
    return {check["name"]: check for check in json.loads(result.stdout)["checks"]}


def test_a_gpu_that_works(cli: Cli) -> None:
    """Name, compute capability, total, free, allocated and reserved memory; the libraries; the trials. For programs
    the same as figures.
    """
    found = checks(cli, HEALTHY)
    assert {found[name]["status"] for name in CHECKS} == {"ok"}
    for part in ("NVIDIA H100", "compute capability 9.0", "80.0 GiB", "70.0 GiB free", "9.0 GiB alloc", "1.0 GiB res"):
        assert part in found["gpus"]["detail"]
    assert found["gpus"]["data"]["found"][0]["free"] == 70 * GIB
    assert "libcublas.so.12 12.8.4 (preloaded from the wheel)" in found["cuda libraries"]["detail"]
    assert found["cuda libraries"]["data"][1]["path"] == "/wheel/libcublas.so.12"
    assert "small on cuda as float16: loaded in 2.0 s" in found["probe encode"]["detail"]
    assert found["probe encode"]["data"]["trials"][0]["encode_seconds"] == 0.01


def test_no_gpu(cli: Cli) -> None:
    """A machine without a GPU is healthy: jobs run on the CPU."""
    found = checks(cli, NO_MACHINE.model_copy(update={"trials": (ON_CPU,), "problem": ""}))
    assert {found[name]["status"] for name in CHECKS} == {"ok"}
    assert "no NVIDIA driver" in found["gpus"]["detail"]
    assert found["gpus"]["advice"] == "Jobs run on the CPU."


def test_no_gpu_where_one_is_asked_for(cli: Cli) -> None:
    """With DROPSCRIBE_DEVICE=cuda that is a failure, with what to do."""
    machine = NO_MACHINE.model_copy(update={"trials": (NO_GPU_USE,)})
    found = checks(cli, machine, code=1, device="cuda")
    assert found["gpus"]["status"] == "fail"
    assert "DROPSCRIBE_DEVICE=auto" in found["gpus"]["advice"]
    assert found["probe encode"]["status"] == "fail"


@pytest.mark.parametrize(("device", "status"), [("auto", "warn"), ("cuda", "fail")])
def test_a_driver_without_cublas(cli: Cli, device: str, status: str) -> None:
    """The most common trouble: one line says which wheel to install; jobs go to the CPU, or fail if they may not."""
    found = checks(cli, WITHOUT_CUBLAS, code=int(status == "fail"), device=device)
    for name in ("cuda libraries", "probe encode"):
        assert found[name]["status"] == status
        assert "pip install nvidia-cublas-cu12" in found[name]["advice"]
    assert "libcublas.so.12 is not found" in found["cuda libraries"]["detail"]


def test_a_driver_that_is_too_old(cli: Cli) -> None:
    """Libraries and a GPU, and CTranslate2 cannot use them: the driver's own CUDA version is named."""
    machine = HEALTHY.model_copy(
        update={
            "gpus": Gpus(found=(H100,), driver="11.4"),
            "compute_types": {"cpu": ()},
            "trials": (NO_GPU_USE, ON_CPU),
        }
    )
    found = checks(cli, machine)["cuda libraries"]
    assert found["status"] == "warn"
    assert "11.4" in found["advice"]


def test_a_gpu_that_others_fill(cli: Cli) -> None:
    """Over the threshold the GPU is left alone, and whoever wonders is told why."""
    full = H100.model_copy(update={"free": 4 * GIB})
    found = checks(cli, HEALTHY.model_copy(update={"gpus": Gpus(found=(full,))}))["gpus"]
    assert found["status"] == "warn"
    assert "95%" in found["advice"]
    assert "DROPSCRIBE_GPU_MEMORY_THRESHOLD" in found["advice"]
    found = checks(cli, cli.machine, gpu_memory_threshold="0.97")["gpus"]
    assert found["status"] == "ok"


def test_the_cpu_was_chosen(cli: Cli) -> None:
    """With DROPSCRIBE_DEVICE=cpu nothing about the GPU is a trouble."""
    found = checks(cli, WITHOUT_CUBLAS.model_copy(update={"trials": (ON_CPU,)}), device="cpu")
    assert {found[name]["status"] for name in CHECKS} == {"ok"}
    assert "DROPSCRIBE_DEVICE=cpu" in found["gpus"]["advice"]


def test_a_model_that_does_not_run(cli: Cli) -> None:
    """A model that fails on the CPU, too, is a failure."""
    broken = ON_CPU.model_copy(update={"problem": "the model small cannot be loaded from /m: truncated"})
    found = checks(cli, NO_MACHINE.model_copy(update={"trials": (broken,)}), code=1)["probe encode"]
    assert found["status"] == "fail"
    assert "truncated" in found["detail"]


def test_the_models_on_disk(cli: Cli, fixed_whisper: Path) -> None:
    """Each with its version; the one that jobs get is the one that is tried."""
    found = checks(cli, HEALTHY, models=str(fixed_whisper.parent), model="auto")
    assert "fixed-whisper (sha256-" in found["models"]["detail"]
    assert found["models"]["data"][0]["folder"] == str(fixed_whisper)
    assert cli.probed == [str(fixed_whisper)]


def test_the_machine_is_asked_once(cli: Cli) -> None:
    """One probe serves all checks; without a Whisper none is tried."""
    checks(cli, HEALTHY)
    assert cli.probed == ["sphinx"]


# ── the child process ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(device="cpu", work_dir=tmp_path)


def test_the_real_probe(settings: Settings, fixed_whisper: Path) -> None:
    """The child process as doctor starts it: the model encodes on the CPU, and GPUs are told or why there are none."""
    machine = ask_machine(settings, str(fixed_whisper))
    assert [(trial.device, trial.problem) for trial in machine.trials] == [("cpu", "")]
    assert machine.gpus.found or machine.gpus.problem


def test_the_engines_settings_reach_it(settings: Settings, fixed_whisper: Path) -> None:
    """What is tried is what an engine would do with the same settings."""
    asked = settings.model_copy(update={"compute_type": "float32"})
    assert ask_machine(asked, str(fixed_whisper)).trials[0].compute_type == "float32"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("import sys; print('no room', file=sys.stderr); sys.exit(3)", "exit status 3: no room"),
        ("print('hello')", "something else"),
        ("pass", "it said nothing"),
    ],
)
def test_a_probe_that_dies(settings: Settings, code: str, words: str) -> None:
    """A driver that takes the process down is told, not met: how it ended, and its last words."""
    with pytest.raises(EngineDied, match=words):
        ask_machine(settings, "sphinx", [sys.executable, "-c", code])


def test_libraries_may_print(settings: Settings) -> None:
    """What native libraries print to stdout before the answer does no harm."""
    body = NO_MACHINE.model_dump_json()
    assert ask_machine(settings, "sphinx", [sys.executable, "-c", f"print('hello'); print({body!r})"]) == NO_MACHINE


def test_a_dead_probe_fails_its_checks_alone(cli: Cli) -> None:
    """The other checks are told all the same, and the reason is said once."""

    class Dying(Cli):
        def _probe(self, settings: Settings, model: str) -> Machine:
            raise EngineDied("the probe of the machine ended by signal SIGSEGV")

    found = checks(Dying(cli.env), NO_MACHINE, code=1)
    assert {found[name]["status"] for name in ("gpus", "cuda libraries", "probe encode")} == {"fail"}
    assert found["models"]["status"] == "ok"
    assert found["engine"]["status"] == "ok"
    assert sum("SIGSEGV" in check["detail"] for check in found.values()) == 1


def test_a_stray_file(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file called pipeline.py in the current folder is not the probe."""
    (tmp_path / "pipeline.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    assert ask_machine(settings, "sphinx").ctranslate2
