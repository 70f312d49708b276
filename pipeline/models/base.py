"""What every recogniser promises: windows of speech in, timed words out, a batch at a time.

Knows nothing of files, tracks or where windows come from; a window is an array and its place in the recording.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.catalog import Model
from pipeline.options import Options
from pipeline.types import SAMPLE_RATE, Frozen, Warning, Word

LONGEST_WINDOW = 30 * SAMPLE_RATE  # samples: Whisper sees no more at once
SHORTEST_WINDOW = SAMPLE_RATE // 100  # samples: one frame of every recogniser; less cannot hold speech
SHORTEST_WORD = 0.01  # seconds

Samples: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Window:
    """Up to 30 s of one channel. ``samples``: shape (n,), 16 kHz, in [-1, 1]. ``start``: seconds into the recording.

    ``speech``: (start, end) of each stretch of speech in it, seconds into the recording; None where that is not known.
    """

    start: float
    samples: Samples
    speech: tuple[tuple[float, float], ...] | None = None

    def __post_init__(self) -> None:
        if self.samples.ndim != 1 or len(self.samples) > LONGEST_WINDOW:
            raise ValueError(f"a window is up to {LONGEST_WINDOW} samples of one channel, not {self.samples.shape}")

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE

    @property
    def end(self) -> float:
        return self.start + self.seconds

    @property
    def silent(self) -> bool:
        """No speech can be in it: next to nothing, or digital silence, on which recognisers make words up."""
        return len(self.samples) < SHORTEST_WINDOW or not self.samples.any()


class Request(Frozen):
    """What is asked of a recogniser.

    ``language``: as the person wrote it (``en``, ``pt-BR``); None leaves it to the recogniser, ``multi`` has it find
    one for each window and name it in each word. ``detect``: detection was asked for by name (``detect_language``);
    ``candidates`` restricts it. ``hotwords``: words to lean towards. ``suppress_numerals``: no figures, numbers in
    words. ``batch_size``: windows decoded at once, None for the recogniser's own choice; it changes speed and memory,
    never the words.
    """

    language: str | None = None
    detect: bool = False
    candidates: tuple[str, ...] = ()
    task: Literal["transcribe", "translate"] = "transcribe"
    initial_prompt: str | None = None
    hotwords: tuple[str, ...] = ()
    suppress_numerals: bool = False
    batch_size: int | None = None

    @classmethod
    def of(cls, options: Options) -> Request:
        named = options.detect_language if isinstance(options.detect_language, tuple) else ()
        return cls(
            language=options.language,
            detect=bool(options.detect_language),
            candidates=named,
            task=options.task,
            initial_prompt=options.initial_prompt,
            hotwords=options.hotwords,
            suppress_numerals=options.suppress_numerals,
            batch_size=options.batch_size,
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """The words of the next few windows, in order. ``seconds``: the length of those windows, for progress.

    ``language``: the same in every batch of a call, None where each word has its own; ``language_confidence`` only if
    it was detected, not given.
    """

    words: tuple[Word, ...]
    seconds: float
    language: str | None
    language_confidence: float | None = None


class Recogniser(Protocol):
    @property
    def model(self) -> Model:
        """What was loaded; `Model.info` names it in the result."""

    @property
    def punctuates(self) -> bool:
        """It writes case and punctuation itself."""

    @property
    def fills_windows(self) -> bool:
        """A window costs it the same however short, so it wants them full; otherwise it wants one utterance each."""

    def check(self, request: Request) -> tuple[Warning, ...]:
        """Before any audio is read: `OptionsError` for what it cannot do, warnings for hints that it will not use."""

    def warnings(self) -> tuple[Warning, ...]:
        """After the words: what their reader must know of how they were computed, for example not on the GPU."""

    def transcribe(self, windows: Sequence[Window], request: Request) -> Iterator[Batch]:
        """The words of one channel's windows, as far as they are done.

        ``windows`` are in order and do not overlap; they are drawn as they are needed, a batch at a time, so memory
        does not grow with the recording; a few may be drawn twice. Words of a window lie inside it, do not overlap, and
        are longer than nothing. The words of a window do not depend on other windows, except through the language,
        which is found once, from several windows spread over all (with ``multi`` in each window by itself). Each window
        is in exactly one batch. Raises what `check` raises.
        """


class Rough(NamedTuple):
    """A word as a backend gave it. Seconds from the window's start; ``confidence`` linear, of any size."""

    text: str
    start: float
    end: float
    confidence: float


def placed(window: Window, rough: Sequence[Rough]) -> tuple[Word, ...]:
    """The words at their place in the recording: inside the window, in order, not overlapping, none of no length.

    Words without text are dropped. Backends put several words onto one moment, or past the end of a short window; such
    words are moved as little as their order allows.
    """
    kept = [word for word in rough if word.text.strip()]
    least = min(SHORTEST_WORD, window.seconds / max(1, len(kept)))
    times: list[tuple[float, float]] = []
    reached = 0.0
    for word in kept:
        start = min(max(word.start, reached), window.seconds)
        reached = min(max(word.end, start + least), window.seconds)
        times.append((start, reached))
    limit = window.seconds
    for i in range(len(times) - 1, -1, -1):
        start, end = times[i]
        end = min(end, limit)
        start = max(0.0, min(start, end - least))
        times[i] = start, end
        limit = start
    return tuple(
        Word(
            text=word.text.strip(),
            start=max(window.start, round(window.start + start, 7)),
            end=min(round(window.start + end, 7), window.end),
            confidence=min(1.0, max(0.0, float(word.confidence))),
        )
        for word, (start, end) in zip(kept, times, strict=True)
    )
