"""Clustering of voices: windows, counts and shares, with NeMo's own parts."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.devices import DeviceSettings
from pipeline.errors import ModelUnavailable
from pipeline.models.clustering import HOP, SAMPLE, WINDOW, Clustering, clustered, in_order, shares, windows
from pipeline.models.nemo import NemoModel, module
from pipeline.types import SAMPLE_RATE
from tests.pipeline.diarization.conftest import babble
from tests.pipeline.diarization.listeners import reading, unheard

heavy = pytest.mark.heavy

SPANS = st.lists(st.tuples(st.floats(0.0, 3.0), st.floats(0.02, 12.0)), max_size=8)


def placed(gaps: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """(pause, length) of each to (start, end)."""
    spans, at = [], 0.0
    for pause, length in gaps:
        spans.append((at + pause, at + pause + length))
        at += pause + length
    return spans


@given(gaps=SPANS)
@settings(max_examples=200, deadline=None)
def test_windows_cover_all_speech_and_nothing_else(gaps: list[tuple[float, float]]) -> None:
    """Every sample of a span lies in a window, no window leaves its span, and all are full where the span is."""
    for start, end in placed(gaps):
        found = windows([(start, end)])
        first, stop = round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)
        assert found[0, 0] == first
        assert found[-1, 1] == stop
        assert (found[1:, 0] <= found[:-1, 1]).all()
        assert (found[:, 1] - found[:, 0] == min(WINDOW, stop - first)).all()
        assert (np.diff(found[:-1, 0]) == HOP).all()


def test_a_click_is_no_window() -> None:
    """What is shorter than a frame of features is passed over."""
    assert windows([(1.0, 1.005)]).shape == (0, 2)
    assert windows([]).shape == (0, 2)


@given(labels=st.lists(st.integers(0, 9), min_size=1, max_size=50))
@settings(max_examples=100, deadline=None)
def test_speakers_are_numbered_as_they_come(labels: list[int]) -> None:
    """The first to speak is 0, the next new one 1; who is the same stays the same."""
    found = in_order(np.array(labels)).tolist()
    assert list(dict.fromkeys(found)) == list(range(len(set(labels))))
    assert all((a == b) == (c == d) for (a, c), (b, d) in itertools.combinations(zip(labels, found, strict=True), 2))


@given(gaps=SPANS.filter(bool), seed=st.integers(0, 99), speakers=st.integers(1, 6))
@settings(max_examples=100, deadline=None)
def test_shares_are_those_of_a_slow_count(gaps: list[tuple[float, float]], seed: int, speakers: int) -> None:
    """In each frame inside speech the shares sum to 1, as a loop over frames and windows counts them; outside to 0."""
    spans = placed(gaps)
    places = windows(spans)
    if not len(places):
        return
    labels = in_order(np.random.default_rng(seed).integers(0, speakers, len(places)))
    samples = round(spans[-1][1] * SAMPLE_RATE) + 4000
    found = shares(places, labels, spans, samples)
    assert found.shape == (-(-samples // 1280), labels.max() + 1)
    for frame in range(len(found)):
        middle = (frame + 0.5) * 1280
        votes = np.zeros(labels.max() + 1)
        for (first, stop), label in zip(places.tolist(), labels.tolist(), strict=True):
            if first // 1280 <= frame < -(-stop // 1280):
                votes[label] += max(0.05, 1 - abs(middle - (first + stop) / 2) / ((stop - first) / 2))
        inside = any(start * SAMPLE_RATE <= middle < end * SAMPLE_RATE for start, end in spans)
        wanted = votes / votes.sum() if inside and votes.sum() else np.zeros_like(votes)
        assert np.abs(found[frame] - wanted).max() < 1e-3


# ── with NeMo ────────────────────────────────────────────────────────────────────────────────────────────────────────


def voices(count: int, of: int, noise: float = 0.4, seed: int = 0) -> tuple[Any, Any]:
    """Embeddings of people who speak five windows at a time, everybody at least once, and whose they are."""
    rng = np.random.default_rng(seed)
    turns = -(-count // 5)
    whose = np.repeat(rng.permutation(np.concatenate([np.arange(of), rng.integers(0, of, max(0, turns - of))])), 5)[
        :count
    ]
    centres = rng.standard_normal((of, 48))
    return (centres[whose] + noise * rng.standard_normal((count, 48))).astype(np.float32), whose


def agree(found: Any, wanted: Any) -> float:
    """Share of windows that are right, each cluster counting as whom most of it is."""
    return sum(np.bincount(wanted[found == one]).max() for one in np.unique(found)) / len(wanted)


@heavy
@pytest.mark.parametrize(("count", "of"), [(40, 2), (60, 4), (400, 12)])
def test_a_count_that_nobody_gives_is_found(count: int, of: int) -> None:
    """Plain voices are counted and told apart: in a minute, where NeMo's own count finds one, as in five."""
    embeddings, whose = voices(count, of)
    found = clustered(embeddings)
    assert len(np.unique(found)) == of
    assert agree(found, whose) == 1.0


@heavy
def test_bounds_are_kept() -> None:
    """An oracle's count, a least and a most decide, as far as everybody has two windows."""
    embeddings, _ = voices(100, 6)
    assert len(np.unique(clustered(embeddings, 3, 3))) == 3
    assert len(np.unique(clustered(embeddings, 1, 4))) <= 4
    assert len(np.unique(clustered(embeddings, 9, None))) >= 7  # k-means may leave one empty
    assert clustered(embeddings, 1, 1).tolist() == [0] * 100
    assert len(np.unique(clustered(embeddings[:40], 50, 50))) in range(15, 21)
    assert len(np.unique(clustered(embeddings[:3], 50, 50))) <= 2
    assert clustered(embeddings[:1], 5, 50).tolist() == [0]
    assert len(clustered(embeddings[:2], 1, 50)) == 2


@heavy
def test_thirty_speakers_are_told_apart() -> None:
    """With the count given, thirty plain voices are thirty."""
    embeddings, whose = voices(450, 30)
    assert agree(clustered(embeddings, 30, 30), whose) > 0.95


@heavy
@pytest.mark.parametrize("hint", [{}, {"least": 7, "most": 7}])
def test_a_sample_of_a_long_recording_speaks_for_all_of_it(hint: dict[str, int]) -> None:
    """Every window of a long recording has its speaker, the same from beginning to end."""
    embeddings, whose = voices(10 * SAMPLE + 123, 7)
    found = clustered(embeddings, **hint)
    assert len(np.unique(found)) == 7
    assert agree(found, whose) > 0.99


@heavy
def test_the_same_voices_give_the_same_labels_and_leave_torchs_seed_alone() -> None:
    """Twice the same; random numbers of other threads are not set back."""
    torch = module("torch")
    embeddings, _ = voices(60, 3)
    torch.manual_seed(7)
    wanted = torch.rand(1)
    torch.manual_seed(7)
    first = clustered(embeddings)
    assert torch.rand(1) == wanted
    assert np.array_equal(first, clustered(embeddings))


@pytest.fixture(scope="module")
def clustering(random_speakers: NemoModel) -> Clustering:
    found = Clustering(random_speakers, DeviceSettings(device="cpu"))
    found.begin()
    return found


@heavy
def test_a_window_is_what_it_is_in_any_company(clustering: Clustering) -> None:
    """An embedding does not depend on what is in its batch, and equals NeMo's own ``forward`` of the window alone."""
    sound = babble(12.0)
    places = windows([(0.2, 8.0), (8.5, 8.9), (9.5, 12.0)])
    together = clustering._embeddings(places, len(sound), reading(sound), unheard)
    model, torch = clustering._ladder.model, module("torch")
    for place, row in zip(places.tolist(), together, strict=True):
        with torch.inference_mode():
            piece = torch.from_numpy(np.resize(sound[slice(*place)], WINDOW))[None]
            _, alone = model.forward(input_signal=piece, input_signal_length=torch.tensor([WINDOW]))
        assert np.abs(row - alone[0].numpy()).max() < 1e-4 * np.abs(row).max()


@heavy
def test_speech_becomes_posteriors_with_progress(clustering: Clustering) -> None:
    """One word, some sentences, a silence between: shares inside speech alone, and progress to its end."""
    sound, told = babble(20.0), []
    spans = [(1.0, 1.4), (5.0, 14.0)]
    found = clustering.posteriors(
        len(sound), reading(sound), spans, lambda done, total: told.append((done, total)), least=2, most=2
    )
    assert found.shape == (250, 2)
    assert np.flatnonzero(found.sum(axis=1)).tolist() == [*range(12, 17), *range(62, 175)]
    assert told[-1] == (14.0, 20.0)
    one = clustering.posteriors(len(sound), reading(sound), [(1.0, 1.4)], unheard, least=5, most=None)
    assert one.shape == (250, 1)
    nobody = clustering.posteriors(len(sound), reading(sound), [], unheard)
    assert nobody.shape == (250, 0)


@heavy
def test_batches_shrink_when_memory_runs_out(random_speakers: NemoModel, clustering: Clustering) -> None:
    """A batch that does not fit is halved until it does: the same posteriors."""
    sound = babble(30.0)
    shaky = Clustering(random_speakers, DeviceSettings(device="cpu"))
    shaky.begin()
    model = shaky._ladder.model
    forward, sizes = model.forward, []

    def fitting(input_signal: Any, input_signal_length: Any) -> Any:
        sizes.append(len(input_signal))
        if len(input_signal) > 4:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return forward(input_signal=input_signal, input_signal_length=input_signal_length)

    model.forward = fitting
    spans = [(0.0, 30.0)]
    wanted = clustering.posteriors(len(sound), reading(sound), spans, unheard, least=3, most=3)
    assert np.array_equal(shaky.posteriors(len(sound), reading(sound), spans, unheard, least=3, most=3), wanted)
    assert sizes[:4] == [16, 8, 4, 4]


@heavy
def test_embeddings_that_are_no_numbers_are_refused(random_speakers: NemoModel) -> None:
    """Damaged weights are an error, not a speaker."""
    broken = Clustering(random_speakers, DeviceSettings(device="cpu"))
    broken.begin()
    next(iter(broken._ladder.model.encoder.parameters())).fill_(float("nan"))
    with pytest.raises(ModelUnavailable, match="gives no numbers"):
        broken.posteriors(32_000, reading(babble(2.0)), [(0.0, 2.0)], unheard)
