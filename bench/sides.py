"""The sides that ``bench pipeline`` compares, each warm in a process of its own, measured a piece at a time in turns.

    python -m bench.sides ours|ungated|batched|sequential MODEL_FOLDER BATCH

In the child: requests as JSON lines on stdin, one JSON line back for each. ``ours`` is `pipeline.stages.transcribe`
with the recogniser of `pipeline.models`, ``ungated`` the same with a quality gate that believes everything; the others
are faster-whisper's own classes over the same weights in the same precision, with word times, the same beam (5),
language (en) and batch size. Nothing here knows what a target is.
"""

from __future__ import annotations

import gc
import json
import logging
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.engine import ROOT, process_mb
from bench.speech import LANGUAGE
from pipeline.cores import asked

if TYPE_CHECKING:
    from pipeline.catalog import Model
    from pipeline.models.base import Recogniser

SIDES = ("ours", "batched", "ungated", "sequential")
OURS = ("ours", "ungated")


class Side:
    """The parent's end: a child that answers one request after the other. A context manager."""

    def __init__(self, name: str, model: Path, *, batch: int) -> None:
        self.name = name
        command = [sys.executable, "-m", "bench.sides", name, str(model), str(batch)]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
        environment |= asked(environment) if name in OURS else {}  # as an engine does
        self._child = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *raised: object) -> None:
        self._child.communicate()

    def ask(self, verb: str, **arguments: Any) -> Any:
        """The child's answer. `RuntimeError` if it ended; why is on its stderr, which is ours."""
        if self._child.stdin is None or self._child.stdout is None:
            raise RuntimeError("the child has no pipes")
        self._child.stdin.write(json.dumps([verb, arguments]) + "\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError(f"the side {self.name} ended with status {self._child.wait()}")
        return json.loads(line)


# ── in the child ─────────────────────────────────────────────────────────────────────────────────────────────────────

Windows = Sequence[Sequence[float]]  # (start, end) in seconds


class _Ours:
    """Windows by our own speech detection, words by our own recogniser."""

    def __init__(self, model: Path, batch: int, gated: bool) -> None:
        from pipeline.catalog import resolve
        from pipeline.models.base import Request

        found = resolve(str(model), None, model, trusted=True)
        self._recogniser = _recognisers(found) if gated else _ungated(found)
        self._recogniser()  # loads the weights
        self._request = Request(language=LANGUAGE, batch_size=batch)
        self._scratch = tempfile.TemporaryDirectory()

    def open(self, path: str) -> list[list[float]]:
        from pipeline.stages.decode import decode
        from pipeline.stages.vad import speech, windows

        nothing: Callable[..., None] = lambda *told: None  # noqa: E731
        folder = Path(tempfile.mkdtemp(dir=self._scratch.name))
        self._audio = decode(Path(path), folder, per_channel=False, max_duration=None, report=nothing, opened=nothing)
        self._windows = windows(speech(self._audio, 0, nothing))
        return [[window.start, window.end] for window in self._windows]

    def words(self, first: int, stop: int) -> list[str]:
        from pipeline.stages.transcribe import transcribe

        chosen = self._windows[first:stop]
        found = transcribe(self._audio, [chosen], self._recogniser(), self._request, lambda *told: None)
        return [word.text for channel in found.channels for word in channel.words]

    def file(self, path: str) -> list[str]:
        self.open(path)
        return self.words(0, len(self._windows))


def _recognisers(model: Model) -> Callable[[], Recogniser]:
    """One for each job, over the same loaded weights."""
    from pipeline.models import Models

    return partial(Models().get, model)


def _ungated(model: Model) -> Callable[[], Recogniser]:
    from pipeline.devices import DeviceSettings
    from pipeline.models.gate import Gate
    from pipeline.models.loading import load_whisper
    from pipeline.models.whisper import WhisperRecogniser

    anything = Gate(
        least_logprob=-math.inf,
        most_compression=math.inf,
        most_no_speech=math.inf,
        most_rate=math.inf,
        impossible_rate=math.inf,
        least_rate=0.0,
        most_outside=math.inf,
    )
    return partial(WhisperRecogniser, model, load_whisper(model, DeviceSettings()), anything)


class _Again(logging.Handler):
    """Counts the windows that the gate had decoded again, by what the recogniser logs of them."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += "decoded again" in record.msg


# Without what came before as a prompt: that is faster, and the models here know no prompts.
_ASKED: dict[str, Any] = {"language": LANGUAGE, "word_timestamps": True, "condition_on_previous_text": False}


class _Theirs:
    """faster-whisper's classes, given the same windows."""

    def __init__(self, model: Path, batch: int, sequential: bool) -> None:
        import ctranslate2
        from faster_whisper import BatchedInferencePipeline, WhisperModel

        # What our own loader takes on a CPU.
        kind = "int8_float32" if "int8_float32" in ctranslate2.get_supported_compute_types("cpu") else "float32"
        self._model = WhisperModel(str(model), device="cpu", compute_type=kind, local_files_only=True)
        self._pipeline = BatchedInferencePipeline(self._model)
        self._batch, self._sequential = batch, sequential

    def open(self, path: str, windows: Windows) -> list[list[float]]:
        from faster_whisper.audio import decode_audio

        self._audio = decode_audio(path)
        self._windows = windows
        return []

    def words(self, first: int, stop: int) -> list[str]:
        chosen = self._windows[first:stop]
        if self._sequential:
            edges = [edge for window in chosen for edge in window]
            segments, _ = self._model.transcribe(self._audio, clip_timestamps=edges, **_ASKED)
        else:
            clips = [{"start": start, "end": end} for start, end in chosen]
            segments, _ = self._pipeline.transcribe(
                self._audio, clip_timestamps=clips, batch_size=self._batch, **_ASKED
            )
        return [word.word for segment in segments for word in segment.words or ()]

    def file(self, path: str) -> list[str]:
        """One file as a user of the library has it transcribed: the batched mode with its own speech detection, the
        sequential one without.
        """
        if self._sequential:
            segments, _ = self._model.transcribe(path, **_ASKED)
        else:
            segments, _ = self._pipeline.transcribe(path, batch_size=self._batch, **_ASKED)
        return [word.word for segment in segments for word in segment.words or ()]


def _answer(side: _Ours | _Theirs, again: _Again, verb: str, given: dict[str, Any]) -> Any:
    if verb == "open":
        return side.open(**given)
    again.count = 0
    before = _fresh_peak()
    started = time.perf_counter()
    found = side.file(**given) if verb == "file" else side.words(**given)
    seconds = time.perf_counter() - started
    peak = process_mb(os.getpid(), "VmHWM") - before
    return {"seconds": seconds, "words": len(found), "again": again.count, "mb": peak}


def _fresh_peak() -> float:
    """Forget the most memory that this process ever held; gives what it holds now, in MB."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # Linux: resets VmHWM
    return process_mb(os.getpid(), "VmRSS")


def main() -> int:
    name, model, batch = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    again = _Again()
    recogniser = logging.getLogger("pipeline.models.whisper")
    recogniser.setLevel(logging.DEBUG)
    recogniser.addHandler(again)
    side: _Ours | _Theirs
    if name in OURS:
        side = _Ours(model, batch, gated=name == "ours")
    else:
        side = _Theirs(model, batch, sequential=name == "sequential")
    for line in sys.stdin:
        verb, given = json.loads(line)
        answers.write(json.dumps(_answer(side, again, verb, given)) + "\n")
        answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
