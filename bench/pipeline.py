"""Transcription beside faster-whisper's own modes: same weights, same windows, in turns in one run; and its memory.

    python -m bench.pipeline [--long]

Each side is a process of its own that stays warm (`bench.sides`); the sides take a piece of the recording in turns, so
that a busy machine slows all of them, and the median of the pieces' ratios counts, with the least and the greatest
beside it. Speech is what `bench.speech` makes. Two sets of weights: the trained tiny Whisper of the tests, with which
everything that is not the model weighs most; and random ones of base's size (`bench.shapes`), nearer to what is used,
of which an hour would take too long here. Our sides have what an engine asks of its environment (`pipeline.cores`).
Memory and whole jobs are measured with the first weights alone. Whole jobs run in the real engine (`bench.engine`).
Everything on the CPU.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from bench.engine import Engine, job
from bench.shapes import SHAPES, folder_of
from bench.sides import SIDES, Side
from bench.speech import TINY, write_clips, write_speech, write_windows
from bench.table import Row, show
from pipeline.catalog import Model, resolve
from pipeline.types import SAMPLE_RATE
from pipeline.weights import missing

BATCH = 8  # BatchedInferencePipeline's own default
BATCHED, SEQUENTIAL, MEMORY, CLIPS, GROWTH = 0.95, 2.0, 0.25, 1.0, 1.1  # what must be reached
BLOCK = 10  # clips taken by one side before the other has its turn


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured. ``minutes`` of speech in ``pieces``, of which the slow and the ungated side take ``few``;
    ``shaped``: windows through the random weights named ``shape``; ``lengths``: minutes.
    """

    minutes: float = 60
    pieces: int = 6
    rounds: int = 1
    few: int = 2
    shape: str = "base"
    shaped: int = 8
    shaped_rounds: int = 2
    clips: int = 200
    lengths: tuple[float, ...] = (10, 60, 180)


LONG = Plan(rounds=3, few=6, shaped=120, lengths=(10, 60, 180, 600))


def rows(long: bool) -> list[Row]:
    """The figures; with ``long`` an hour through the random weights too, and ten hours' memory."""
    return measured(LONG if long else Plan())


def measured(plan: Plan) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="dropscribe-bench-") as name:
        scratch = Path(name)
        label, folder = _weights(scratch)
        hour = write_speech(scratch / "hour.wav", plan.minutes * 60)
        shaped = folder_of(SHAPES[plan.shape], scratch)
        tokens = SHAPES[plan.shape].tokens
        # Nearly full ones: in a window of a few seconds the text of random weights is more than anybody can say.
        short = write_windows(scratch / "short.wav", plan.shaped + 2)
        parts: tuple[Callable[[], list[Row]], ...] = (
            lambda: [Row("weights", f"{label}; “{plan.shape}”: random, of that size, {tokens} tokens a window")],
            lambda: _speed(_spoken(plan.minutes), folder, hour, plan),
            lambda: _speed(plan.shape, shaped, short, _of_shape(plan)),
            lambda: _memory(folder, hour, plan.minutes),
            lambda: _clips(folder, scratch, plan.clips),
            lambda: _lengths(folder, scratch, plan.lengths),
        )
        return [row for part in parts for row in _told(part())]


def _told(rows: list[Row]) -> list[Row]:
    """The rows, shown at once: the whole takes minutes."""
    for row in rows:
        print(f"  {row.name}: {row.measured}", file=sys.stderr)
    return rows


def _weights(scratch: Path) -> tuple[str, Path]:
    """The trained tiny Whisper; where it is not there, random weights of next to no size."""
    if missing(TINY):
        return "random ones of next to no size", folder_of(SHAPES["toy"], scratch)
    size = (TINY / "model.bin").stat().st_size / 1e6
    return f"the tests' trained tiny Whisper ({size:.1f} MB)", TINY


def _of_shape(plan: Plan) -> Plan:
    """Pieces of no fewer windows than fill a batch; the slow sides take one of them."""
    return Plan(minutes=0, pieces=max(1, plan.shaped // 24), rounds=plan.shaped_rounds, few=1, shaped=plan.shaped)


# ── throughput ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Turn:
    """One piece of ``audio`` seconds; what each side that took it answered."""

    audio: float
    windows: int
    answers: dict[str, dict[str, float]]

    def ratio(self, other: str) -> float:
        """Our speed over the other's."""
        return self.answers[other]["seconds"] / self.answers["ours"]["seconds"]


def _speed(label: str, model: Path, recording: Path, plan: Plan) -> list[Row]:
    with contextlib.ExitStack() as stack:
        sides = {name: stack.enter_context(Side(name, model, batch=BATCH)) for name in SIDES}
        windows = sides["ours"].ask("open", path=str(recording))[: plan.shaped if not plan.minutes else None]
        sides["ungated"].ask("open", path=str(recording))
        for name in ("batched", "sequential"):
            sides[name].ask("open", path=str(recording), windows=windows)
        for side in sides.values():
            side.ask("words", first=0, stop=min(2, len(windows)))  # whatever is made at first use
        turns = _turns(sides, windows, plan)
    return [
        _compared(f"{label}: transcription, ours ÷ BatchedInferencePipeline", turns, "batched", BATCHED),
        _compared(f"{label}: transcription, ours ÷ WhisperModel in sequence", turns, "sequential", SEQUENTIAL),
        _compared(f"{label}: transcription, ours ÷ ours without the quality gate", turns, "ungated", None),
        _said(label, turns),
    ]


def _turns(sides: dict[str, Side], windows: Sequence[Sequence[float]], plan: Plan) -> list[_Turn]:
    edges = [len(windows) * n // plan.pieces for n in range(plan.pieces + 1)]
    turns = []
    for round_ in range(plan.rounds):
        for number, (first, stop) in enumerate(pairwise(edges)):
            names = SIDES if round_ == 0 and number < plan.few else SIDES[:2]
            shift = (round_ + number) % len(names)  # nobody is always the first
            answers = {}
            for name in (*names[shift:], *names[:shift]):
                answers[name] = sides[name].ask("words", first=first, stop=stop)
            turns.append(_Turn(sum(end - start for start, end in windows[first:stop]), stop - first, answers))
    return turns


def _compared(name: str, turns: Sequence[_Turn], other: str, target: float | None) -> Row:
    shared = [turn for turn in turns if other in turn.answers]
    ratios = [turn.ratio(other) for turn in shared]
    middle = statistics.median(ratios)
    audio = sum(turn.audio for turn in shared)
    speeds = [audio / sum(turn.answers[side]["seconds"] for turn in shared) for side in ("ours", other)]
    measured_ = f"{middle:.2f}{_between(ratios)}; {speeds[0]:.1f} and {speeds[1]:.1f} × real time"
    return Row(name, measured_) if target is None else Row(name, measured_, f"≥ {target:.2f}", middle >= target)


def _said(label: str, turns: Sequence[_Turn]) -> Row:
    ours, theirs = (sum(int(turn.answers[side]["words"]) for turn in turns) for side in ("ours", "batched"))
    again, windows = sum(int(turn.answers["ours"]["again"]) for turn in turns), sum(turn.windows for turn in turns)
    name = f"{label}: words, windows decoded again"
    return Row(name, f"ours {ours:,}, BatchedInferencePipeline {theirs:,}; {again} of {windows:,} again")


def _between(ratios: Sequence[float]) -> str:
    return f" (of {len(ratios)}: {min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else ""


# ── memory ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _memory(model: Path, recording: Path, minutes: float) -> list[Row]:
    """From the file to its words in a fresh process: the most memory beyond what it held with the model loaded."""
    found = {}
    for name in SIDES[:2]:
        with Side(name, model, batch=BATCH) as side:
            found[name] = side.ask("file", path=str(recording))
    ours, theirs = found["ours"]["mb"], found["batched"]["mb"]
    sound = minutes * 60 * SAMPLE_RATE * 4 / 1e6
    ratio, strict = ours / theirs, ours / max(1.0, theirs - sound)
    name = f"{_spoken(minutes)}: peak memory beyond the model, ours ÷ BatchedInferencePipeline"
    took = [f"{who} {found[side]['seconds']:.1f} s" for who, side in (("ours", "ours"), ("theirs", "batched"))]
    return [
        Row(name, f"{ratio:.2f}: {ours:.0f} MB and {theirs:.0f} MB", f"≤ {MEMORY:.2f}", ratio <= MEMORY),
        Row("the same without the decoded sound that theirs holds", f"{strict:.2f}: {sound:.0f} MB less"),
        Row(f"{_spoken(minutes)}: from file to words, speech detection included, once", ", ".join(took)),
    ]


def _lengths(model: Path, scratch: Path, lengths: Sequence[float]) -> list[Row]:
    found, first = [], 0.0
    for minutes in lengths:
        recording = write_speech(scratch / "long.wav", minutes * 60)
        with Engine(log=scratch / "engine.log") as engine:
            engine.run(job(scratch / "work", recording, _model(model), batch_size=BATCH))
            peak = engine.memory_mb("VmHWM")
        shutil.rmtree(scratch / "work")
        recording.unlink()
        first = first or peak
        name = f"peak memory of the engine, {_spoken(minutes)}"
        found.append(Row(name, f"{peak:.0f} MB", f"≤ {first * GROWTH:.0f} MB", peak <= first * GROWTH))
    return found


# ── short clips ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _clips(model: Path, scratch: Path, count: int) -> list[Row]:
    """Seconds for each clip: a whole job of the engine beside one call of a warm model, in turns of a few clips."""
    folder = scratch / "clips"
    folder.mkdir()
    paths = write_clips(folder, count)
    ours: list[float] = []
    theirs: list[float] = []
    ratios = []
    with Engine(log=scratch / "engine.log") as engine, Side("sequential", model, batch=1) as side:
        _clip_job(engine, paths[0], model, scratch)
        side.ask("file", path=str(paths[0]))
        for first in range(0, count, BLOCK):
            block = paths[first : first + BLOCK]
            now = [_clip_job(engine, path, model, scratch) for path in block]
            then = [float(side.ask("file", path=str(path))["seconds"]) for path in block]
            ours += now
            theirs += then
            ratios.append(sum(now) / sum(then))
    middle = statistics.median(ratios)
    each = f"{statistics.mean(ours) * 1000:.0f} ms and {statistics.mean(theirs) * 1000:.0f} ms a clip"
    name = f"{count} clips of 5 to 15 s: a job of the engine ÷ a call of WhisperModel"
    return [Row(name, f"{middle:.2f}{_between(ratios)}; {each}", f"≤ {CLIPS:.2f}", middle <= CLIPS)]


def _clip_job(engine: Engine, path: Path, model: Path, scratch: Path) -> float:
    work = scratch / "work"
    request = job(work, path, _model(model))
    seconds = engine.run(request).seconds
    shutil.rmtree(work)
    return seconds


def _model(folder: Path) -> Model:
    return resolve(str(folder), None, folder, trusted=True)


def _spoken(minutes: float) -> str:
    return f"{minutes:g} min" if minutes < 60 else f"{minutes / 60:g} h"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.pipeline", description="Transcription: speed and memory.")
    parser.add_argument("--long", action="store_true", help="an hour through the random weights, ten hours of speech")
    return show("pipeline", rows(parser.parse_args().long))


if __name__ == "__main__":
    sys.exit(main())
