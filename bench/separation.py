"""Separation of voices beside demucs' own apply_model, and the music detector that decides about it.

    python -m bench.separation [--long]

In a fresh process on one thread, on the CPU: an HTDemucs of demucs' own class with weights by chance separates noise,
by `pipeline.stages.separate` and by `apply_model` with ``shifts=0``, in turns; times are of the processor. With
``--long`` at its real size, too. Peak memory is that of processes that separate short and long recordings. The
detector hears synthetic recordings that it was not tuned on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench import rig
from bench.engine import process_mb
from bench.nets import REAL_SEPARATOR, TINY_SEPARATOR, lacking, left_out, write_separator
from bench.table import Row, show

RATE = 44_100
GROWTH = 1.05


@dataclass(frozen=True, slots=True)
class Plan:
    """``seconds`` of sound to compare speeds with, ``times`` over; ``lengths``: minutes, of which memory is told;
    ``each``: synthetic recordings of each kind and loudness; ``real``: whether the net of real size is compared, too.
    """

    seconds: int = 60
    times: int = 3
    lengths: tuple[float, ...] = (10, 30)
    each: int = 3
    real: bool = False


def rows(long: bool) -> list[Row]:
    """The figures; with ``long``, at the real size, too."""
    return measured(Plan(real=long))


def measured(plan: Plan, missing: str | None = None) -> list[Row]:
    """``missing``: what of the extra is not installed, empty if nothing is; None to find out."""
    heard = _detector(_child("music", str(plan.each)))
    if lacks := lacking() if missing is None else missing:
        return [left_out("separation", lacks), *heard]
    found = [_beside("tiny", plan.seconds, plan.times, "0.3 million parameters")]
    if plan.real:
        found.append(_beside("real", 12, 1, "42 million parameters"))
    peaks = [_child("memory", str(minutes))["megabytes"] for minutes in plan.lengths]
    found.append(
        Row(
            f"peak memory at {' and '.join(f'{minutes:g}' for minutes in plan.lengths)} min, model included",
            " and ".join(f"{peak:.0f} MB" for peak in peaks),
            f"equal to {GROWTH - 1:.0%}",
            max(peaks) <= GROWTH * peaks[0],
        )
    )
    return [*found, *heard]


def _beside(size: str, seconds: int, times: int, named: str) -> Row:
    runs = [_child("speed", size, str(seconds)) for _ in range(times)]
    ratio = rig.quantile([run["theirs"] / run["ours"] for run in runs], 0.5)
    ours = rig.quantile([run["ours"] for run in runs], 0.5)
    return Row(
        f"voices of stereo, {seconds} s, {named}: throughput ÷ apply_model's",
        f"{ratio:.2f}, {ours:.1f} s, largest difference {runs[0]['difference']:.0e}",
        "≥ 1",
        ratio >= 1,
    )


def _detector(told: dict[str, Any]) -> list[Row]:
    kinds = ", ".join(f"{kind} {taken} of {count}" for kind, (taken, count) in sorted(told["kinds"].items()))
    return [
        Row("music detector, an hour", f"{told['hour']:.1f} s"),
        Row(
            "music detector, synthetic recordings, drums alone left out",
            f"precision {told['precision']:.2f}, recall {told['recall']:.2f} of {told['count']}",
        ),
        Row("taken for music", kinds),
        Row(
            "recorded voices, alone and over synthetic music 6 dB below",
            f"precision {told['real'][0]:.2f}, recall {told['real'][1]:.2f} of {told['real'][2]}",
        ),
    ]


def _child(*what: str) -> dict[str, Any]:
    alone = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "bench.separation", "--child", *what]
    done = subprocess.run(command, cwd=rig.ROOT, check=True, capture_output=True, env=alone)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _measured(what: str, argument: str, seconds: str = "0") -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        if what == "speed":
            return _speed(Path(folder), argument, int(seconds))
        return _memory(Path(folder), float(argument)) if what == "memory" else _music(int(argument))


# ── in the child ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _separator(folder: Path, size: dict[str, Any]) -> tuple[Any, Any]:
    import torch

    from pipeline.models.demucs import load_demucs

    torch.set_num_threads(1)
    return write_separator(folder, size), load_demucs(folder)


def _sound(folder: Path, seconds: int, rate: int, tracks: int) -> Any:
    from pipeline.stages.audio import Audio, TrackWriter
    from pipeline.types import MediaInfo

    folder.mkdir()
    info = MediaInfo(duration=seconds, channels=2, container="wav", codec="pcm_s16le")
    with TrackWriter(folder, tracks, rate) as writer:
        for second in range(seconds):
            noise = np.random.default_rng(second).integers(-9000, 9000, (rate, tracks))
            writer.write(noise.astype(np.int16))
    return Audio(folder, info, tracks, writer.samples, rate=rate)


def _speed(folder: Path, size: str, seconds: int) -> dict[str, Any]:
    import torch
    from demucs.apply import apply_model

    from pipeline.stages.overlap import Block
    from pipeline.stages.separate import separate

    net, separator = _separator(folder / "net", REAL_SEPARATOR if size == "real" else TINY_SEPARATOR)
    audio, wide = _sound(folder / "n", seconds, 16_000, 1), _sound(folder / "w", seconds, RATE, 2)
    (folder / "v").mkdir()

    def ours() -> Block:
        found = separate(wide, audio, folder / "v", separator, lambda done, total: None, per_channel=False)
        return found.read(0, 0, found.samples)

    def theirs() -> Block:
        wav = torch.from_numpy(np.stack([wide.read(track, 0, wide.samples) for track in (0, 1)]))
        mono = wav.mean(0)
        std = mono.std() + 1e-8
        made = apply_model(net, ((wav - mono.mean()) / std)[None], shifts=0)[0, 3] * std + mono.mean()
        track: Block = made.mean(0, keepdim=True).numpy()
        return track

    found: dict[str, Any] = {}
    if size != "real":
        ours(), theirs()  # what is only done once
    for name, step in (("ours", ours), ("theirs", theirs)):
        started = time.process_time()
        found[name + " made"] = step()
        found[name] = time.process_time() - started
    found["difference"] = _difference(found.pop("ours made"), found.pop("theirs made"))
    return found


def _difference(ours: Any, theirs: Any) -> float:
    """At 16 kHz, theirs resampled as ours is."""
    from pipeline.stages.downsample import ByLibav

    resampler = ByLibav(RATE, 1)
    track = np.concatenate([*resampler.push(theirs), *resampler.drain()])[:, 0] / 32768
    count = min(len(track), len(ours))
    return float(np.abs(track[:count] - ours[:count]).max())


def _memory(folder: Path, minutes: float) -> dict[str, Any]:
    from pipeline.stages.separate import separate

    seconds = round(minutes * 60)
    _, separator = _separator(folder / "net", TINY_SEPARATOR)
    audio, wide = _sound(folder / "n", seconds, 16_000, 1), _sound(folder / "w", seconds, RATE, 2)
    (folder / "v").mkdir()
    separate(wide, audio, folder / "v", separator, lambda done, total: None, per_channel=False)
    return {"megabytes": process_mb(os.getpid(), "VmHWM")}  # not ru_maxrss, which begins with the parent's


def _music(each: int) -> dict[str, Any]:
    from tests.pipeline.music_sets import RATE as HEARD
    from tests.pipeline.music_sets import Score, cases, judged, recorded

    kinds: dict[str, list[int]] = {}
    score, count, spent, seconds = Score(), 0, 0.0, 0.0
    for case in cases(each):
        started = time.process_time()
        said = judged(case.sound).worth_separating
        spent += time.process_time() - started
        seconds += len(case.sound) / HEARD
        taken = kinds.setdefault(case.kind, [0, 0])
        taken[0] += said
        taken[1] += 1
        if case.kind != "drums":
            score, count = score.plus(case.is_music, said), count + 1
    real, heard = Score(), 0
    for case in recorded():
        real, heard = real.plus(case.is_music, judged(case.sound).worth_separating), heard + 1
    return {
        "precision": score.precision,
        "recall": score.recall,
        "count": count,
        "kinds": kinds,
        "hour": spent / seconds * 3600,
        "real": [real.precision, real.recall, heard],
    }


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.separation", description="Voices out of music.")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(_measured(*given.child)))
        return 0
    return show("separation", rows(given.long))


if __name__ == "__main__":
    sys.exit(_main())
