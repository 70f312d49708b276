"""What one stage costs by itself: seconds of work for a second of sound, for each batch size.

    python -m bench.gpu_stages MODEL_FOLDER RECORDING cuda|cpu WINDOWS BATCH…

In a process of its own; prints one line of JSON. `STAGES` is the list; a stage is one entry, with a function that does
its work once on the bench's sound. Those beside the recogniser, whose batches are their own, are in `bench.gpu_beside`.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.types import SAMPLE_RATE

if TYPE_CHECKING:
    from pipeline.stages.audio import Audio

_BEAM = 5
_CONTEXT = 448
_MOST_ALONE = 16  # windows with a batch of one: more would only take longer
OUT_OF_MEMORY = "out of memory"


class Workbench:
    """The sound and the model that stages work on; each thing is made when it is first wanted.

    ``windows``: of speech, as many as are worked on. ``batch``: windows at a time, set before a batched stage runs.
    """

    def __init__(self, model: Path, recording: Path, device: str, windows: int) -> None:
        self._model, self._recording, self._device, self._most = model, recording, device, windows
        self._scratch = tempfile.TemporaryDirectory()
        self.batch = 1

    @cached_property
    def whisper(self) -> Any:
        from pipeline.catalog import resolve
        from pipeline.devices import DeviceSettings
        from pipeline.models.loading import load_whisper

        model = resolve(str(self._model), None, self._model, trusted=True)
        return load_whisper(model, DeviceSettings.model_validate({"device": self._device})).whisper

    @cached_property
    def audio(self) -> Audio:
        return self.decode()

    @cached_property
    def windows(self) -> list[NDArray[np.float32]]:
        from pipeline.stages.vad import windows

        spans = windows(self.speech())
        return [
            self.audio.read(0, round(span.start * SAMPLE_RATE), round(span.end * SAMPLE_RATE))
            for span in spans[: self._most]
        ]

    @cached_property
    def features(self) -> list[NDArray[np.float32]]:
        return self.mel()

    @cached_property
    def encoded(self) -> list[Any]:
        """The encoder's output, a batch at a time."""
        return list(self.encode())

    @cached_property
    def tokens(self) -> list[list[int]]:
        return self.generate()

    def of_batch(self, size: int) -> None:
        """Begin with another batch size: what was made a batch at a time is forgotten."""
        self.batch = size
        for name in ("encoded", "tokens"):
            self.__dict__.pop(name, None)

    def warm_up(self) -> None:
        """One batch through the batched stages: kernels are loaded, and memory of that size is found, once."""
        self.encoded = [self.whisper.encode(np.stack(self.chosen()[: self.batch]))]
        self.tokens = self.generate()
        self.align()
        self.of_batch(self.batch)

    def chosen(self) -> list[NDArray[np.float32]]:
        """The features of the windows that a batched stage works on: whole batches, if there are enough."""
        count = min(len(self.features), _MOST_ALONE) if self.batch == 1 else len(self.features)
        return self.features[: count - count % self.batch or count]

    def seconds(self) -> float:
        """Of sound in `chosen`."""
        return sum(map(len, self.windows[: len(self.chosen())])) / SAMPLE_RATE

    # ── the work ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def decode(self) -> Audio:
        from pipeline.stages.decode import decode

        nothing: Callable[..., None] = lambda *told: None  # noqa: E731
        folder = Path(tempfile.mkdtemp(dir=self._scratch.name))
        return decode(self._recording, folder, per_channel=False, max_duration=None, report=nothing, opened=nothing)

    def speech(self) -> Any:
        from pipeline.stages.vad import speech

        return speech(self.audio, 0, lambda *told: None)

    def mel(self) -> list[NDArray[np.float32]]:
        from faster_whisper.audio import pad_or_trim

        return [pad_or_trim(self.whisper.feature_extractor(window)[..., :-1]) for window in self.windows]

    def encode(self) -> list[Any]:
        chosen = self.chosen()
        return [self.whisper.encode(np.stack(chosen[n : n + self.batch])) for n in range(0, len(chosen), self.batch)]

    def generate(self) -> list[list[int]]:
        tokenizer = self.whisper.hf_tokenizer
        names = ("<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>")
        prompt = [tokenizer.token_to_id(name) for name in names]
        found = []
        for encoded in self.encoded:
            results = self.whisper.model.generate(
                encoded, [prompt] * encoded.shape[0], beam_size=_BEAM, max_length=_CONTEXT,
                return_scores=True, return_no_speech_prob=True,
            )  # fmt: skip
            found += [result.sequences_ids[0] for result in results]
        return found

    def align(self) -> None:
        tokenizer = self.whisper.hf_tokenizer
        start = [tokenizer.token_to_id(name) for name in ("<|startoftranscript|>", "<|en|>", "<|transcribe|>")]
        at = 0
        for encoded in self.encoded:
            stop = at + encoded.shape[0]
            frames = [len(window) // 160 for window in self.windows[at:stop]]
            self.whisper.model.align(encoded, start, self.tokens[at:stop], frames)
            at = stop


@dataclass(frozen=True, slots=True)
class Stage:
    """``needs``: what must be there before its time is taken; ``batched``: works on batches of windows."""

    name: str
    work: Callable[[Workbench], Any]
    needs: Callable[[Workbench], Any] = lambda bench: None
    batched: bool = False


STAGES: tuple[Stage, ...] = (
    Stage("decode", Workbench.decode),
    Stage("speech detection", Workbench.speech, lambda bench: bench.audio),
    Stage("log-mel", Workbench.mel, lambda bench: (bench.whisper, bench.windows)),
    Stage("encode", Workbench.encode, lambda bench: bench.features, batched=True),
    Stage("generate", Workbench.generate, lambda bench: bench.encoded, batched=True),
    Stage("align", Workbench.align, lambda bench: bench.tokens, batched=True),
)


def measure(bench: Workbench, batches: list[int]) -> dict[str, Any]:
    """``alone``: name → seconds of work for a second of sound; ``batches``: size → the same of the batched stages, or
    why there is none; ``tokens``: said in a window.
    """
    alone = {}
    for stage in STAGES:
        if not stage.batched:
            whole = bench.audio.info.duration if stage.name != "log-mel" else sum(map(len, bench.windows)) / SAMPLE_RATE
            alone[stage.name] = _timed(stage, bench) / whole
    found: dict[str, Any] = {"alone": alone, "batches": {}}
    for size in batches:
        bench.of_batch(size)
        try:
            bench.warm_up()
            found["batches"][str(size)] = {
                stage.name: _timed(stage, bench) / bench.seconds() for stage in STAGES if stage.batched
            }
        except RuntimeError as error:
            if OUT_OF_MEMORY not in str(error).lower():
                raise
            found["batches"][str(size)] = OUT_OF_MEMORY
            continue
        found["tokens"] = sum(map(len, bench.tokens)) / len(bench.tokens)
    return found


def _timed(stage: Stage, bench: Workbench) -> float:
    stage.needs(bench)
    started = time.perf_counter()
    stage.work(bench)
    return time.perf_counter() - started


def main() -> int:
    model, recording, device, windows, *batches = sys.argv[1:]
    bench = Workbench(Path(model), Path(recording), device, int(windows))
    print(json.dumps(measure(bench, [int(size) for size in batches])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
