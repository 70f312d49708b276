"""Another utt_split for a finished job: from the retry to the new result, without a model.

    python -m bench.formatting

A worker has transcribed a recording. Another one, with the real engine, is warm; then the recording's sidecar is
changed and it is retried, again and again. Measured is the retry and the sweep after it, up to the moment when the new
result has been written. That no model was needed is seen in the stages that each job ran, and in the engine's process:
no recogniser's library is mapped into it.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from bench import rig
from bench.table import Row, show
from handler.child import ChildEngine
from handler.clock import SystemClock
from handler.job import Jobs
from handler.layout import Layout
from handler.retry import Retry
from handler.types import Manifest
from pipeline.plan import GENERATING_OUTPUT

TIMES = 20
SHORT, HOUR = 30, 10_000  # words of the example, and of an hour of speech
LIMIT_SECONDS = 0.2
KEY = "talk.flac"
RECOGNISERS = ("ctranslate2", "pocketsphinx", "onnxruntime", "torch")


def rows(long: bool) -> list[Row]:
    """The figures; with ``long``, ten times as many."""
    found: list[Row] = []
    ran: set[str] = set()
    loaded: set[str] = set()
    with tempfile.TemporaryDirectory() as name:
        for words in (SHORT, HOUR):
            folder = Path(name) / str(words)
            seconds = _measure(folder, words, TIMES * (10 if long else 1), ran, loaded)
            reached = rig.quantile(seconds, 0.95) <= LIMIT_SECONDS
            found.append(Row(f"another utt_split, {words:,} words", rig.spread(seconds), "p95 ≤ 200 ms", reached))
    found.append(Row("stages that were run", ", ".join(sorted(ran)), GENERATING_OUTPUT, ran == {GENERATING_OUTPUT}))
    found.append(Row("recognisers in the engine", ", ".join(sorted(loaded)) or "none", "none", not loaded))
    return found


def _measure(folder: Path, words: int, times: int, ran: set[str], loaded: set[str]) -> list[float]:
    """Seconds of each change; ``ran``: stages that any of them ran; ``loaded``: recognisers' libraries that were
    mapped.
    """
    store, work = rig.folder_bucket(folder / "bucket"), folder / "work"
    store.upload(f"input/{KEY}", rig.RECORDING)
    first = rig.worker(store, work, rig.child_engine(0.0, words, work))
    first.run(drain=True)
    clock, layout = SystemClock(), Layout.of(store.url, rig.settings(work))
    retry = Retry(Jobs(store, layout, clock, rig.settings(work), "bench-retry"))
    engine = ChildEngine(clock, home=work)
    worker = rig.worker(store, work, engine, name="bench-warm")
    seconds = []
    for number in range(times + 1):  # the first one starts the engine
        store.put(f"input/{KEY}.options.json", json.dumps({"utt_split": 0.5 + number / 1000}).encode())
        worker.sweep()  # an idle one, after which it is nothing special that the recording was settled just now
        started = time.perf_counter()
        retry.key(KEY)
        worker.sweep()
        seconds.append(store.result_at - started)
        manifest = Manifest.model_validate_json(store.get(layout.progress_key(KEY)).body)
        if manifest.status != "completed" or store.result_at < started:
            raise RuntimeError(f"not published again: {manifest.message}")
        ran |= set(manifest.timings)
    loaded |= _mapped(engine.pid)
    worker.close()
    return seconds[1:]


def _mapped(pid: int | None) -> set[str]:
    """The recognisers whose native code is in a process's memory (Linux)."""
    maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace")
    return {name for name in RECOGNISERS if name in maps}


if __name__ == "__main__":
    sys.exit(show("formatting", rows("--long" in sys.argv)))
