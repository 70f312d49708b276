"""What the stages beside the recogniser cost by themselves, with models of real size and random weights: voices out of
music (HTDemucs), words' times (Conformer-CTC Large), who speaks when (Sortformer v2).

    python -m bench.gpu_beside SIZE SCRATCH RECORDING cuda|cpu

In a process of its own, by the stages' own functions and the models' own loaders; prints one line of JSON: stage →
[seconds of work for a second of sound, peak memory that torch held on the GPU in bytes or null]. Each stage has done
its work once before its time is taken: kernels are loaded and memory is found. Knows nothing of whole jobs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.engine import ROOT
from bench.nets import SIZES, companions_of
from bench.table import Row
from pipeline.hints import Hints
from pipeline.types import Span

if TYPE_CHECKING:
    from pipeline.stages.audio import Audio
    from pipeline.types import Transcript

NAMES = {"separating": "voices out of music", "aligning": "CTC alignment", "diarizing": "Sortformer"}
_WORDS = 2.7  # a second: speech at 160 words a minute


def rows(size: str, scratch: Path, recording: Path, device: str) -> list[Row]:
    """The figures. `RuntimeError` if the models cannot be used on the device; why is its message."""
    companions_of(SIZES[size], scratch)  # made here, once, not in the child's time
    command = [sys.executable, "-m", "bench.gpu_beside", size, str(scratch), str(recording), device]
    environment = {**os.environ, **({} if device == "cuda" else {"CUDA_VISIBLE_DEVICES": ""})}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().rpartition("\n")[2])
    found: dict[str, tuple[float, int | None]] = json.loads(done.stdout.splitlines()[-1])
    each = ", ".join(f"{NAMES[stage]} {1 / cost:,.1f}" for stage, (cost, _) in found.items())
    return [
        Row(f"{size} size: stages beside the recogniser, each alone, × real time", each),
        Row(f"{size} size: peak GPU memory of torch in these stages, weights included", _memory(found)),
    ]


def _memory(found: dict[str, tuple[float, int | None]]) -> str:
    held = [f"{NAMES[stage]} {most / 2**30:.2f} GiB" for stage, (_, most) in found.items() if most is not None]
    return ", ".join(held) or "not on a GPU"


# ── in the child ─────────────────────────────────────────────────────────────────────────────────────────────────────

_nothing: Callable[..., None] = lambda *told: None  # noqa: E731


class _Bench:
    """The sound, and each stage's work on it."""

    def __init__(self, size: str, scratch: Path, recording: Path, device: str, folder: Path) -> None:
        from pipeline.devices import DeviceSettings
        from pipeline.models import Models

        self._companions = companions_of(SIZES[size], scratch)
        self._models = Models(DeviceSettings.model_validate({"device": device}))
        self._recording, self._folder = recording, folder
        self._audio = self._decoded()

    @property
    def seconds(self) -> float:
        """Of sound."""
        return self._audio.info.duration

    def separating(self) -> None:
        from pipeline.stages.separate import separate

        assert self._companions.separator is not None
        separator = self._models.separator(self._companions.separator)
        wide = self._decoded(rate=separator.rate, stereo=separator.channels > 1)
        separate(wide, self._audio, self._new(), separator, _nothing, per_channel=False)

    def aligning(self) -> None:
        from pipeline.stages.align import aligned

        found = aligned(self._said(), self._audio, self._models.aligners(self._companions.aligners).get, _nothing)
        if found.lacking is not None:
            raise RuntimeError(found.lacking)

    def diarizing(self) -> None:
        from pipeline.stages.diarize import diarize

        assert self._companions.few is not None
        few = self._models.few(self._companions.few)
        diarize(self._audio, [Span(start=0.0, end=self.seconds)], Hints(), few, None, _nothing)

    def _said(self) -> Transcript:
        """Words all over the recording, as a recogniser might have heard them."""
        from pipeline.types import ChannelTranscript, ModelInfo, Transcript, Word

        count = int(self.seconds * _WORDS)
        words = tuple(
            Word(text="word", start=n / _WORDS, end=(n + 0.8) / _WORDS, confidence=0.9, language="en")
            for n in range(count)
        )
        model = ModelInfo(name="none", version="1", arch="none", revision="0")
        channel = ChannelTranscript(words=words, language="en")
        return Transcript(media=self._audio.info, channels=(channel,), punctuated=True, model=model)

    def _decoded(self, **how: Any) -> Audio:
        from pipeline.stages.decode import decode

        given = {"per_channel": False, "max_duration": None, "report": _nothing, "opened": _nothing, **how}
        return decode(self._recording, self._new(), **given)

    def _new(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self._folder))


def measure(size: str, scratch: Path, recording: Path, device: str) -> dict[str, tuple[float, int | None]]:
    """See the module. `ModelUnavailable`, `RuntimeError`."""
    found: dict[str, tuple[float, int | None]] = {}
    with tempfile.TemporaryDirectory() as name:
        bench = _Bench(size, scratch, recording, device, Path(name))
        for stage in NAMES:
            work = getattr(bench, stage)
            work()
            _begin(device)
            started = time.perf_counter()
            work()
            found[stage] = (time.perf_counter() - started) / bench.seconds, _held(device)
    return found


def _begin(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()


def _held(device: str) -> int | None:
    import torch

    return int(torch.cuda.max_memory_allocated()) if device == "cuda" else None


def main() -> int:
    size, scratch, recording, device = sys.argv[1:]
    print(json.dumps(measure(size, Path(scratch), Path(recording), device)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
