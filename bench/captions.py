"""Captions of finished jobs: from the scan that notices the wish to the files that lie there; and very long ones.

    python -m bench.captions

A worker has transcribed a recording; then another worker, whose engine is warm but has never loaded a model, finds the
same bytes under new keys with ``outputs`` in their sidecars. Measured is a whole sweep (two listings, options, download
and hash, claim, captions, publication) up to the moment when the result has been written, which is the last of the
files. Long captions are made by an engine alone, whose memory is read when it is done.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from bench import rig
from bench.cached import HOUR, SHORT
from bench.table import Row, show
from handler.child import ChildEngine
from handler.clock import SystemClock
from pipeline.options import OUTPUTS
from pipeline.types import ExportRequest

TIMES = 20
LONG = 100_000  # words: ten hours of speech
LIMIT_SECONDS = 0.2
LIMIT_LONG_SECONDS, LIMIT_MB = 5.0, 300.0

_MODEL_LIBRARIES = ("ctranslate2", "onnxruntime", "pocketsphinx", "libtorch", "libavcodec")


def rows(long: bool) -> list[Row]:
    """The figures; with ``long``, ten times as many."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for words in (SHORT, HOUR):
            seconds, loaded = _asked(folder / f"{words}", words, ("srt",), TIMES * (10 if long else 1))
            reached = rig.quantile(seconds, 0.95) <= LIMIT_SECONDS
            found.append(Row(f"SRT of a finished job, {words:,} words", rig.spread(seconds), "p95 ≤ 200 ms", reached))
        seconds, _ = _asked(folder / "all", HOUR, OUTPUTS, TIMES)
        found.append(Row(f"all four outputs, {HOUR:,} words", rig.spread(seconds)))
        found.append(Row("libraries of models in the engine", ", ".join(loaded) or "none", "none", not loaded))
        found += _long(folder / "long")
    return found


def _asked(folder: Path, words: int, kinds: tuple[str, ...], times: int) -> tuple[list[float], list[str]]:
    """Seconds of each repetition, and the libraries of models that the engine has loaded in the end."""
    store, work = rig.folder_bucket(folder / "bucket"), folder / "work"
    folder.mkdir()
    store.upload("input/first.flac", rig.RECORDING)
    first = rig.worker(store, work, rig.child_engine(0.0, words, work))
    first.run(drain=True)
    engine = ChildEngine(SystemClock(), home=work)
    second = rig.worker(store, work, engine, name="bench-captions")
    seconds = []
    for number in range(times + 1):
        store.put(f"input/again-{number}.flac.options.json", json.dumps({"outputs": kinds}).encode())
        store.upload(f"input/again-{number}.flac", rig.RECORDING)
        started = time.perf_counter()
        second.sweep()
        seconds.append(store.result_at - started)
        for kind in kinds:
            store.head(f"results/again-{number}.flac.{kind}")
    loaded = _loaded(engine)
    second.close()
    if second.tally.cached != times + 1:
        raise RuntimeError(f"not all came from the cache: {second.tally}")
    return seconds[1:], loaded  # the first one started the engine


def _loaded(engine: ChildEngine) -> list[str]:
    maps = Path(f"/proc/{engine.pid}/maps").read_text(encoding="utf-8")
    return [name for name in _MODEL_LIBRARIES if name in maps]


def _long(work: Path) -> list[Row]:
    work.mkdir()
    (work / "results.json").write_text(json.dumps(talk(LONG)), encoding="utf-8")
    found = []
    for kinds in (("srt",), OUTPUTS):
        engine = ChildEngine(SystemClock(), home=work)
        started = time.perf_counter()
        error = engine.export(ExportRequest(work=str(work), results="results.json", kinds=kinds), seconds=600.0)
        spent = time.perf_counter() - started
        if error is not None:
            raise RuntimeError(error.message)
        megabytes = _peak_mb(engine)
        engine.close()
        reached = spent <= LIMIT_LONG_SECONDS and megabytes <= LIMIT_MB
        measured = f"{spent:.2f} s with the engine's start, {megabytes:.0f} MB at most"
        target = f"≤ {LIMIT_LONG_SECONDS:g} s, ≤ {LIMIT_MB:g} MB"
        found.append(Row(f"{', '.join(kinds)} of {LONG:,} words", measured, target, reached))
    return found


def talk(words: int) -> dict[str, object]:
    """Results of so many words: two speakers in turns, sentences, pauses, paragraphs and utterances' words again."""
    text = "so my fellow citizens, ask not what your country can do for you: ask what you can do. Really?"
    vocabulary = text.split()
    said, at = [], 0.0
    for number in range(words):
        word = vocabulary[number % len(vocabulary)]
        start, at = at, at + (0.31 if number % 23 else 1.4)
        said.append(
            {
                "word": word.strip(",.:?").lower(), "start": round(start, 3), "end": round(start + 0.28, 3),
                "confidence": 0.9, "speaker": number // 37 % 2, "punctuated_word": word,
            }
        )  # fmt: skip
    best = {"transcript": text, "confidence": 0.9, "words": said}
    utterances = [{"start": 0.0, "end": at, "confidence": 0.9, "channel": 0, "transcript": "", "words": said}]
    return {"channels": [{"alternatives": [best]}], "utterances": utterances}


def _peak_mb(engine: ChildEngine) -> float:
    """The most memory that the engine's process ever had, in MB of 1,000,000 bytes."""
    for line in Path(f"/proc/{engine.pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError("no VmHWM: memory is measured on Linux only")


if __name__ == "__main__":
    sys.exit(show("captions", rows("--long" in sys.argv)))
