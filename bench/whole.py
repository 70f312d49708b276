"""Whole jobs with all stages in the real engine: stages side by side beside the same stages one at a time, and memory.

    python -m bench.whole [--long]

Two warm engines do the same job in turns, on the CPU: one as it is, one with a step at a time (`bench.in_sequence`).
The job is speech, transcribed, aligned, told apart by a Sortformer: the tests' trained Whisper and aligner, and a
Sortformer of random weights that is about as much work as those two (`bench.nets`), because published speeds of the
real ones are as near to each other. With the trained miniature of a Sortformer, which is less work, the ratio is told,
too. Each model computes with as many threads as there are cores, which is what an engine takes by default; what one
thread for each model gives is told without a target. Then a recording of speech over music goes through all stages,
separation included, and the most memory that the engine takes beyond what it holds with its models loaded is told.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.engine import Engine, Ran, job
from bench.nets import SIZES, companions_of, lacking, left_out
from bench.shapes import SHAPES, folder_of
from bench.speech import TINY, write_speech
from bench.table import Row, show
from pipeline.catalog import Model, resolve
from pipeline.companions import Companions
from pipeline.types import SAMPLE_RATE, StageDone
from pipeline.weights import missing

SIDE_BY_SIDE, MEMORY_MB = 0.75, 2500.0  # what must be reached
_IN_SEQUENCE = (sys.executable, "-m", "bench.in_sequence")


class Pair(NamedTuple):
    """``size``: of the models beside the recogniser; ``threads``: of each model, None for the libraries' own choice."""

    size: str
    threads: int | None
    target: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """``pairs`` of engines take turns: ``minutes`` of speech in each of ``rounds``. ``long``: minutes of the recording
    that memory is told of, after one of ``warm`` minutes.
    """

    pairs: tuple[Pair, ...] = (Pair("even", None, SIDE_BY_SIDE), Pair("toy", None), Pair("even", 1))
    minutes: float = 4
    rounds: int = 3
    long: float = 20
    warm: float = 1


LONG = Plan(minutes=10, rounds=5, long=600)


def rows(long: bool) -> list[Row]:
    """The figures; with ``long``, memory of ten hours."""
    return measured(LONG if long else Plan())


def measured(plan: Plan, missing: str | None = None) -> list[Row]:
    """``missing``: what of the extra is not installed, empty if nothing is; None to find out."""
    if lacks := lacking() if missing is None else missing:
        return [left_out("whole jobs", lacks)]
    with tempfile.TemporaryDirectory(prefix="dropscribe-bench-") as folder:
        scratch = Path(folder)
        model = _whisper(scratch)
        return [*(_turns(scratch, model, pair, plan) for pair in plan.pairs), *_memory(scratch, model, plan)]


def _whisper(scratch: Path) -> Model:
    """The trained tiny Whisper; where it is not there, random weights of next to no size."""
    folder = folder_of(SHAPES["toy"], scratch) if missing(TINY) else TINY
    return resolve(str(folder), None, folder, trusted=True)


# ── side by side ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _turns(scratch: Path, model: Model, pair: Pair, plan: Plan) -> Row:
    companions = companions_of(SIZES[pair.size], scratch)
    recording = write_speech(scratch / "speech.wav", plan.minutes * 60)
    log = scratch / "engine.log"
    with (
        Engine(log=log, threads=pair.threads) as ours,
        Engine(command=_IN_SEQUENCE, log=log, threads=pair.threads) as theirs,
    ):
        for engine in (ours, theirs):
            _one(engine, recording, model, companions, scratch)  # loads the models, compiles
        ratios, alone = [], {}
        for number in range(plan.rounds):
            order = (ours, theirs) if number % 2 else (theirs, ours)  # nobody is always the first
            ran = {engine: _one(engine, recording, model, companions, scratch) for engine in order}
            ratios.append(ran[ours].seconds / ran[theirs].seconds)
            alone = {**stages(ran[theirs]), "in all": ran[theirs].seconds}
    how = f"{_named(pair.size, companions)}, {'a thread for each model' if pair.threads else 'threads as by default'}"
    return _compared(f"stages side by side ÷ one at a time, {plan.minutes:g} min, {how}", ratios, alone, pair.target)


def _compared(name: str, ratios: Sequence[float], alone: Mapping[str, float], target: float | None) -> Row:
    middle = statistics.median(ratios)
    of = f" (of {len(ratios)}: {min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else ""
    told = f"{middle:.2f}{of}; one at a time: {', '.join(f'{stage} {took:.1f} s' for stage, took in alone.items())}"
    return Row(name, told) if target is None else Row(name, told, f"≤ {target:.2f}", middle <= target)


def _named(size: str, companions: Companions) -> str:
    kind = companions.few.name if companions.few is not None else "none"
    return f"Sortformer “{kind}”" if size == "toy" else "Sortformer as much work as the rest"


def _one(
    engine: Engine, recording: Path, model: Model, companions: Companions, scratch: Path, stemming: str = "auto"
) -> Ran:
    """A whole job. `RuntimeError` if a stage was degraded: it is then not what is to be measured."""
    work = scratch / "work"
    ran = engine.run(job(work, recording, model, companions=companions, diarize=True, stemming=stemming))
    shutil.rmtree(work)
    for event in (event for _, event in ran.events if isinstance(event, StageDone)):
        if event.degraded is not None:
            raise RuntimeError(f"{event.stage} was degraded: {event.degraded}")
    return ran


def stages(ran: Ran) -> dict[str, float]:
    """Seconds of each stage of the job, in the order in which they ended."""
    return {event.stage: event.seconds for _, event in ran.events if isinstance(event, StageDone)}


# ── memory ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _memory(scratch: Path, model: Model, plan: Plan) -> list[Row]:
    companions = companions_of(SIZES["toy"], scratch)
    short = write_over_music(scratch / "warm.wav", plan.warm * 60)
    recording = write_over_music(scratch / "long.wav", plan.long * 60)
    with Engine(log=scratch / "engine.log") as engine:
        _one(engine, short, model, companions, scratch, "true")
        held = engine.memory_mb("VmRSS")
        engine.forget_peak()
        ran = _one(engine, recording, model, companions, scratch, "true")
        peak = engine.memory_mb("VmHWM")
    spoken = f"{plan.long:g} min" if plan.long < 60 else f"{plan.long / 60:g} h"
    each = ", ".join(f"{name} {plan.long * 60 / max(seconds, 1e-9):.0f}" for name, seconds in stages(ran).items())
    name = f"all stages, {spoken} of speech over music: peak memory beside the loaded models"
    told = f"{peak - held:.0f} MB more than {held:.0f} MB"
    return [
        Row(name, told, f"≤ {MEMORY_MB:.0f} MB", peak - held <= MEMORY_MB),
        Row("the same job, × real time", f"{plan.long * 60 / ran.seconds:.1f} in all; {each}"),
    ]


def write_over_music(path: Path, seconds: float) -> Path:
    """A WAV of speech with chords under it that change every second, 32 dB below full scale. The tests' Whisper has
    heard clean speech alone; under louder music it would be asked thrice for most windows, which real ones are not.
    """
    write_speech(path, seconds)
    spoken = path.with_suffix(".speech.wav")
    path.rename(spoken)
    with wave.open(str(spoken)) as source, wave.open(str(path), "wb") as file:
        file.setparams(source.getparams())
        for second in range(round(seconds) + 1):
            block = np.frombuffer(source.readframes(SAMPLE_RATE), np.int16).astype(np.float64)
            mixed = block / 2 + _chord(second)[: len(block)]
            file.writeframes(np.clip(mixed, -32768, 32767).astype(np.int16).tobytes())
    spoken.unlink()
    return path


def _chord(second: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """A second of a triad with overtones, in another key than the one before."""
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    root = 220.0 * 2 ** ((5 * second % 12) / 12)
    tones = [root * step * over for step in (1.0, 1.26, 1.5) for over in (1, 2, 3)]
    wave_ = sum(np.sin(2 * np.pi * tone * time) for tone in tones)
    return np.asarray(wave_ / len(tones) * 800 * np.exp(-2 * time))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.whole", description="Whole jobs: side by side, memory.")
    parser.add_argument("--long", action="store_true", help="ten hours of speech over music")
    return show("whole", rows(parser.parse_args().long))


if __name__ == "__main__":
    sys.exit(main())
