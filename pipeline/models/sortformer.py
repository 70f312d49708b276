"""Sortformer: who speaks in each 80 ms of a recording, up to four people, who may speak at once.

Takes the samples of one channel piece by piece, gives probabilities. The model is driven in its streaming form, chunk
by chunk: what it remembers of the voices so far (a cache for each speaker, and a queue of the last frames) is carried
on, so speakers keep their numbers and memory does not grow with the recording. The result is that of the model's own
streaming ``forward`` over the whole. Its other form, over the whole recording at once, is not used: memory grows with
the length, and the level is set by the loudest sample. Knows nothing of words, hints or files of sound.

Source: "Streaming Sortformer: Speaker Cache-Based Online Speaker Diarization with Arrival-Time Ordering", 2025.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.devices import DeviceSettings, in_use
from pipeline.errors import ModelUnavailable
from pipeline.models.failures import reason
from pipeline.models.ladder import Ladder, OnLadder
from pipeline.models.nemo import SORTFORMER, NemoModel, checked_rate, load, module, release, rungs
from pipeline.types import SAMPLE_RATE

SPEAKERS = 4  # whom the published models tell apart

Posteriors: TypeAlias = NDArray[np.float16]  # shape (frames, speakers), in [0, 1]
Read = Callable[[int, int], NDArray[np.float32]]
"""Samples [start, stop) of the recording, 16 kHz, in [-1, 1]; clipped to it."""
Report = Callable[[float, float | None], None]
"""Seconds done, seconds in all."""


@dataclass(frozen=True, slots=True)
class Streaming:
    """How a recording is cut up; all in frames of the model, which last 80 ms. Its maker's values for 30 s of delay,
    the most exact ones: the recording is there as a whole, so delay costs nothing. `None` for a model's own.
    """

    chunk_len: int = 340
    chunk_left_context: int = 1
    chunk_right_context: int = 40
    fifo_len: int = 40
    spkcache_len: int = 188
    spkcache_update_period: int = 300


PRECISE = Streaming()


class Chunk(NamedTuple):
    """Frames of features (10 ms): [``first``, ``stop``) is heard, ``left`` and ``right`` of them as context only."""

    first: int
    stop: int
    left: int
    right: int


class Sortformer(OnLadder[Any]):
    """One model, kept loaded from job to job; for one thread at a time."""

    def __init__(
        self, model: NemoModel, settings: DeviceSettings | None = None, streaming: Streaming | None = PRECISE
    ) -> None:
        self.info = model.info
        self._model = model
        self._streaming = streaming
        settings = settings or DeviceSettings()
        super().__init__(Ladder(rungs(settings), self._load, release, barring=partial(in_use, settings)))

    @property
    def step(self) -> float:
        """Seconds from one frame of the posteriors to the next."""
        model = self._ladder.model
        return float(_hop(model) * model.encoder.subsampling_factor / SAMPLE_RATE)

    def posteriors(self, samples: int, read: Read, report: Report) -> Posteriors:
        """For a recording of so many samples: how likely each of the model's speakers speaks in each frame. Speakers
        are in the order in which they were first heard.

        `ModelUnavailable`: the weights give no numbers. `OutOfMemory`, `DeviceLost`; what ``report`` raises.
        """
        model = self._ladder.model
        frames, factor = samples // _hop(model), int(model.encoder.subsampling_factor)
        found = np.zeros((-(-frames // factor), model.sortformer_modules.n_spk), np.float16)
        state, done = None, 0
        for chunk in chunks(frames, factor, model.sortformer_modules):
            [(state, heard)] = self._ladder.run([chunk], partial(_step, state=state, read=read))
            if not np.isfinite(heard).all():
                raise ModelUnavailable(f"the model {self.info.name} gives no numbers", "Fetch it again.")
            found[done : done + len(heard)] = heard
            done += len(heard)
            report(min(samples, (chunk.stop - chunk.right) * _hop(model)) / SAMPLE_RATE, samples / SAMPLE_RATE)
        return found

    def _load(self, rung: Any) -> Any:
        model = load(self._model, SORTFORMER, rung)
        checked_rate(model, self.info.name)
        normalize = model.cfg.preprocessor.get("normalize")
        if normalize not in (None, False, "NA"):
            raise ModelUnavailable(
                f"the model {self.info.name} is not made for streaming (its features are normalised {normalize})",
                "Use a streaming Sortformer, for example diar_streaming_sortformer_4spk-v2.",
            )
        model.async_streaming = False
        parts = model.sortformer_modules
        for name, value in asdict(self._streaming).items() if self._streaming is not None else ():
            setattr(parts, name, value)
        try:
            parts._check_streaming_parameters()
        except (TypeError, ValueError) as error:
            raise ModelUnavailable(
                f"the model {self.info.name} cannot be driven chunk by chunk: {reason(error)}",
                "Use a streaming Sortformer, for example diar_streaming_sortformer_4spk-v2.",
            ) from error
        return model


def chunks(frames: int, factor: int, modules: Any) -> Iterator[Chunk]:
    """The chunks of a recording of so many frames of features, as the model's own loader cuts them."""
    length = modules.chunk_len * factor
    for start in range(0, frames, length):
        stop = min(start + length, frames)
        left = min(modules.chunk_left_context * factor, start)
        right = min(modules.chunk_right_context * factor, frames - stop)
        yield Chunk(start - left, stop + right, left, right)


def _step(model: Any, pieces: Sequence[Chunk], *, state: Any, read: Read) -> list[tuple[Any, NDArray[np.float32]]]:
    """For the one chunk, what the model remembers after it, and its posteriors: shape (frames, speakers). ``state`` is
    what it remembered before, None at the beginning; it stays as it is: the ladder may take the step again, on another
    device.
    """
    [chunk] = pieces
    torch = module("torch")
    with torch.inference_mode():
        parts = model.sortformer_modules
        if state is None:
            state = parts.init_streaming_state(batch_size=1, async_streaming=False, device=model.device)
        else:
            state = copy.copy(state)  # NeMo changes the object, not the tensors in it
            state.to(model.device)
        features = _features(model, chunk, read).transpose(1, 2)
        state, heard = model.forward_streaming_step(
            processed_signal=features,
            processed_signal_length=torch.tensor([features.shape[1]], device=model.device),
            streaming_state=state,
            total_preds=torch.zeros((1, 0, parts.n_spk), device=model.device),
            left_offset=chunk.left,
            right_offset=chunk.right,
        )
        return [(state, heard[0].cpu().numpy())]


def _features(model: Any, chunk: Chunk, read: Read) -> Any:
    """The chunk's log-mel features, shape (1, bands, frames): the same as those of the whole recording, because some
    frames more are computed on both sides, where the window of the Fourier transform reaches out of the chunk.
    """
    torch, hop = module("torch"), _hop(model)
    reach = model.preprocessor.featurizer.n_fft // hop + 1
    first = max(0, chunk.first - reach)
    sound = torch.from_numpy(read(first * hop, (chunk.stop + reach) * hop)).to(model.device)
    length = torch.tensor([len(sound)], device=model.device)
    features, _ = model.preprocessor(input_signal=sound[None], length=length)
    return features[:, :, chunk.first - first : chunk.stop - first]


def _hop(model: Any) -> int:
    """Samples from one frame of features to the next."""
    return int(model.preprocessor.featurizer.hop_length)
