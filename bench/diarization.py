"""Diarization of short and of long recordings: memory, and speed.

    python -m bench.diarization [--long]

Each recording in a fresh process on the CPU, from its sound and where somebody speaks in it to the artifact, by a
Sortformer of NeMo's class, for up to four people, and by clustering of voices, for six: the tests' trained miniatures,
or random ones of their size (`bench.nets`). The rest of a job is left out. Memory is the most that the process ever
held, libraries and model included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.engine import ROOT, process_mb
from bench.nets import SIZES, companions_of, lacking, left_out
from bench.speech import write_speech
from bench.table import Row, show

LENGTHS: tuple[float, ...] = (10, 60, 180)  # minutes
GROWTH = 1.1
KINDS = {"sortformer": "Sortformer", "voices": "clustering, six speakers"}


def rows(long: bool) -> list[Row]:
    """The figures; with ``long``, ten hours' too."""
    return measured((*LENGTHS, 600) if long else LENGTHS)


def measured(lengths: Sequence[float], missing: str | None = None) -> list[Row]:
    """``lengths`` in minutes, the shortest first. ``missing``: what of the extra is not installed, empty if nothing is;
    None to find out.
    """
    if lacks := lacking() if missing is None else missing:
        return [left_out("diarization", lacks)]
    with tempfile.TemporaryDirectory(prefix="dropscribe-bench-") as name:
        scratch = Path(name)
        companions = companions_of(SIZES["toy"], scratch)
        told: list[dict[str, Any]] = []
        for minutes in lengths:
            recording = write_speech(scratch / "long.wav", minutes * 60)
            for kind in KINDS:
                told.append({"kind": kind, "minutes": minutes, **_child(kind, scratch, recording)})
                print(f"  {KINDS[kind]}, {minutes:g} min: {told[-1]['peak']:.0f} MB", file=sys.stderr)
            recording.unlink()
        names = {"sortformer": companions.few, "voices": companions.many}
        used = ", ".join(f"{model.kind} {model.name}" for model in names.values() if model is not None)
        return [*(_row(kind, [one for one in told if one["kind"] == kind]) for kind in KINDS), Row("models", used)]


def _row(kind: str, told: Sequence[dict[str, Any]]) -> Row:
    peaks = [one["peak"] for one in told]
    spoken = ", ".join(_spoken(one["minutes"]) for one in told)
    each = ", ".join(f"{peak:.0f} MB" for peak in peaks)
    beyond = ", ".join(f"{one['peak'] - one['loaded']:.0f}" for one in told)
    speed = told[-1]["minutes"] * 60 / told[-1]["seconds"]
    return Row(
        f"{KINDS[kind]}: peak memory at {spoken}",
        f"{each}; {beyond} MB beyond the loaded model; {speed:.0f} × real time",
        f"equal to {GROWTH - 1:.0%}",
        max(peaks) <= GROWTH * peaks[0],
    )


def _spoken(minutes: float) -> str:
    return f"{minutes:g} min" if minutes < 60 else f"{minutes / 60:g} h"


def _child(kind: str, scratch: Path, recording: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.diarization", "--child", kind, str(scratch), str(recording)]
    alone = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, env=alone)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


# ── in the child ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _measured(kind: str, scratch: Path, recording: Path) -> dict[str, float]:
    from pipeline.hints import Hints
    from pipeline.models import Models
    from pipeline.stages.decode import decode
    from pipeline.stages.diarize import diarize
    from pipeline.stages.vad import speech

    nothing: Callable[..., None] = lambda *told: None  # noqa: E731
    found, models = companions_of(SIZES["toy"], scratch), Models()
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        audio = decode(recording, Path(folder), per_channel=False, max_duration=None, report=nothing, opened=nothing)
        spans = speech(audio, 0, nothing)
        assert found.few is not None
        assert found.many is not None
        few = models.few(found.few) if kind == "sortformer" else None
        many = models.many(found.many) if kind == "voices" else None
        for loaded in (few, many):
            if loaded is not None:
                loaded.begin()
        held = process_mb(os.getpid(), "VmRSS")
        started = time.perf_counter()
        artifact = diarize(audio, spans, Hints(speakers=None if many is None else 6), few, many, nothing)
        assert artifact is not None
        artifact.model_dump_json()
        seconds = time.perf_counter() - started
    return {"loaded": held, "peak": process_mb(os.getpid(), "VmHWM"), "seconds": seconds}


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.diarization", description="Diarization: memory and speed.")
    parser.add_argument("--long", action="store_true", help="ten hours, too")
    parser.add_argument("--child", nargs=3, metavar=("KIND", "SCRATCH", "RECORDING"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        kind, scratch, recording = given.child
        print(json.dumps(_measured(kind, Path(scratch), Path(recording))))
        return 0
    return show("diarization", rows(given.long))


if __name__ == "__main__":
    sys.exit(_main())
