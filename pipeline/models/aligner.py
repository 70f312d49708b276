"""Aligners: CTC models that say how likely each letter is in each moment of a sound, kept warm between jobs.

Takes an `AlignerModel` of `pipeline.aligners` and samples, gives log-probabilities and what their columns mean. The
model is one of NVIDIA's NeMo, on any device, or a wav2vec 2.0 pipeline of torchaudio, on a GPU. Knows nothing of words,
texts or where pieces are cut. Where the model lies may change under a job, when memory runs out: see
`pipeline.models.ladder`. NeMo and torch are imported when the first model is loaded.

Sources: A. Graves et al., "Connectionist Temporal Classification", ICML 2006; A. Baevski et al., "wav2vec 2.0",
NeurIPS 2020.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.aligners import AlignerModel, for_language
from pipeline.beside import check_unchanged
from pipeline.devices import DeviceSettings, in_use
from pipeline.errors import ModelUnavailable
from pipeline.models.ladder import Ladder, OnLadder, Rung
from pipeline.models.nemo import rungs
from pipeline.types import SAMPLE_RATE

CPU_BATCH, GPU_BATCH = 2, 16  # pieces at once
SHORTEST = SAMPLE_RATE // 2  # samples: a shorter piece is filled up with silence, models fail on a frame or two
PURPOSE = "alignment"

Samples: TypeAlias = NDArray[np.float32]
Scores: TypeAlias = NDArray[np.float32]
"""Log-probabilities, shape (frames, columns)."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What a model's columns mean. ``labels``: each letter's; ``blank``, and ``separator`` for the space between words,
    if there is one. With ``pieces``, a tokenizer from a word's letters to columns, ``labels`` are just the letters that
    it knows.
    """

    labels: Mapping[str, int]
    blank: int
    separator: int | None = None
    pieces: Callable[[str], Sequence[int]] | None = None


class Network(Protocol):
    """A loaded model on a device. ``step``: seconds a frame."""

    @property
    def columns(self) -> Columns: ...
    @property
    def step(self) -> float: ...
    def hear(self, pieces: Sequence[Samples]) -> list[Scores]:
        """Of each piece, as if it were alone. Raises what torch raises."""

    def release(self) -> None:
        """Let go of the memory, whoever still holds this."""


Opening = Callable[[AlignerModel, Rung], Network]


def open_network(model: AlignerModel, rung: Rung) -> Network:
    """The model on a rung, tried out. `ModelUnavailable` for what is wrong with it; what the device or memory is to
    blame for is raised as torch raises it.
    """
    check_unchanged(model)
    if model.record.backend == "torchaudio":
        from pipeline.models.wav2vec import open_wav2vec

        return open_wav2vec(model, rung)
    from pipeline.models.nemo_ctc import open_nemo_ctc

    return open_nemo_ctc(model, rung)


class LoadedAligner(OnLadder[Network]):
    """An aligner in memory, on the rung of its ladder that fits."""

    def __init__(self, model: AlignerModel, ladder: Ladder[Network]) -> None:
        super().__init__(ladder)
        self.model = model

    @property
    def batch(self) -> int:
        """How many pieces are heard at once now."""
        return self._ladder.batch()

    @property
    def columns(self) -> Columns:
        return self._ladder.model.columns

    @property
    def step(self) -> float:
        """Seconds a frame."""
        return self._ladder.model.step

    @property
    def delay(self) -> float:
        """Seconds by which words are heard later than they are said."""
        return self.model.record.delay

    def emissions(self, pieces: Sequence[Samples]) -> list[Scores]:
        """Log-probabilities of each piece, which are up to 30 s long, shape (n,), in [-1, 1]. A frame lasts `step`
        seconds, the first begins with the piece. They do not depend on the other pieces. `OutOfMemory`, `DeviceLost`.
        """
        return self._ladder.run([_filled(piece) for piece in pieces], lambda network, some: network.hear(some))


class Aligners:
    """The aligners that are on this machine, of which the last used is loaded."""

    def __init__(
        self,
        here: Iterable[AlignerModel],
        settings: DeviceSettings | None = None,
        opening: Opening = open_network,
    ) -> None:
        self.here = tuple(here)
        self._settings = settings or DeviceSettings()
        self._opening = opening
        self._known: dict[tuple[str, str], LoadedAligner] = {}  # by folder and revision

    def get(self, language: str | None) -> LoadedAligner:
        """The aligner for a language, loaded, for one job or a part of it. `ModelUnavailable`, `OutOfMemory`."""
        model = for_language(language, self.here)
        key = str(model.folder), model.info.revision
        for other, loaded in self._known.items():
            if other != key:
                loaded.unload()  # before the next one comes
        found = self._known.get(key) or LoadedAligner(model, self._ladder(model))
        self._known[key] = found
        found.begin()
        return found

    def unload(self) -> None:
        """Let go of all weights; the next job loads its own again."""
        for loaded in self._known.values():
            loaded.unload()

    def _ladder(self, model: AlignerModel) -> Ladder[Network]:
        steps = rungs(self._settings, CPU_BATCH, GPU_BATCH, PURPOSE)
        if model.record.backend == "torchaudio":
            steps = tuple(rung for rung in steps if rung.device == "cuda")
            if not steps:
                raise ModelUnavailable(
                    f"the aligner {model.info.name} is one of torchaudio's, which needs a GPU",
                    "Use one of NeMo's for this language.",
                )
        return Ladder(
            steps,
            lambda rung: self._opening(model, rung),
            lambda network: network.release(),
            barring=partial(in_use, self._settings),
        )


def _filled(piece: Samples) -> Samples:
    return np.pad(piece, (0, max(0, SHORTEST - len(piece))))


def letters(labels: Sequence[str], spaces: Iterable[str] = (" ",)) -> tuple[dict[str, int], int | None]:
    """Columns by letter, and that of the space, from a model's list of labels. Labels of several signs, which some
    models have for noises, are no letters.
    """
    known = {label: column for column, label in enumerate(labels) if len(label) == 1}
    separator = next((known.pop(space) for space in spaces if space in known), None)
    return known, separator


def tensors(pieces: Sequence[Samples], device: Any) -> tuple[Any, Any]:
    """A batch filled up with zeros, shape (pieces, samples), and how long each is."""
    import torch

    lengths = [len(piece) for piece in pieces]
    signal = np.zeros((len(pieces), max(lengths)), np.float32)
    for row, piece in zip(signal, pieces, strict=True):
        row[: len(piece)] = piece
    return torch.from_numpy(signal).to(device), torch.tensor(lengths, device=device)
