"""``./run bench [NAME] [--long] [--write]``: measure, and print figures beside what they must reach.

Without NAME, every bench in turn; with ``pipeline`` those of `TOGETHER`. ``--write`` puts what was measured into
bench/RESULTS.md, in place of the same benches' earlier figures. The exit code is 0 whether targets are reached or not,
because a busy machine is no bug; a bench that cannot be run ends with a traceback and 1.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType

from bench.results import PATH, here, renewed
from bench.table import Row, show

# Name → (module, what it measures). Modules are imported when their bench is run.
BENCHES: dict[str, tuple[str, str]] = {
    "decode": ("bench.decode", "Decoding: speed beside faster-whisper's, memory at growing lengths"),
    "pipeline": ("bench.pipeline", "Transcription beside faster-whisper's own modes: speed, memory, short clips"),
    "conversation": ("bench.conversation", "Alignment's Viterbi, and ten hours of words to speakers, on one core"),
    "separation": ("bench.separation", "Voices out of music beside demucs' apply_model, and the music detector"),
    "diarization": ("bench.diarization", "Who speaks when: memory at growing lengths, speed"),
    "whole": ("bench.whole", "Whole jobs: stages side by side beside one at a time, memory of all stages"),
    "gpu": ("bench.gpu", "Models of real size, random weights: stages, batch sizes, whole jobs, idle time"),
    "cached": ("bench.cached", "The same bytes again: from notice to result, without the engine"),
    "formatting": ("bench.formatting", "Another utt_split for a finished job: from retry to result, without a model"),
    "captions": ("bench.captions", "Captions of finished jobs, and of ten hours"),
    "wording": ("bench.wording", "Text options on ten hours of words"),
    "overhead": ("bench.overhead", "The handler's own work beside a job of a minute"),
    "process": ("bench.process", "Start-up of the command, memory of a worker"),
    "cold": ("bench.cold", "From the start of a worker's process to its first claim, without models"),
    "requests": ("bench.requests_per_job", "Requests to the store for each job"),
    "cost": ("bench.cost", "Dollars on AWS while nothing is to be done, by counted requests"),
    "sources": ("bench.sources", "From a drop to its result by queue and scan, many jobs, many workers, an idle one"),
}

# What one name stands for, where that is more than the bench itself: all of the pipeline, measured part by part.
TOGETHER = {"pipeline": ("pipeline", "conversation", "separation", "diarization", "whole")}


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run bench", description="Measure, and print a table of figures.")
    parser.add_argument(
        "name", nargs="?", choices=BENCHES, help="one bench (pipeline: with all of its parts); without it, all of them"
    )
    parser.add_argument("--long", action="store_true", help="more repetitions, longer recordings")
    parser.add_argument("--write", action="store_true", help="put the figures into bench/RESULTS.md")
    given = parser.parse_args()
    for name in TOGETHER.get(given.name, (given.name,)) if given.name else BENCHES:
        module, title = BENCHES[name]
        if importlib.util.find_spec(module) is None:
            print(f"{name}: left out, {module} is not there", file=sys.stderr)
            continue
        print(f"{name}: measuring", file=sys.stderr)
        bench = importlib.import_module(module)
        rows: list[Row] = bench.rows(given.long)
        show(f"{name}: {title}", rows)
        if given.write:
            before = PATH.read_text(encoding="utf-8") if PATH.exists() else ""
            PATH.write_text(
                renewed(before, name, title, rows, here(_gpu(bench)), order=list(BENCHES)), encoding="utf-8"
            )
    return 0


def _gpu(bench: ModuleType) -> str | None:
    """The GPU that a bench uses: most use none, and have no function to tell."""
    told: Callable[[], str | None] | None = getattr(bench, "gpu", None)
    return told() if told is not None else None


if __name__ == "__main__":
    sys.exit(main())
