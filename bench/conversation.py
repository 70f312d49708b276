"""What makes a transcript a conversation, without the models: alignment's Viterbi and words × speakers.

    python -m bench.conversation

In a fresh process on one thread: made-up emissions of a model of letters (a frame every 20 ms) and of one of subwords
(80 ms), for an hour in windows of 30 s; NeMo's `viterbi_decoding` on some of the same windows, in turns, where NeMo is
installed. Then 20,000 words of four speakers over ten hours, from posteriors and from turns. Times are of the
processor, so that a busy machine does not lengthen them; compiling comes before.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import string
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bench import rig
from bench.nets import left_out
from bench.table import Row, show
from pipeline.types import Word

WINDOWS, SECONDS = 120, 30.0  # an hour
BESIDE_NEMO = 3  # windows: NeMo takes a third of a second for each
HOURS, WORDS, SPEAKERS = 10, 20_000, 4
TIMES = 3
LIMIT_VITERBI, LIMIT_MAPPING = 0.5, 1.0  # seconds
# Seconds a frame, columns, tokens in a window: 15 letters a second; subwords of four letters.
LETTERS, SUBWORDS = (0.02, 30, 450), (0.08, 1025, 112)

Emissions: TypeAlias = NDArray[np.float32]
Windows: TypeAlias = list[tuple[Emissions, NDArray[np.int32]]]


def rows(long: bool) -> list[Row]:
    """The figures; with ``long``, of three times as many processes."""
    return measured(TIMES * (3 if long else 1))


def measured(times: int) -> list[Row]:
    """Each figure is the median of so many processes."""
    runs = [_child() for _ in range(times)]
    middle = {key: rig.quantile([run[key] for run in runs], 0.5) for key in runs[0]}
    by = "numba" if importlib.util.find_spec("numba") else "numpy, numba is not installed"
    found = [
        Row(
            f"Viterbi of an hour, letters, a frame every 20 ms ({by})",
            f"{middle['letters']:.2f} s",
            f"≤ {LIMIT_VITERBI} s",
            middle["letters"] <= LIMIT_VITERBI,
        ),
        Row("Viterbi of an hour, subwords, a frame every 80 ms", f"{middle['subwords']:.2f} s"),
        Row("an hour's words aligned: spelt, wildcards, Viterbi, times", f"{middle['aligned']:.2f} s"),
    ]
    if "nemo" in middle:
        ratio = middle["nemo"] / middle["beside"]
        hour = middle["nemo"] * WINDOWS / BESIDE_NEMO
        found.append(Row("NeMo's viterbi_decoding, letters", f"{hour:.1f} s for an hour, {ratio:.0f} times ours"))
    else:
        found.append(left_out("NeMo's viterbi_decoding", "nemo"))
    named = f"{WORDS:,} words, {HOURS} h, {SPEAKERS} speakers"
    return [
        *found,
        *(
            Row(
                f"{named}: from {source}",
                f"{middle[source]:.2f} s",
                f"≤ {LIMIT_MAPPING:.0f} s",
                middle[source] <= LIMIT_MAPPING,
            )
            for source in ("posteriors", "turns")
        ),
        Row("ten times as many words and hours ÷ that, from posteriors", f"{middle['tenfold']:.1f}"),
    ]


def _child() -> dict[str, float]:
    command = [sys.executable, "-m", "bench.conversation", "--child"]
    alone = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=rig.ROOT, check=True, capture_output=True, env=alone)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def _measured() -> dict[str, float]:
    chance = np.random.default_rng(1)
    found: dict[str, float] = {}
    _mapped(chance, found)
    _aligned(chance, found)
    _viterbi(chance, found)  # last, for NeMo fills the process
    return found


# ── alignment ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _viterbi(chance: np.random.Generator, found: dict[str, float]) -> None:
    for name, (step, columns, count) in (("subwords", SUBWORDS), ("letters", LETTERS)):
        # A few windows, again and again: an hour of emissions would only show how fast memory is.
        windows = [_window(chance, step, columns, count) for _ in range(BESIDE_NEMO)]
        _ours(windows)  # compiles
        _timed(found, name, partial(_ours, windows * (WINDOWS // len(windows))))
    _timed(found, "beside", partial(_ours, windows))
    if importlib.util.find_spec("nemo"):
        _nemo(windows, found)


def _ours(windows: Windows) -> None:
    from pipeline.stages.alignment import viterbi

    for emissions, tokens in windows:
        viterbi(emissions, tokens, 0)


def _nemo(windows: Windows, found: dict[str, float]) -> None:
    import torch
    from nemo.collections.asr.parts.utils.aligner_utils import viterbi_decoding

    torch.set_num_threads(1)
    ready = []
    for emissions, tokens in windows:
        states = np.zeros(2 * len(tokens) + 1, dtype=np.int64)
        states[1::2] = tokens
        sizes = torch.tensor([len(emissions)]), torch.tensor([len(states)])
        ready.append((torch.from_numpy(emissions)[None], torch.from_numpy(states)[None], *sizes, torch.device("cpu")))
    _timed(found, "nemo", lambda: [viterbi_decoding(*window) for window in ready])


def _window(chance: np.random.Generator, step: float, columns: int, count: int) -> tuple[Emissions, NDArray[np.int32]]:
    raw = chance.normal(size=(round(SECONDS / step), columns)) * 3
    emissions = raw - np.log(np.exp(raw).sum(axis=1, keepdims=True))
    return emissions.astype(np.float32), chance.integers(1, columns, count).astype(np.int32)


def _aligned(chance: np.random.Generator, found: dict[str, float]) -> None:
    from pipeline.stages.alignment import Alphabet, align

    alphabet = Alphabet({letter: nth for nth, letter in enumerate("_ " + string.ascii_lowercase)}, 0, separator=1)
    step, columns, _ = LETTERS
    emissions, _ = _window(chance, step, columns, 1)
    texts = ["Nobody,", "knows", "the", "reason.", "In", "1984", "it", "wasn't", "naïve"] * 9
    each = SECONDS / len(texts)
    words = [Word(text=text, start=nth * each, end=(nth + 1) * each, confidence=0.9) for nth, text in enumerate(texts)]
    align(words, 0.0, SECONDS, emissions, alphabet, step)
    _timed(found, "aligned", lambda: [align(words, 0.0, SECONDS, emissions, alphabet, step) for _ in range(WINDOWS)])


# ── words × speakers ─────────────────────────────────────────────────────────────────────────────────────────────────


def _mapped(chance: np.random.Generator, found: dict[str, float]) -> None:
    from pipeline.stages.assignment import Turn, from_posteriors, from_turns

    words, speakers, posteriors = _dialogue(chance, WORDS, HOURS)
    turns = [Turn(words[nth].start, words[nth + 9].end, int(speakers[nth])) for nth in range(0, WORDS, 10)]
    _timed(found, "posteriors", lambda: from_posteriors(words, posteriors, 0.08))
    _timed(found, "turns", lambda: from_turns(words, turns))
    words, _, posteriors = _dialogue(chance, 10 * WORDS, 10 * HOURS)
    _timed(found, "tenfold", lambda: from_posteriors(words, posteriors, 0.08))
    found["tenfold"] /= found["posteriors"]


def _dialogue(
    chance: np.random.Generator, count: int, hours: int
) -> tuple[list[Word], NDArray[np.int64], NDArray[np.float32]]:
    """Turns of ten words; posteriors at 80 ms as Sortformer gives them, shape (frames, speakers)."""
    each = hours * 3600 / count
    words = [
        Word(text="so." if nth % 10 == 9 else "so", start=nth * each, end=(nth + 0.8) * each, confidence=0.9)
        for nth in range(count)
    ]
    speakers = np.repeat(chance.integers(0, SPEAKERS, count // 10), 10)
    frames = int(hours * 3600 / 0.08)
    posteriors = chance.random((frames, SPEAKERS), dtype=np.float32) * np.float32(0.3)
    speaking = np.minimum((np.arange(frames) * 0.08 / each).astype(np.int64), count - 1)
    posteriors[np.arange(frames), speakers[speaking]] += 0.6
    return words, speakers, posteriors


def _timed(found: dict[str, float], name: str, step: Callable[[], Any]) -> None:
    started = time.process_time()
    step()
    found[name] = time.process_time() - started


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.conversation", description="Alignment, words × speakers.")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(_measured()))
        return 0
    return show("conversation", rows(given.long))


if __name__ == "__main__":
    sys.exit(_main())
