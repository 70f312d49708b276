"""Where somebody speaks: Silero VAD over one track, and the windows that a recogniser takes.

Takes `Audio`, gives spans in seconds. The model is the one inside faster-whisper's wheel, run block by block with its
state carried on: the same probabilities as over the whole recording at once, in flat memory, but for what it forgets in
long silences. Knows nothing of recognisers but the longest window they take.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelUnavailable
from pipeline.stages.audio import Audio, seconds
from pipeline.types import SAMPLE_RATE, Span, SpeechWindow

FRAME = 512  # samples (32 ms): what the model judges at a time
LONGEST = 30.0  # s; a recogniser's window
_CONTEXT = 64  # samples of the frame before, which the model wants to see
_STATE = (1, 1, 128)  # shape of the LSTM's h and of its c
_BLOCK = 250  # frames run at a time (8 s): more cost memory and gain nothing
_STRETCH = 125  # frames (4 s) of silence after which the model starts afresh
_SILENCE = 0.1  # a probability below which a frame is certainly none of speech
_MODEL = "silero_vad_v6.onnx"

Report = Callable[[float, float | None], None]
Probabilities = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When speech begins and ends. Probabilities in [0, 1], times in seconds.

    Speech begins at ``onset`` and lasts until the probability has been below ``offset`` for ``min_silence``; less than
    ``min_speech`` of it is a click. ``pad`` is added on both sides, because recognisers want to hear a word's edges; at
    most half of ``min_silence``, so that spans never overlap.
    """

    onset: float = 0.5
    offset: float = 0.35
    min_speech: float = 0.1
    min_silence: float = 0.5
    pad: float = 0.2

    def __post_init__(self) -> None:
        if not (0 <= self.offset <= self.onset <= 1 and 0 <= 2 * self.pad <= self.min_silence):
            raise ValueError(f"thresholds that cannot be: {self}")


DEFAULT = Thresholds()


def speech(audio: Audio, track: int, report: Report) -> tuple[Span, ...]:
    """The stretches of ``track`` where somebody speaks, in order, none longer than `LONGEST`; see `spans_of`.

    ``report(seconds done, seconds in all)`` after each block. `ModelUnavailable` if the model's file is missing.
    """
    total = seconds(audio.samples)
    # Copied into one array: to keep the blocks themselves would pin the memory around each (1 GB in ten hours).
    probability = np.empty(-(-audio.samples // FRAME), np.float32)
    done = 0
    for judged in probabilities(audio, track):
        probability[done : done + len(judged)] = judged
        done += len(judged)
        report(min(total, seconds(done * FRAME)), total)
    return spans_of(probability, audio.samples)


def probabilities(audio: Audio, track: int, block: int = _BLOCK) -> Iterator[Probabilities]:
    """The probability of speech in each frame of ``track``, ``block`` frames at a time.

    The last frame is filled up with silence. How many are taken at a time changes no probability.
    """
    listener = _Listener(_model())
    for start in range(0, audio.samples, block * FRAME):
        sound = audio.read(track, start, start + block * FRAME)
        yield listener.hear(np.pad(sound, (0, -len(sound) % FRAME)).reshape(-1, FRAME))


class _Listener:
    """The model with its state, which is forgotten after a stretch of silence.

    The state drifts while nobody speaks: after a minute of it the model takes speech for noise, and whole sentences of
    a clear recording are lost. A recording is therefore divided into stretches of `_STRETCH` frames, counted from its
    beginning; behind each one that is nothing but silence the model starts afresh.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._h, self._c = np.zeros(_STATE, np.float32), np.zeros(_STATE, np.float32)
        self._before = np.zeros(_CONTEXT, np.float32)
        self._frames = 0  # of the present stretch
        self._quiet = True  # so far in it

    def hear(self, frames: NDArray[np.float32]) -> Probabilities:
        """The probability for each of the next frames; shape (frames, FRAME)."""
        found = []
        while len(frames):
            some, frames = np.split(frames, [_STRETCH - self._frames])
            found.append(self._judge(some))
            self._frames += len(some)
            self._quiet = self._quiet and bool((found[-1] < _SILENCE).all())
            if self._frames == _STRETCH:
                if self._quiet:
                    self._h, self._c = np.zeros_like(self._h), np.zeros_like(self._c)
                self._frames, self._quiet = 0, True
        return np.concatenate(found)

    def _judge(self, frames: NDArray[np.float32]) -> Probabilities:
        rows = np.empty((len(frames), _CONTEXT + FRAME), np.float32)
        rows[:, _CONTEXT:] = frames
        rows[0, :_CONTEXT] = self._before
        rows[1:, :_CONTEXT] = frames[:-1, -_CONTEXT:]
        self._before = frames[-1, -_CONTEXT:]
        output, self._h, self._c = self._model.run(None, {"input": rows, "h": self._h, "c": self._c})
        judged: Probabilities = output.reshape(-1)
        return judged


@cache
def _model() -> Any:
    # Before the import: it would look for its maker's server from the background, and leave files in the home folder.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime  # type: ignore[import-untyped]

    # Found without importing faster_whisper, which would load a recogniser that may not be the one in use.
    spec = importlib.util.find_spec("faster_whisper")
    path = Path(spec.origin).parent / "assets" / _MODEL if spec is not None and spec.origin is not None else None
    if path is None or not path.is_file():
        raise ModelUnavailable(f"The speech detector's weights ({_MODEL}) are not here.", "Reinstall faster-whisper.")
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = 1  # frame after frame: more threads only wait for each other
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"], sess_options=options)


def spans_of(
    probability: Probabilities, length: int, thresholds: Thresholds = DEFAULT, longest: float = LONGEST
) -> tuple[Span, ...]:
    """Hysteresis over the probabilities of a track of ``length`` samples.

    Spans are in order, within the track, do not overlap and are at most ``longest`` seconds long: a longer one is split
    where it is least like speech, into spans that touch.
    """
    pad = round(thresholds.pad * SAMPLE_RATE)
    spans = []
    for first, stop in _runs(probability, thresholds):
        start = max(0, first * FRAME - pad)
        end = min(length, stop * FRAME + pad)
        cuts = _cuts(probability, start, end, round(longest * SAMPLE_RATE))
        edges = [start, *cuts, end]
        spans += [Span(start=seconds(a), end=seconds(b)) for a, b in pairwise(edges)]
    return tuple(spans)


def _runs(probability: Probabilities, thresholds: Thresholds) -> Iterator[tuple[int, int]]:
    """Runs of speech as frames [first, stop)."""
    frames_per_second = SAMPLE_RATE / FRAME
    min_silence = thresholds.min_silence * frames_per_second
    min_speech = thresholds.min_speech * frames_per_second
    # 0: below the offset; 1: between the thresholds; 2: from the onset on. As bytes: floats would take 32 times more.
    levels = ((probability >= thresholds.offset).astype(np.uint8) + (probability >= thresholds.onset)).tobytes()
    first = -1  # where the run under way began, or none is
    quiet = 0  # frames below the offset since
    for frame, level in enumerate(levels):
        if first < 0:
            if level == 2:
                first, quiet = frame, 0
        elif level:
            quiet = 0
        else:
            quiet += 1
            if quiet >= min_silence:
                if frame + 1 - quiet - first >= min_speech:
                    yield first, frame + 1 - quiet
                first = -1
    if first >= 0 and len(probability) - quiet - first >= min_speech:
        yield first, len(probability) - quiet


def _cuts(probability: Probabilities, start: int, end: int, longest: int) -> list[int]:
    """Samples at which to split [start, end) into pieces of at most ``longest``, each where speech is least likely."""
    if end - start <= longest:
        return []
    # Three frames are judged together: a dip of one frame is a consonant, not a breath.
    smooth = np.convolve(np.pad(probability, 1, mode="edge"), np.full(3, 1 / 3), "valid")
    cuts: list[int] = []
    while end - start > longest:
        # Not in the first half, or there would be too many pieces; not at the end, or the last one would be a scrap.
        low = (start + longest // 2) // FRAME
        high = max(low + 1, min(start + longest - FRAME, end - longest // 10) // FRAME)
        start = (low + int(np.argmin(smooth[low:high]))) * FRAME + FRAME // 2
        cuts.append(start)
    return cuts


def windows(spans: Sequence[Span], longest: float = LONGEST) -> tuple[SpeechWindow, ...]:
    """Neighbouring spans in windows of at most ``longest`` seconds: as few as can be, cut at the longest pauses.

    Each span lies in exactly one window; windows are in order and do not overlap.
    `ValueError` if a span alone is longer.
    """
    most = longest + 0.5 / SAMPLE_RATE  # seconds are floats: a span of exactly ``longest`` may look a hair longer
    if any(span.end - span.start > most for span in spans):
        raise ValueError(f"a span is longer than {longest} s: split it first (spans_of)")
    # best[i]: (windows, seconds covered, where the first stops) of the best packing of spans[i:]. To cover the least
    # is to cut at the longest pauses.
    best: list[tuple[int, float, int]] = [(0, 0.0, 0)] * (len(spans) + 1)
    for i in reversed(range(len(spans))):
        choices = []
        for stop in range(i + 1, len(spans) + 1):
            covered = spans[stop - 1].end - spans[i].start
            if covered > most:
                break
            choices.append((best[stop][0] + 1, best[stop][1] + covered, stop))
        best[i] = min(choices)
    packed = []
    i = 0
    while i < len(spans):
        stop = best[i][2]
        packed.append(SpeechWindow(start=spans[i].start, end=spans[stop - 1].end, speech=tuple(spans[i:stop])))
        i = stop
    return tuple(packed)
