"""CTC's Viterbi: the likeliest path, the same one from every implementation, in bounded memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.stages.alignment.sweep import Sweep, compiled, plain
from pipeline.stages.alignment.viterbi import viterbi
from tests.pipeline.alignment.ctc_reference import Emissions, best_of_all, random_emissions, reference, score

SWEEPS = [pytest.param(lambda: plain, id="numpy"), pytest.param(compiled, id="numba", marks=pytest.mark.heavy)]


@pytest.fixture(params=SWEEPS)
def sweep(request: pytest.FixtureRequest) -> Sweep:
    return request.param()


def found(emissions: Emissions, tokens: list[int], blank: int, sweep: Sweep, room: int = 2**20) -> object:
    spans = viterbi(emissions, np.array(tokens, dtype=np.int32), blank, sweep=sweep, room=room)
    return None if spans is None else [(int(start), int(stop)) for start, stop in spans]


@st.composite
def cases(draw: st.DrawFn, frames: int = 14) -> tuple[Emissions, list[int], int]:
    """Few columns and few values: repeated tokens, ties and impossible frames are common."""
    columns, count = draw(st.integers(2, 4)), draw(st.integers(0, frames))
    blank = draw(st.integers(0, columns - 1))
    values = st.sampled_from([0.0, -0.25, -1.0, -1.0, -3.5, -np.inf])
    raw = draw(st.lists(st.lists(values, min_size=columns, max_size=columns), min_size=count, max_size=count))
    letters = st.sampled_from([column for column in range(columns) if column != blank])
    tokens = draw(st.lists(letters, max_size=6))
    return np.array(raw, dtype=np.float32).reshape(count, columns), tokens, blank


@given(case=cases())
@settings(max_examples=1500, deadline=None)
def test_numpy_finds_the_references_path(case: tuple[Emissions, list[int], int]) -> None:
    """Ties, repeats, frames in which nothing is possible: the path is the slow table's to the frame, or there is none
    in both.
    """
    assert found(*case, plain) == reference(*case)


@pytest.mark.heavy
@given(case=cases())
@settings(max_examples=1500, deadline=None)
def test_numba_finds_the_references_path(case: tuple[Emissions, list[int], int]) -> None:
    """The compiled loops decide as the slow table does, ties included."""
    assert found(*case, compiled()) == reference(*case)


@given(case=cases(frames=6))
@settings(max_examples=150, deadline=None)
def test_no_path_is_likelier(case: tuple[Emissions, list[int], int]) -> None:
    """Of all paths that spell the text, written out one by one, none is likelier than the one found."""
    emissions, tokens, blank = case
    best = best_of_all(emissions, tokens, blank)
    spans = viterbi(emissions, np.array(tokens, dtype=np.int32), blank, sweep=plain)
    if spans is None or best is None:
        assert spans is None
        assert best in (None, -np.inf)
    else:
        assert score(emissions, tokens, blank, [tuple(span) for span in spans.tolist()]) == best


def test_on_a_models_output(sweep: Sweep) -> None:
    """On floats of every size the sums are rounded as in the reference, so not one frame differs."""
    rng = np.random.default_rng(5)
    for _ in range(60):
        columns = int(rng.integers(3, 30))
        frames = int(rng.integers(20, 90))
        emissions = random_emissions(rng, frames, columns)
        tokens = rng.integers(1, columns, size=int(rng.integers(1, frames // 2 + 1))).tolist()
        assert found(emissions, tokens, 0, sweep) == reference(emissions, tokens, 0)


def test_repeated_letters_have_a_blank_between_them(sweep: Sweep) -> None:
    """Two equal tokens cannot share a run of frames, however unlikely the blank is."""
    emissions = np.log(np.array([[0.001, 0.999]] * 5, dtype=np.float32))
    (first, second) = found(emissions, [1, 1], 0, sweep)
    assert first[1] < second[0]


@pytest.mark.parametrize(("frames", "fits"), [(4, False), (5, True)])
def test_text_that_does_not_fit(sweep: Sweep, frames: int, fits: bool) -> None:
    """Three letters, two pairs of them equal, need five frames; in four there is no path, and none is made up."""
    emissions = np.full((frames, 2), -1.0, dtype=np.float32)
    assert (found(emissions, [1, 1, 1], 0, sweep) is not None) is fits


@pytest.mark.parametrize("room", [0, 300, 2_000])
def test_little_memory_makes_no_difference(sweep: Sweep, room: int) -> None:
    """A text too long for its pointers is traced block by block, to the same path."""
    rng = np.random.default_rng(room)
    for frames in (1, 7, 63, 200):
        emissions = random_emissions(rng, frames, 5)
        tokens = rng.integers(1, 5, size=max(1, frames // 3)).tolist()
        assert found(emissions, tokens, 0, sweep, room) == reference(emissions, tokens, 0)


@pytest.mark.heavy
def test_memory_of_a_long_text() -> None:
    """Twenty minutes in one piece keep a few hundred rows of pointers, not all 60,000 (which would be 200 MB)."""
    rng = np.random.default_rng(1)
    emissions = random_emissions(rng, 60_000, 6)
    tokens = rng.integers(1, 6, size=3_300)
    tracemalloc.start()
    spans = viterbi(emissions, tokens, 0, sweep=compiled())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert spans is not None
    assert (spans[1:, 0] >= spans[:-1, 1]).all()
    assert peak < 30e6


@pytest.mark.heavy
def test_nowhere_to_keep_what_is_compiled() -> None:
    """Where numba finds no folder that it can write to, it compiles anew in every process, and works."""
    code = "from pipeline.stages.alignment.sweep import compiled; assert not compiled().back.stats.cache_path"
    only = {**os.environ, "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"}
    only.pop("NUMBA_CACHE_DIR", None)
    subprocess.run([sys.executable, "-c", code], check=True, env=only, cwd=Path(__file__).parents[3])


def test_a_numba_that_does_not_import_is_done_without(tmp_path: Path) -> None:
    """One that was made for another numpy raises when it is imported: the loops are numpy's own then, with a line in
    the log.
    """
    (tmp_path / "numba.py").write_text("raise ImportError('Numba needs NumPy 1.0 or less')")
    code = "from pipeline.stages.alignment.sweep import best, plain; assert best() is plain; assert best() is plain"
    root = Path(__file__).parents[3]
    only = {**os.environ, "PYTHONPATH": f"{tmp_path}:{root}"}
    told = subprocess.run([sys.executable, "-c", code], check=True, env=only, cwd=tmp_path, capture_output=True)
    assert told.stderr.decode().count("Numba needs NumPy") == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_probability(sweep: Sweep, bad: float) -> None:
    """A model that gives NaN or infinity has heard nothing: no path, rather than an arbitrary one."""
    emissions = np.full((8, 3), -1.0, dtype=np.float32)
    emissions[3, 1] = bad
    assert found(emissions, [1, 2], 0, sweep) is None


@pytest.mark.parametrize(("tokens", "blank"), [([1, 3], 0), ([-1], 0), ([0], 0), ([1], 3), ([1], -1)], ids=str)
def test_impossible_requests(tokens: list[int], blank: int) -> None:
    """A column that is not there, or the blank as a letter, is the caller's mistake, never a read past the array."""
    with pytest.raises(ValueError, match="blank"):
        viterbi(np.zeros((9, 3), dtype=np.float32), np.array(tokens), blank)


def test_nothing_to_align() -> None:
    """No tokens: no frames, with sound or without it."""
    for frames in (0, 5):
        spans = viterbi(np.zeros((frames, 3), dtype=np.float32), np.array([], dtype=np.int32), 0)
        assert spans is not None
        assert spans.shape == (0, 2)


def test_half_precision(sweep: Sweep) -> None:
    """Emissions as a GPU gives them, float16 and not contiguous, are taken as the float32 they stand for."""
    half = random_emissions(np.random.default_rng(2), 40, 6).astype(np.float16)[:, ::-1]
    wide = np.ascontiguousarray(half, dtype=np.float32)
    assert found(half, [1, 2, 3, 3], 0, sweep) == reference(wide, [1, 2, 3, 3], 0)
