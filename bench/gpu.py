"""The pipeline with models of real size on a GPU: each stage, batch sizes, whole jobs, memory, idle time.

    python -m bench.gpu [--long] [--scratch FOLDER]

Weights are random and say a fixed text (`bench.shapes`), so a window always costs the same number of tokens and what is
measured is the machine's work. Each stage is measured by itself (`bench.gpu_stages`, and `bench.gpu_beside` for those
beside the recogniser), then two jobs in a row run in the real engine under a stop-watch (`bench.watched`), aligned and
with speakers: the second recording is decoded while the first job runs, as a worker has it done. One more has its
voices separated. Peak memory is what all processes hold on the GPU less what they held before, asked of the driver.

Without a GPU the small form runs: a toy on the CPU, which proves the script from end to end and says nothing of a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bench import gpu_beside
from bench.decode import make_mp3
from bench.engine import ROOT, Engine, Ran, job
from bench.nets import SIZES, companions_of, lacking, left_out
from bench.shapes import SHAPES, folder_of
from bench.speech import write_speech, write_windows
from bench.table import Row, show
from bench.watched import BESIDE, CALLS, Span, covered, read
from pipeline.catalog import SUGGESTED, Model, resolve
from pipeline.companions import Companions
from pipeline.devices import Gpu, Gpus, gpus
from pipeline.plan import SEPARATING
from pipeline.types import JobRequest, Media, PrepareRequest, StageDone

TARGET = 120.0  # × real time, whole jobs with the model that is suggested, on one H100
_SAMPLING = 0.05  # seconds between two looks at the GPU's memory


@dataclass(frozen=True, slots=True)
class Plan:
    """``minutes``: of each of the two recordings; ``windows``: that the stages work on, at least the largest batch;
    ``beside``: size of the models beside the recogniser; ``heard``: windows of 30 s that those work on by themselves.
    """

    shapes: tuple[str, ...] = ("large-v3-turbo", "large-v3")
    batches: tuple[int, ...] = (1, 8, 16, 32)
    minutes: int = 20
    windows: int = 32
    device: str = "cuda"
    beside: str = "real"
    heard: int = 10


SMALL = Plan(shapes=("toy",), batches=(1, 2), minutes=2, windows=2, device="cpu", beside="toy", heard=1)
LONG = Plan(minutes=120, windows=128)


def rows(long: bool) -> list[Row]:
    """The figures; with ``long``, recordings of two hours."""
    return measured(_scratch(), long)


def gpu() -> str | None:
    """The name of the GPU that is used, None for the CPU."""
    found = gpus().found
    return found[0].name if found else None


def measured(
    scratch: Path, long: bool = False, look: Callable[[], Gpus] = gpus, lacks: Callable[[], str] = lacking
) -> list[Row]:
    """All of it on the first GPU, or the small form where there is none. ``scratch``: where models are kept; ``lacks``:
    what of the extra is not installed.
    """
    found = look()
    if not found.found:
        told = f"a toy on the CPU, no figure of a GPU: {found.problem}"
        return [Row("small form", told), *_of(SMALL, scratch, lacks())]
    return [Row("device", found.found[0].described), *_of(LONG if long else Plan(), scratch, lacks())]


def _of(plan: Plan, scratch: Path, missing: str) -> list[Row]:
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="dropscribe-bench-") as name:
        # Full windows alone: the fixed text would be too much for a short one, and the quality gate would say so.
        spoken = write_windows(Path(name) / "speech.wav", 2)
        recording = make_mp3(Path(name) / "speech.mp3", plan.minutes, [spoken])
        companions, found = _beside(plan, scratch, missing, write_windows(Path(name) / "heard.wav", plan.heard))
        for shape in plan.shapes:
            folder = folder_of(SHAPES[shape], scratch)
            found += _stages(shape, folder, recording, plan)
            found += _jobs(shape, folder, recording, plan, Path(name), companions)
        return found


def _beside(plan: Plan, scratch: Path, missing: str, recording: Path) -> tuple[Companions | None, list[Row]]:
    """The models that whole jobs get, None where they cannot be used, and what their stages cost."""
    if missing:
        return None, [left_out("stages beside the recogniser", missing)]
    try:
        rows = gpu_beside.rows(plan.beside, scratch, recording, plan.device)
    except RuntimeError as error:
        return None, [Row("stages beside the recogniser", f"left out: {error}")]
    return companions_of(SIZES[plan.beside], scratch), rows


# ── each stage by itself ─────────────────────────────────────────────────────────────────────────────────────────────


def _stages(shape: str, folder: Path, recording: Path, plan: Plan) -> list[Row]:
    command = [sys.executable, "-m", "bench.gpu_stages", str(folder), str(recording), plan.device, str(plan.windows)]
    with _memory(plan) as memory:
        done = subprocess.run(
            [*command, *map(str, plan.batches)], cwd=ROOT, env=_environment(plan), check=True, stdout=subprocess.PIPE
        )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    alone = ", ".join(f"{name} {_speed(cost)}" for name, cost in found["alone"].items())
    said = f"; {found['tokens']:.0f} tokens a window" if "tokens" in found else ""
    return [
        Row(f"{shape}: alone on the CPU, × real time", alone),
        *(_batch(shape, size, costs) for size, costs in found["batches"].items()),
        Row(f"{shape}: peak GPU memory of the largest batch", f"{memory.described}{said}"),
    ]


def _batch(shape: str, size: str, costs: dict[str, float] | str) -> Row:
    name = f"{shape}: batch of {size}, × real time"
    if isinstance(costs, str):
        return Row(name, costs)
    each = ", ".join(f"{stage} {_speed(cost)}" for stage, cost in costs.items())
    without = sum(cost for stage, cost in costs.items() if stage != "align")
    return Row(name, f"{each}; all {_speed(sum(costs.values()))}, without word times {_speed(without)}")


def _speed(cost: float) -> str:
    """Seconds of work for a second of sound, as times real time."""
    return f"{1 / cost:,.0f}" if cost else "∞"


# ── whole jobs ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _jobs(
    shape: str, folder: Path, recording: Path, plan: Plan, scratch: Path, companions: Companions | None
) -> list[Row]:
    work = scratch / f"jobs-{shape}"
    work.mkdir()
    spans = work / "spans.jsonl"
    command = (sys.executable, "-m", "bench.watched", str(spans))
    with (
        _memory(plan) as memory,
        Engine(command=command, log=work / "engine.log", cuda=plan.device == "cuda") as engine,
    ):
        make = partial(job, model=_model(folder), companions=companions, diarize=companions is not None)
        first, second = _pair(engine, recording, make, work)
        within = read(spans)
        separated = _separated(shape, engine, make, work, plan) if companions is not None else []
    return [
        _whole(shape, first, second, plan, "recognised, aligned, told apart" if companions else "recognised alone"),
        *_spent(shape, first, second, within),
        *separated,
        Row(f"{shape}: peak GPU memory of the jobs", memory.described),
    ]


def _pair(engine: Engine, recording: Path, make: Callable[..., JobRequest], work: Path) -> tuple[Ran, Ran]:
    """Two jobs in a row on a warm engine; the second one's recording is decoded while the first one runs."""
    engine.run(make(work / "warm", write_windows(work / "warm.wav", 2)))
    ahead = work / "ahead"
    ahead.mkdir()
    prepare = PrepareRequest(folder=str(ahead), source=str(recording), per_channel=False)
    first = engine.run(make(work / "first", recording), beside=prepare)
    second = engine.run(make(work / "second", recording, prepared=ahead))
    return first, second


def _separated(shape: str, engine: Engine, make: Callable[..., JobRequest], work: Path, plan: Plan) -> list[Row]:
    """A job whose voices are separated, though there is no music; the separator is warm."""
    heard = write_windows(work / "heard.wav", plan.heard)
    engine.run(make(work / "loads", write_speech(work / "loads.wav", 5), stemming="true"))
    ran = engine.run(make(work / "separated", heard, stemming="true"))
    took = {event.stage: event.seconds for _, event in ran.events if isinstance(event, StageDone)}
    share = took.get(SEPARATING, 0.0) / ran.seconds
    measured_ = f"{_length(ran) / ran.seconds:.1f} × real time; {share:.0%} of the wall is separation"
    return [Row(f"{shape}: one job of {plan.heard / 2:g} min, voices separated", measured_)]


def _whole(shape: str, first: Ran, second: Ran, plan: Plan, what: str) -> Row:
    speed = (_length(first) + _length(second)) / (second.ended - first.started)
    alone, ahead = _length(first) / first.seconds, _length(second) / second.seconds
    each = f"{alone:.0f} and, decoded beside the first, {ahead:.0f}"
    name = f"{shape}: two jobs of {plan.minutes} min in a row, file to result, {what}"
    if plan.device != "cuda" or shape != SUGGESTED:
        return Row(name, f"{speed:.0f} × real time: {each}")
    return Row(name, f"{speed:.0f} × real time: {each}", f"≥ {TARGET:.0f} × (H100)", speed >= TARGET)


def _length(ran: Ran) -> float:
    """Seconds of sound in the job's recording, as decoded."""
    return [event.duration or 0.0 for _, event in ran.events if isinstance(event, Media)][-1]


def _spent(shape: str, first: Ran, second: Ran, spans: Sequence[Span]) -> Iterator[Row]:
    """Where the wall time of the two jobs went, by the models' calls."""
    begin, end = first.started, second.ended
    audio = _length(first) + _length(second)
    within = [span for span in spans if span.end > begin]
    calls = {name: [span.end - span.begin for span in within if span.name == name] for name in (*CALLS, *BESIDE)}
    each = [f"{name} {_speed(sum(took) / audio)} ({len(took)} calls)" for name, took in calls.items() if took]
    yield Row(f"{shape}: the models' calls in these jobs, × real time", ", ".join(each))
    idle = [1 - covered(within, one.started, one.ended) / one.seconds for one in (first, second)]
    whole = 1 - covered(within, begin, end) / (end - begin)
    before = max((span.end for span in within if span.end <= first.ended), default=begin)
    after = min((span.begin for span in within if span.begin >= second.started), default=end)
    measured_ = f"{whole:.0%} of the wall: {idle[0]:.0%} in the first, {idle[1]:.0%} in the second"
    yield Row(f"{shape}: no call of a model under way", f"{measured_}; {after - before:.2f} s between them")


def _model(folder: Path) -> Model:
    return resolve(str(folder), None, folder, trusted=True)


# ── the machine ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class _Memory:
    """Bytes that all processes hold on the first GPU: ``before`` the work, and the most that was seen; None: no GPU."""

    before: int | None = None
    most: int | None = None
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def described(self) -> str:
        if self.before is None or self.most is None:
            return "not on a GPU"
        return f"{(self.most - self.before) / 2**30:.2f} GiB"

    def look(self) -> None:
        while not self.over.wait(_SAMPLING):
            held = _held(gpus().found)
            if held is not None:
                self.most = max(held, self.most or 0)


@contextmanager
def _memory(plan: Plan) -> Iterator[_Memory]:
    memory = _Memory()
    if plan.device != "cuda":
        yield memory
        return
    memory.before = memory.most = _held(gpus().found)
    thread = threading.Thread(target=memory.look, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        memory.over.set()
        thread.join()


def _held(found: Sequence[Gpu]) -> int | None:
    return found[0].allocated if found else None


def _environment(plan: Plan) -> dict[str, str]:
    return {**os.environ, **({} if plan.device == "cuda" else {"CUDA_VISIBLE_DEVICES": ""})}


def _scratch() -> Path:
    return Path(tempfile.gettempdir()) / "dropscribe-bench"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description="Models of real size on a GPU.")
    parser.add_argument("--long", action="store_true", help="recordings of two hours")
    parser.add_argument("--scratch", type=Path, default=_scratch(), help="where the models are kept between runs")
    given = parser.parse_args()
    return show("gpu", measured(given.scratch, given.long))


if __name__ == "__main__":
    sys.exit(main())
