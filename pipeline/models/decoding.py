"""Windows through a Whisper, many at once: log-mel, encoder, beam search, word times. CTranslate2's own primitives.

Takes windows with their plans (prompt, tokens that must not be said), gives tokens, words and the decoder's own
measures of itself. A batch may hold windows of any languages, tasks and prompts: whose they are is not known here.
Knows nothing of files, the quality gate, or what the words are for.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer
from numpy.typing import NDArray

from pipeline.models.base import Rough, Samples
from pipeline.models.timing import timed

BEAM = 5  # hypotheses
CONTEXT = 448  # tokens of prompt and text that Whisper's decoder has places for
LEAST_FRAMES = 20  # of log-mel (10 ms each) that the word aligner is given, however short the window

Row: TypeAlias = NDArray[Any]
"""The encoder's output for one window: shape (1500, width), on the host."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a window is decoded. ``before``: tokens of hotwords and prompt, ``<|startofprev|>`` first, or none;
    ``start``: ``<|startoftranscript|>``, language and task; ``suppress``: tokens that must not be said.
    """

    before: tuple[int, ...]
    start: tuple[int, ...]
    suppress: tuple[int, ...]
    tokenizer: Tokenizer = field(compare=False, repr=False)

    @property
    def prompt(self) -> list[int]:
        return [*self.before, *self.start, self.tokenizer.no_timestamps]

    @property
    def shared(self) -> Hashable:
        """Plans that are equal in this can be decoded in one call: CTranslate2 wants ``<|startoftranscript|>`` at one
        place, and one list of what must not be said.
        """
        return len(self.before), len(self.start), self.suppress


@dataclass(frozen=True, slots=True)
class Planned:
    """A window to decode. ``samples``: (n,), 16 kHz; ``row``: what the encoder made of them, where that is known."""

    samples: Samples
    plan: Plan
    row: Row | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """What the encoder made of a window, and how probable each language is (code, probability), likeliest first."""

    row: Row
    languages: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Decoded:
    """``words``: in seconds from the window's start; ``logprob``: mean of the tokens' natural logarithms, the end's
    included; ``no_speech``: the decoder's own probability that nobody speaks.
    """

    text: str
    words: tuple[Rough, ...]
    logprob: float
    no_speech: float


def hear(whisper: WhisperModel, windows: Sequence[Samples]) -> list[Heard]:
    """Encode windows and find their languages; only for a multilingual model."""
    encoded = _encode(whisper, windows)
    languages = whisper.model.detect_language(encoded)
    rows = to_host(encoded)
    return [
        Heard(row, tuple((token[2:-2], float(p)) for token, p in likely))
        for row, likely in zip(rows, languages, strict=True)
    ]


def decode(whisper: WhisperModel, batch: Sequence[Planned]) -> list[Decoded]:
    """The words of each window, in one batch. Which windows share it changes no word and no time."""
    encoded = encoded_of(whisper, batch)
    plans = [one.plan for one in batch]
    generated: dict[int, Any] = {}
    for places in _alike(plans, lambda plan: plan.shared):
        results = whisper.model.generate(
            _rows(encoded, places, len(batch)),
            [plans[n].prompt for n in places],
            beam_size=BEAM,
            max_length=CONTEXT,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_tokens=list(plans[places[0]].suppress),
            sampling_temperature=0.0,
        )
        generated.update(zip(places, results, strict=True))
    tokens = [generated[n].sequences_ids[0] for n in range(len(batch))]
    words = align(whisper, encoded, batch, tokens)
    return [
        Decoded(
            text=plan.tokenizer.decode(tokens[n]).strip(),
            words=words[n],
            # The score is already divided by the number of tokens; Whisper counts the end as one more.
            logprob=generated[n].scores[0] * len(tokens[n]) / (len(tokens[n]) + 1),
            no_speech=generated[n].no_speech_prob,
        )
        for n, plan in enumerate(plans)
    ]


def align(
    whisper: WhisperModel, encoded: ctranslate2.StorageView, batch: Sequence[Planned], tokens: Sequence[Sequence[int]]
) -> list[tuple[Rough, ...]]:
    """The words that each window's tokens spell, with times by the decoder's cross-attention."""
    found: dict[int, tuple[Rough, ...]] = {}
    for places in _alike([one.plan for one in batch], lambda plan: plan.start):
        tokenizer = batch[places[0]].plan.tokenizer
        texts = [[token for token in tokens[n] if token < tokenizer.eot] for n in places]
        frames = [_frames(whisper, batch[n].samples) for n in places]
        rows = _rows(encoded, places, len(batch))
        alignments: Any = whisper.find_alignment(tokenizer, texts, rows, frames)
        found.update((n, timed(alignment)) for n, alignment in zip(places, alignments, strict=True))
    return [found[n] for n in range(len(batch))]


def encoded_of(whisper: WhisperModel, batch: Sequence[Planned]) -> ctranslate2.StorageView:
    """The encoder's output for a batch; what is known already is not computed again."""
    missing = [n for n, one in enumerate(batch) if one.row is None]
    if len(missing) == len(batch):
        return _encode(whisper, [one.samples for one in batch])
    rows = {n: one.row for n, one in enumerate(batch) if one.row is not None}
    if missing:
        rows.update(zip(missing, to_host(_encode(whisper, [batch[n].samples for n in missing])), strict=True))
    return ctranslate2.StorageView.from_array(np.stack([rows[n] for n in range(len(batch))]))


def to_host(values: ctranslate2.StorageView) -> NDArray[Any]:
    """A copy in the machine's memory, in a type that numpy has."""
    if values.device != "cpu":
        values = values.to_device(ctranslate2.Device.cpu)
    if values.dtype == ctranslate2.DataType.bfloat16:
        values = values.to(ctranslate2.DataType.float32)
    return np.array(values)


def _encode(whisper: WhisperModel, windows: Sequence[Samples]) -> ctranslate2.StorageView:
    if whisper.model.device != "cpu" or len(windows) == 1:
        return whisper.encode(_features(whisper, windows))
    # One after the other: on a CPU that is no slower, and the encoder's attention takes 9 MB for each head and window.
    rows = [to_host(whisper.encode(_features(whisper, [samples]))) for samples in windows]
    return ctranslate2.StorageView.from_array(np.concatenate(rows))


def _features(whisper: WhisperModel, windows: Sequence[Samples]) -> NDArray[np.float32]:
    """Log-mel, shape (windows, bands, 3000); padded after the logarithm with zeros, as faster-whisper does."""
    extractor = whisper.feature_extractor
    padded = np.zeros((len(windows), extractor.mel_filters.shape[0], extractor.nb_max_frames), np.float32)
    for features, samples in zip(padded, windows, strict=True):
        found = extractor(samples)[..., : extractor.nb_max_frames]
        frames = found.shape[-1] - (len(samples) < extractor.n_samples)  # the last one is of the silence behind
        features[:, :frames] = found[:, :frames]
    return padded


def _frames(whisper: WhisperModel, samples: Samples) -> int:
    hop: int = whisper.feature_extractor.hop_length
    return max(LEAST_FRAMES, len(samples) // hop)


def _alike(plans: Sequence[Plan], key: Callable[[Plan], Hashable]) -> list[list[int]]:
    """The places of plans with the same key, in order."""
    groups: dict[Hashable, list[int]] = {}
    for n, plan in enumerate(plans):
        groups.setdefault(key(plan), []).append(n)
    return list(groups.values())


def _rows(encoded: ctranslate2.StorageView, places: Sequence[int], total: int) -> ctranslate2.StorageView:
    if len(places) == total:
        return encoded
    return ctranslate2.StorageView.from_array(to_host(encoded)[list(places)])
