"""Separation of voices beside demucs' own apply_model, and the music detector that decides about it.

    python -m bench.separation [--long]

In a fresh process on one thread, on the CPU: an HTDemucs of demucs' own class with weights by chance separates noise,
by `pipeline.stages.separate` and by `apply_model` with ``shifts=0``, in turns; times are of the processor. With
``--long`` at its real size, too. Peak memory is that of processes that separate a short and a long recording. The
detector hears synthetic recordings that it was not tuned on.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from bench import rig
from bench.table import Row, show

RATE = 44_100
TINY: dict[str, Any] = {"channels": 8, "t_layers": 1, "t_heads": 2, "bottom_channels": 32, "segment": Fraction(39, 10)}
REAL: dict[str, Any] = {"channels": 48, "t_layers": 5, "bottom_channels": 512, "segment": Fraction(39, 5)}
SOURCES = ["drums", "bass", "other", "vocals"]
TIMES = 3
SHORT, LONG = 60, 600  # s
EACH = 3  # synthetic recordings of each kind and loudness


def rows(long: bool) -> list[Row]:
    found = [_beside("tiny", "60 s, 0.3 million parameters")]
    if long:
        found.append(_beside("real", "12 s, 42 million parameters"))
    short, tenfold = (_child("memory", str(seconds))["megabytes"] for seconds in (SHORT, LONG))
    found.append(
        Row(
            f"peak memory, {LONG} s against {SHORT} s (libraries and model included)",
            f"{tenfold:.0f} MB, {short:.0f} MB",
            "equal to 5 %",
            tenfold <= 1.05 * short,
        )
    )
    return [*found, *_detector(_child("music"))]


def _beside(size: str, named: str) -> Row:
    runs = [_child("speed", size) for _ in range(1 if size == "real" else TIMES)]
    ratio = rig.quantile([run["theirs"] / run["ours"] for run in runs], 0.5)
    ours = rig.quantile([run["ours"] for run in runs], 0.5)
    return Row(
        f"voices of stereo, {named}: throughput ÷ apply_model's",
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


def _measured(what: str, argument: str = "") -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        if what == "speed":
            return _speed(Path(folder), argument)
        return _memory(Path(folder), int(argument)) if what == "memory" else _music()


# ── in the child ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _separator(folder: Path, size: dict[str, Any]) -> tuple[Any, Any]:
    import torch
    from demucs.htdemucs import HTDemucs
    from safetensors.torch import save_file

    from pipeline.models.demucs import WEIGHTS, load_demucs, write_arguments

    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = HTDemucs(SOURCES, **size).eval()
    folder.mkdir()
    write_arguments(folder, {"sources": SOURCES, **size})
    save_file(net.state_dict(), folder / WEIGHTS)
    return net, load_demucs(folder)


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


def _speed(folder: Path, size: str) -> dict[str, Any]:
    import torch
    from demucs.apply import apply_model

    from pipeline.stages.overlap import Block
    from pipeline.stages.separate import separate

    seconds = 12 if size == "real" else 60
    net, separator = _separator(folder / "net", REAL if size == "real" else TINY)
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


def _memory(folder: Path, seconds: int) -> dict[str, Any]:
    from pipeline.stages.separate import separate

    _, separator = _separator(folder / "net", TINY)
    audio, wide = _sound(folder / "n", seconds, 16_000, 1), _sound(folder / "w", seconds, RATE, 2)
    (folder / "v").mkdir()
    separate(wide, audio, folder / "v", separator, lambda done, total: None, per_channel=False)
    return {"megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _music() -> dict[str, Any]:
    from tests.pipeline.music_sets import RATE as HEARD
    from tests.pipeline.music_sets import Score, cases, judged, recorded

    kinds: dict[str, list[int]] = {}
    score, count, spent, seconds = Score(), 0, 0.0, 0.0
    for case in cases(EACH):
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
