"""Sortformer, chunk by chunk: the model's own answers, in flat memory, on whatever rung there is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from pipeline.devices import DeviceSettings
from pipeline.errors import ModelUnavailable, OutOfMemory
from pipeline.models import sortformer as under_test
from pipeline.models.nemo import NemoModel, module
from pipeline.models.sortformer import PRECISE, Sortformer, Streaming
from tests.pipeline.diarization.conftest import babble, quiet
from tests.pipeline.diarization.listeners import reading, unheard

pytestmark = pytest.mark.heavy

SHORT = Streaming(
    chunk_len=40, chunk_right_context=7, chunk_left_context=1, fifo_len=30, spkcache_len=48, spkcache_update_period=35
)
HALF = 2.5e-4  # float16 near 1 is no finer
CPU = DeviceSettings(device="cpu")


def at_once(model: Any, sound: Any) -> Any:
    """The posteriors of NeMo's own streaming ``forward`` over the whole sound."""
    torch = module("torch")
    with torch.inference_mode(), quiet():
        return model.forward(torch.from_numpy(sound)[None], torch.tensor([len(sound)]))[0].numpy()


def heard(diarizer: Sortformer, sound: Any) -> Any:
    return diarizer.posteriors(len(sound), reading(sound), unheard)


@pytest.fixture(scope="module")
def short(random_sortformer: NemoModel) -> Sortformer:
    diarizer = Sortformer(random_sortformer, CPU, SHORT)
    diarizer.begin()
    return diarizer


def test_chunks_give_what_nemo_gives_for_the_whole(short: Sortformer) -> None:
    """Features, contexts, cache and queue: over 90 s and a dozen turns of the cache every posterior is that of NeMo's
    own streaming forward.
    """
    sound = babble(90.3)
    found = heard(short, sound)
    wanted = at_once(short._ladder.model, sound)
    assert found.shape == wanted.shape == (1129, 4)
    assert wanted.std() > 0.2
    assert np.abs(found - wanted).max() < HALF


@contextmanager
def levels_kept() -> Iterator[None]:
    """NeMo's `diarize` leaves a level of its own at every handler that its logger has, pytest's among them, which would
    then hear nothing of later tests.
    """
    before = [(one, one.level) for name in ("nemo_logger", None) for one in logging.getLogger(name).handlers]
    yield
    for handler, level in before:
        handler.setLevel(level)


def test_diarize_says_the_same(random_sortformer: NemoModel) -> None:
    """NeMo's `diarize` of a short array, with the values for long delays, comes to the same posteriors."""
    diarizer = Sortformer(random_sortformer, CPU)
    diarizer.begin()
    sound = babble(40.0, seed=5)
    with quiet(), levels_kept():
        _, tensors = diarizer._ladder.model.diarize(
            sound, sample_rate=16_000, include_tensor_outputs=True, verbose=False
        )
    assert np.abs(heard(diarizer, sound) - tensors[0][0].numpy()).max() < HALF
    assert diarizer._ladder.model.sortformer_modules.chunk_len == PRECISE.chunk_len


@pytest.mark.parametrize("samples", [0, 1, 159, 160, 1280, 51_199, 51_200, 51_360, 16_000 * 4])
def test_every_length_has_its_frames(short: Sortformer, samples: int) -> None:
    """A frame every 80 ms, of any length, from nothing to just over a chunk."""
    found = heard(short, babble(5.0)[:samples])
    assert found.shape == (-(-(samples // 160) // 8), 4)
    assert short.step == 0.08


def test_the_future_of_a_long_recording_changes_nothing(short: Sortformer) -> None:
    """What follows in the recording leaves the frames before its chunk's context as they are: no batch, no loudest
    sample, no whole decides.
    """
    sound = babble(30.0)
    louder = np.concatenate([sound, np.clip(3 * babble(10.0, seed=2), -1, 1)])
    frames = 375 // 40 * 40 - 7
    assert np.array_equal(heard(short, sound)[:frames], heard(short, louder)[:frames])


def test_progress_rises_to_the_end(short: Sortformer) -> None:
    """Reported after each chunk, in seconds of the recording."""
    told: list[tuple[float, float | None]] = []
    sound = babble(10.0)
    short.posteriors(len(sound), reading(sound), lambda done, total: told.append((done, total)))
    assert told == [(3.2, 10.0), (6.4, 10.0), (9.6, 10.0), (10.0, 10.0)]


def test_no_more_than_a_chunk_is_read_at_once(short: Sortformer) -> None:
    """Sound is read a chunk at a time, with its context; never backwards by more than that."""
    sound = babble(60.0)
    asked: list[tuple[int, int]] = []

    def read(start: int, stop: int) -> Any:
        asked.append((start, stop))
        return sound[start:stop]

    short.posteriors(len(sound), read, unheard)
    assert max(stop - start for start, stop in asked) <= (40 + 1 + 7) * 1280 + 8 * 160
    assert len(asked) == -(-750 // 40)


@pytest.mark.parametrize("failures", [1, 5])
def test_memory_that_runs_out_costs_nothing_but_time(random_sortformer: NemoModel, failures: int) -> None:
    """A step that fails is done again on the next rung from what was remembered before it: the same posteriors."""
    sound = babble(30.0)
    steady = Sortformer(random_sortformer, CPU, SHORT)
    steady.begin()
    wanted = heard(steady, sound)
    shaky = Sortformer(random_sortformer, CPU, SHORT)
    rung = shaky._ladder._rungs[0]
    shaky._ladder._rungs = (rung,) * (failures + 1)
    shaky.begin()
    wrap_steps(shaky, failing_after(3, failures))
    assert np.array_equal(heard(shaky, sound), wanted)
    assert shaky.below


def test_no_memory_anywhere_is_said(random_sortformer: NemoModel) -> None:
    """When the last rung fails too, `OutOfMemory` comes out, which is retryable."""
    shaky = Sortformer(random_sortformer, CPU, SHORT)
    shaky.begin()
    wrap_steps(shaky, failing_after(2, 99))
    with pytest.raises(OutOfMemory, match="memory ran out"):
        heard(shaky, babble(10.0))


def failing_after(steps: int, times: int) -> Callable[[], None]:
    left = [steps, times]

    def maybe() -> None:
        left[0] -= 1
        if left[0] < 0 and left[1] > 0:
            left[1] -= 1
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    return maybe


def wrap_steps(diarizer: Sortformer, maybe: Callable[[], None]) -> None:
    """Let every step of the model fail in its middle, after it has changed what it was given."""
    load = diarizer._ladder._load

    def loaded(rung: Any) -> Any:
        model = load(rung)
        update = model.sortformer_modules.streaming_update

        def failing(**given: Any) -> Any:
            result = update(**given)
            maybe()
            return result

        model.sortformer_modules.streaming_update = failing
        return model

    diarizer._ladder._load = loaded
    diarizer.unload()


def test_weights_that_give_no_numbers_are_refused(random_sortformer: NemoModel) -> None:
    """NaN never becomes a speaker."""
    diarizer = Sortformer(random_sortformer, CPU, SHORT)
    diarizer.begin()
    diarizer._ladder.model.sortformer_modules.single_hidden_to_spks.weight.fill_(float("nan"))
    with pytest.raises(ModelUnavailable, match="gives no numbers"):
        heard(diarizer, babble(2.0))


def test_chunks_are_those_of_the_models_loader() -> None:
    """The same cuts as `streaming_feat_loader`, at every length around a chunk."""
    modules = module("nemo.collections.asr.modules.sortformer_modules").SortformerModules(
        chunk_len=5, chunk_left_context=1, chunk_right_context=2, spkcache_len=20
    )
    torch = module("torch")
    for frames in range(1, 130):
        features = torch.arange(frames)[None, None]
        theirs = [
            (int(piece[0, 0, 0]), int(piece[0, -1, 0]) + 1, left, right)
            for _, piece, _, left, right in modules.streaming_feat_loader(
                features, torch.tensor([frames]), torch.tensor([0])
            )
        ]
        assert [tuple(one) for one in under_test.chunks(frames, 8, modules)] == theirs
