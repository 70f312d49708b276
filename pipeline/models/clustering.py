"""Diarization by clustering voices: for more than four people, or for a count that is given.

Takes the samples of one channel and where somebody speaks in it; gives for each speaker and frame how likely it is
they. Short windows of speech become embeddings of voices, a batch at a time; NeMo's clustering, an eigenvalue analysis
of which is like which, finds how many voices there are and whose each window is. Of a long recording a sample is
clustered, so work and memory do not grow with the square of its length. Finds one speaker at a time: of two who speak
at once, one. Knows nothing of words or files of sound.

Source: "Auto-Tuning Spectral Clustering for Speaker Diarization Using Normalized Maximum Eigengap", 2020.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.devices import DeviceSettings, in_use
from pipeline.errors import ModelUnavailable
from pipeline.models.ladder import Ladder, OnLadder
from pipeline.models.nemo import SPEAKERS, NemoModel, checked_rate, load, module, release, rungs
from pipeline.models.sortformer import Posteriors, Read, Report
from pipeline.types import SAMPLE_RATE

WINDOW, HOP = int(1.5 * SAMPLE_RATE), int(0.75 * SAMPLE_RATE)  # samples; NeMo's for a single scale
STEP = 0.08  # s, between two frames of the posteriors: Sortformer's
MOST = 20  # speakers, where nobody says how many there may be
CPU_BATCH, GPU_BATCH = 16, 256  # windows
SAMPLE = 800  # windows that are compared with each other, each with each; what that costs grows with the cube
FEWEST = 5  # windows of each speaker, on average, where the count is to be found: fewer look like many speakers

_SHORTEST = SAMPLE_RATE // 100  # samples; less than a frame of features
_EDGE = 0.05  # what a window counts for at its ends; it counts 1 in the middle

Windows: TypeAlias = NDArray[np.int64]  # shape (windows, 2): first sample, and the one behind the last
Labels: TypeAlias = NDArray[np.int64]


class Clustering(OnLadder[Any]):
    """A model of voices, kept loaded from job to job, and what is made of it; for one thread at a time."""

    def __init__(self, model: NemoModel, settings: DeviceSettings | None = None) -> None:
        self.info = model.info
        self._model = model
        settings = settings or DeviceSettings()
        steps = rungs(settings, CPU_BATCH, GPU_BATCH)
        super().__init__(Ladder(steps, self._load, release, barring=partial(in_use, settings)))

    @property
    def step(self) -> float:
        """Seconds from one frame of the posteriors to the next."""
        return STEP

    def posteriors(
        self,
        samples: int,
        read: Read,
        spans: Sequence[tuple[float, float]],
        report: Report,
        *,
        least: int = 1,
        most: int | None = None,
    ) -> Posteriors:
        """For a recording of so many samples, ``spans`` of speech in it in seconds, in order: the share of each speaker
        in each frame, as far as the windows that it lies in agree; 0 outside the spans. As many columns as there are
        speakers: from ``least``, if there is speech enough, to ``most``; in the order in which they are first heard.

        `ModelUnavailable`: the weights give no numbers. `OutOfMemory`, `DeviceLost`; what ``report`` raises.
        """
        places = windows(spans)
        heard = self._embeddings(places, samples, read, report)
        if not len(places):
            return np.zeros((-(-samples // _FRAME), 0), np.float16)
        return shares(places, in_order(clustered(heard, least, most)), spans, samples)

    def _embeddings(self, places: Windows, samples: int, read: Read, report: Report) -> NDArray[np.float32]:
        """One row for each window."""
        rows: list[NDArray[np.float32]] = []
        done = 0
        while done < len(places):
            batch = places[done : done + self._ladder.batch()]
            rows += self._ladder.run([_filled(read(*place)) for place in batch.tolist()], _embedded)
            done += len(batch)
            report(batch[-1, 1] / SAMPLE_RATE, samples / SAMPLE_RATE)
        found = np.stack(rows) if rows else np.zeros((0, 1), np.float32)
        if not np.isfinite(found).all():
            raise ModelUnavailable(f"the model {self.info.name} gives no numbers", "Fetch it again.")
        return found

    def _load(self, rung: Any) -> Any:
        model = load(self._model, SPEAKERS, rung)
        checked_rate(model, self.info.name)
        return model


# ── windows ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_FRAME = round(STEP * SAMPLE_RATE)  # samples


def windows(spans: Iterable[tuple[float, float]]) -> Windows:
    """Windows of equal length, one every `HOP`, and one that ends with the span; a shorter span is one window."""
    found = []
    for start, end in spans:
        first, stop = round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)
        if stop - first < _SHORTEST:
            continue
        last = max(first, stop - WINDOW)
        found += [(at, min(at + WINDOW, stop)) for at in [*range(first, last, HOP), last]]
    return np.array(found, np.int64).reshape(-1, 2)


def _filled(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """As long as a window: what is short is repeated, as in the training of such models. All windows being equally
    long, what comes of one does not depend on its neighbours.
    """
    return np.resize(sound, WINDOW) if len(sound) else np.zeros(WINDOW, np.float32)


def _embedded(model: Any, sounds: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    torch = module("torch")
    with torch.inference_mode():
        signal = torch.from_numpy(np.stack(sounds)).to(model.device)
        lengths = torch.full((len(sounds),), WINDOW, device=model.device)
        _, found = model.forward(input_signal=signal, input_signal_length=lengths)
        return list(found.float().cpu().numpy())


# ── clusters ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def clustered(embeddings: NDArray[np.float32], least: int = 1, most: int | None = None) -> Labels:
    """For each of the windows, shape (n, size), n > 0, whose it is: numbers from 0. As many speakers as NeMo finds,
    within the bounds; never more than half as many as there are windows, whoever says so.

    Above `SAMPLE` windows, evenly spread ones are clustered, and every other one is whose centre is nearest: who speaks
    less than one part in 160 may be missed where the count is not given.
    """
    rows = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-9)
    if len(rows) <= SAMPLE:
        return _clustered(rows, least, most)
    sample = rows[np.linspace(0, len(rows) - 1, SAMPLE).round().astype(np.int64)]
    labels = _clustered(sample, least, most)
    known = np.unique(labels)
    centres = np.stack([sample[labels == one].mean(axis=0) for one in known])
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    return np.asarray(known[np.argmax(rows @ centres.T, axis=1)])


def _clustered(rows: NDArray[np.float32], least: int, most: int | None) -> Labels:
    least = min(least, -(-len(rows) // 2))
    if least != most:
        most = max(least, min(most or MOST, len(rows) // FEWEST))
    if most == 1:
        return np.zeros(len(rows), np.int64)
    if least == most:
        return _by_nemo(rows, most, count=most)
    found = _by_nemo(rows, most)
    enough = len(np.unique(found)) >= least
    return found if enough else _by_nemo(rows, least, count=least)


def _by_nemo(rows: NDArray[np.float32], most: int, count: int = -1) -> Labels:
    """``count``: how many speakers there are, more than one; -1 to find out."""
    torch = module("torch")
    clustering = module("nemo.collections.asr.parts.utils.offline_clustering")
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):  # it sets torch's seed, which is everybody's
        labels = clustering.SpeakerClustering(cuda=False).forward_infer(
            embeddings_in_scales=torch.from_numpy(rows),
            timestamps_in_scales=torch.arange(len(rows), dtype=torch.float32)[:, None] + torch.tensor([0.0, 1.0]),
            multiscale_segment_counts=torch.tensor([len(rows)]),
            multiscale_weights=torch.ones(1, 1),
            oracle_num_speakers=count,
            max_num_speakers=most,
            # Its way to count in short recordings, with made-up voices beside the real ones, found one speaker where
            # two to five were as plain as can be.
            enhanced_count_thres=0,
        )
    return np.asarray(labels.numpy(), np.int64)


def in_order(labels: Labels) -> Labels:
    """Numbered anew, in the order in which they are first heard."""
    known, first = np.unique(labels, return_index=True)
    numbers = np.empty(len(known), np.int64)
    numbers[np.argsort(first)] = np.arange(len(known))
    return numbers[np.searchsorted(known, labels)]


def shares(places: Windows, labels: Labels, spans: Iterable[tuple[float, float]], samples: int) -> Posteriors:
    """The windows' votes on each frame in a span, most from those whose middle is near; shape (frames, speakers)."""
    frames = -(-samples // _FRAME)
    found = np.zeros((frames, int(labels.max()) + 1), np.float16)
    votes = np.zeros((2, frames), np.float32)  # in all, and one speaker's: to hold all of theirs would take much more
    middles = (np.arange(frames) + 0.5) * _FRAME
    for row, speaker in [(0, None), *((1, speaker) for speaker in range(found.shape[1]))]:
        votes[row] = 0.0
        for first, stop in (places if speaker is None else places[labels == speaker]).tolist():
            here = slice(max(0, first // _FRAME), -(-stop // _FRAME))
            off = np.abs(middles[here] - (first + stop) / 2) / ((stop - first) / 2)
            votes[row, here] += np.maximum(_EDGE, 1.0 - off)
        if speaker is not None:
            found[:, speaker] = votes[1] / np.maximum(votes[0], _EDGE)
    found[~_inside(spans, middles)] = 0.0
    return found


def _inside(spans: Iterable[tuple[float, float]], middles: NDArray[np.floating]) -> NDArray[np.bool_]:
    inside = np.zeros(len(middles), np.bool_)
    for start, end in spans:
        first, stop = np.searchsorted(middles, [start * SAMPLE_RATE, end * SAMPLE_RATE])
        inside[first:stop] = True
    return inside
