"""faster-whisper, the real one, over a Whisper whose answers are known (tests/models/make_fixed_whisper.py)."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from faster_whisper import BatchedInferencePipeline, WhisperModel
from hypothesis import given, settings
from hypothesis import strategies as st
from sound import hush, noise, window
from whisper_rig import NATO, all_words, model_of, run, texts

from pipeline.catalog import Model
from pipeline.devices import DeviceSettings
from pipeline.errors import ModelUnavailable
from pipeline.models import Models
from pipeline.models.base import Recogniser, Request, Rough, Window, placed
from pipeline.models.ladder import Rung
from pipeline.models.loading import LoadedWhisper, load_whisper, open_whisper
from pipeline.types import SAMPLE_RATE


@pytest.fixture(scope="module")
def whisper(fixed_whisper: Path) -> Recogniser:
    return Models(DeviceSettings(device="cpu", compute_type="float32")).get(model_of(fixed_whisper))


# ── words and times ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_words_at_their_place_in_the_recording(whisper: Recogniser) -> None:
    """A window's words come with its place added: the n-th second of it is the n-th word, to a tenth of a second."""
    (batch,) = run(whisper, window(1234.5, noise(3.2), hush(1)))
    assert [w.text for w in batch.words] == NATO[:3]
    for n, word in enumerate(batch.words):
        assert word.start == pytest.approx(1234.5 + n, abs=0.1)
        assert word.end == pytest.approx(1235.5 + n, abs=0.1)
        assert 0.9 < word.confidence <= 1
    assert batch.seconds == pytest.approx(4.2)
    assert whisper.punctuates


def test_as_loaded_by_default(fixed_whisper: Path) -> None:
    """With the device and the precision that it chooses itself the words are the same."""
    assert texts(run(Models().get(model_of(fixed_whisper)), window(0, noise(3.2)))) == NATO[:3]


WINDOWS = [
    window(0.37, noise(2.6, seed=2)),
    window(3.113, noise(0.9, seed=3), hush(0.25)),
    window(5.0, hush(3.3)),
    window(9.87654, noise(7.456, seed=4)),
    window(20.0, noise(29.99, seed=5)),
    window(50.0001, noise(4.1, seed=6), hush(2), noise(2)),
    window(60.0, noise(0.05)),
]


def test_windows_keep_apart(whisper: Recogniser) -> None:
    """Many windows in one batch: each one's words are its own, in its own time, in order, overlapping nobody's."""
    found = all_words(run(whisper, *WINDOWS, batch_size=len(WINDOWS)))
    counts = [sum(w.start <= word.start and word.end <= w.end for word in found) for w in WINDOWS]
    assert counts == [3, 1, 0, 7, 26, 4, 0]
    assert sum(counts) == len(found)
    times = [t for word in found for t in (word.start, word.end)]
    assert times == sorted(times)
    assert all(word.end > word.start for word in found)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_batch_composition_changes_nothing(size: int, whisper: Recogniser) -> None:
    """Words, times and language are those of the window, whoever shares its batch; confidences to rounding."""
    together, apart = (run(whisper, *WINDOWS, batch_size=n) for n in (len(WINDOWS), size))
    assert [b.seconds for b in apart] == [
        pytest.approx(sum(w.seconds for w in WINDOWS[i : i + size])) for i in range(0, len(WINDOWS), size)
    ]
    for one, other in zip(all_words(together), all_words(apart), strict=True):
        assert (one.text, one.start, one.end) == (other.text, other.start, other.end)
        assert one.confidence == pytest.approx(other.confidence, abs=1e-4)
    assert {b.language for b in apart} == {together[0].language}


STRETCHES = st.lists(st.tuples(st.floats(0.05, 6), st.booleans()), min_size=1, max_size=5)


@settings(max_examples=12, deadline=None)
@given(stretches=STRETCHES, sizes=st.tuples(st.integers(1, 5), st.integers(1, 5)), turned=st.booleans())
def test_neighbours_change_nothing(
    whisper: Recogniser, stretches: list[tuple[float, bool]], sizes: tuple[int, int], turned: bool
) -> None:
    """Any windows, in any batches, in any order: the same words, times and languages, confidences within 1e-4."""
    windows = [window(10.0 * n, noise(seconds, high=high, seed=n)) for n, (seconds, high) in enumerate(stretches)]
    first = all_words(run(whisper, *windows, batch_size=sizes[0], language="multi"))
    order = windows[::-1] if turned else windows
    second = all_words(run(whisper, *order, batch_size=sizes[1], language="multi"))
    for one, other in zip(first, sorted(second, key=lambda word: word.start), strict=True):
        assert (one.text, one.start, one.end, one.language) == (other.text, other.start, other.end, other.language)
        assert one.confidence == pytest.approx(other.confidence, abs=1e-4)


def test_words_are_those_of_the_library(whisper: Recogniser, fixed_whisper: Path) -> None:
    """Driven by its primitives, the library says what its own batched mode says, at the same times."""
    sounds = [noise(2.6, seed=2), noise(7.4, seed=4), noise(29.99, seed=5)]
    model = WhisperModel(str(fixed_whisper), device="cpu", compute_type="float32")
    for sound in sounds:
        clip = {"start": 0, "end": len(sound) / SAMPLE_RATE}
        segments, _ = BatchedInferencePipeline(model).transcribe(
            sound, language="en", vad_filter=False, clip_timestamps=[clip], word_timestamps=True
        )
        theirs = [word for segment in segments for word in segment.words or ()]
        ours = all_words(run(whisper, window(0, sound), language="en"))
        assert [w.text for w in ours] == [w.word.strip() for w in theirs]
        assert [w.start for w in ours] == [pytest.approx(w.start, abs=0.03) for w in theirs]
        assert [w.confidence for w in ours] == [pytest.approx(w.probability, abs=1e-4) for w in theirs]


def test_long_first_words_are_shortened_alike(slow_whisper: Path) -> None:
    """faster-whisper shortens a long word after a pause, counted across the batch: here all windows fare alike."""
    whisper = Models(DeviceSettings(device="cpu", compute_type="float32")).get(model_of(slow_whisper))
    windows = [window(10.0 * n, noise(4.5, seed=n)) for n in range(3)]
    for size in (1, 3):
        batches = run(whisper, *windows, batch_size=size)
        firsts = [w for w in all_words(batches) if w.text == NATO[0]]
        assert len(firsts) == 3
        assert {round(w.start % 10, 3) for w in firsts} == {0.6}


def test_the_last_run_leaves_no_trace(whisper: Recogniser) -> None:
    """Two runs over the same windows are equal, with another job between them."""
    before = run(whisper, *WINDOWS)
    run(whisper, window(0, noise(20, high=True)), initial_prompt="Something else", language="de")
    assert run(whisper, *WINDOWS) == before


class Lazy(Sequence[Window]):
    """Windows that are made when they are asked for; remembers which."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.drawn: list[int] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, n: int) -> Window:  # type: ignore[override]
        self.drawn.append(n)
        return window(30.0 * n, noise(1, seed=n), hush(29))


def test_windows_are_drawn_a_batch_at_a_time(whisper: Recogniser) -> None:
    """Memory is flat: beyond those that vote on the language, only the next batch's windows have been read."""
    told = Lazy(10)
    batches = whisper.transcribe(told, Request(batch_size=2, language="en"))
    for done in (2, 4, 6):
        assert len(next(batches).words) == 2
        assert sorted(set(told.drawn)) == list(range(done))
    asked = Lazy(10)
    next(whisper.transcribe(asked, Request(batch_size=2)))
    assert len(asked.drawn) == 3 + 2


def test_nothing_said_is_nothing(whisper: Recogniser) -> None:
    """Silence, faint noise and scraps give no words; with no windows there is not even a language."""
    quiet = [window(0, np.zeros(16000, np.float32)), window(2, hush(5)), window(8, noise(0.005))]
    assert texts(run(whisper, *quiet)) == []
    assert run(whisper) == []
    assert [b.language for b in run(whisper, window(0, np.zeros(16000, np.float32)))] == [None]


@pytest.mark.parametrize("samples", [0, 1, 159, 160, 161, 480_000])
def test_windows_of_any_length(samples: int, whisper: Recogniser) -> None:
    """From no sample to 30 s exactly: no window trips the library's checks on lengths."""
    found = all_words(run(whisper, Window(7.0, noise(30)[:samples])))
    assert all(7 <= w.start < w.end <= 7 + samples / SAMPLE_RATE for w in found)
    assert bool(found) == (samples == 480_000)


def test_a_window_is_thirty_seconds_at_most() -> None:
    """The library would drop the rest with a line in its log; here it is a programming error."""
    with pytest.raises(ValueError, match="480000"):
        Window(0.0, np.zeros(480_001, np.float32))


def test_arguments_are_left_alone(whisper: Recogniser) -> None:
    """The caller's samples are read, not written."""
    given = window(0, noise(2))
    kept = given.samples.copy()
    run(whisper, given, hotwords=("Kubernetes",))
    assert np.array_equal(given.samples, kept)


# ── placing words ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "rough",
    [
        [(0.0, 0.0)] * 5,
        [(0.9, 2.0), (0.95, 2.1), (1.5, 1.2), (9.0, 9.5)],
        [(-3.0, -1.0), (0.5, 0.4), (0.2, 0.3)],
        [(1.0, 1.0)] * 448,
    ],
)
def test_times_are_put_in_order(rough: list[tuple[float, float]]) -> None:
    """Whatever a backend says, words lie inside the window, in order, not overlapping, none of no length."""
    place = Window(17.0, np.ones(SAMPLE_RATE, np.float32))
    words = placed(place, [Rough(f"w{i}", start, end, 0.5) for i, (start, end) in enumerate(rough)])
    assert [w.text for w in words] == [f"w{i}" for i in range(len(rough))]
    times = [t for w in words for t in (w.start, w.end)]
    assert times == sorted(times)
    assert times[0] >= 17.0
    assert times[-1] <= 18.0
    assert all(w.end > w.start for w in words)


def test_good_times_are_not_touched() -> None:
    """Words that are in order already stay where they are."""
    words = placed(
        Window(2.0, np.ones(SAMPLE_RATE, np.float32)), [Rough(" a", 0.1, 0.3, 2.0), Rough("b ", 0.5, 0.9, -1)]
    )
    assert [(w.text, w.start, w.end, w.confidence) for w in words] == [("a", 2.1, 2.3, 1.0), ("b", 2.5, 2.9, 0.0)]


def test_words_without_text_are_dropped() -> None:
    """A blank is no word, and takes no time from its neighbours."""
    words = placed(
        Window(0.0, np.ones(SAMPLE_RATE, np.float32)), [Rough("  ", 0.0, 1.0, 1.0), Rough("a", 0.0, 1.0, 1.0)]
    )
    assert [(w.text, w.start, w.end) for w in words] == [("a", 0.0, 1.0)]


# ── loading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def damaged(source: Path, folder: Path, name: str, content: bytes | None) -> Model:
    """A copy of the model, resolved while it was whole, with one file changed afterwards (None: gone)."""
    shutil.copytree(source, folder)
    model = model_of(folder)
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    return model


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.bin", None),
        ("model.bin", b""),
        ("model.bin", b"not weights at all, but long enough to be read as a header of some kind"),
        ("tokenizer.json", None),
        ("tokenizer.json", b"{"),
        ("config.json", b"{"),
        ("vocabulary.json", None),
        ("preprocessor_config.json", b'{"feature_size": 128}'),
    ],
)
def test_damaged_weights_are_one_clear_line(
    name: str, content: bytes | None, fixed_whisper: Path, tmp_path: Path
) -> None:
    """Missing or damaged files are a retryable error that names the model, and nothing is looked for on the network."""
    model = damaged(fixed_whisper, tmp_path / "small", name, content)
    with pytest.raises(ModelUnavailable, match="small") as caught:
        Models(DeviceSettings(device="cpu")).get(model)
    assert "\n" not in caught.value.message
    assert caught.value.retryable


def test_no_tokenizer_is_never_looked_for_elsewhere(fixed_whisper: Path, tmp_path: Path) -> None:
    """faster-whisper would ask the hub for a missing tokenizer; here it is a line that names the file."""
    model = damaged(fixed_whisper, tmp_path / "small", "tokenizer.json", None)
    with pytest.raises(ModelUnavailable, match=r"incomplete: .* has no tokenizer\.json"):
        Models(DeviceSettings(device="cpu")).get(model)


def test_a_truncated_download_is_refused(fixed_whisper: Path, tmp_path: Path) -> None:
    """Half of model.bin is an error at load, not strange words later."""
    weights = (fixed_whisper / "model.bin").read_bytes()
    damaged(fixed_whisper, tmp_path / "small", "model.bin", weights[: len(weights) // 2])
    with pytest.raises(ModelUnavailable, match="cannot be loaded"):
        Models(DeviceSettings(device="cpu")).get(model_of(tmp_path / "small"))


def test_models_stay_warm(fixed_whisper: Path, fixed_whisper_english: Path) -> None:
    """The same weights are loaded once, under whatever name; other weights take their place."""
    loads: list[str] = []

    class Counting(Models):
        def _load(self, model: Model) -> LoadedWhisper:
            return load_whisper(model, self._settings, opening)

    def opening(model: Model, rung: Rung) -> WhisperModel:
        loads.append(model.name)
        return open_whisper(model, rung)

    models, model = Counting(DeviceSettings(device="cpu")), model_of(fixed_whisper)
    other_name = model.model_copy(update={"name": "default"})
    assert models.get(model).model == model
    assert models.get(other_name).model == other_name
    assert loads == ["fixed-whisper"]
    models.get(model_of(fixed_whisper_english))
    models.get(model)
    assert loads == ["fixed-whisper", "fixed-whisper.en", "fixed-whisper"]


def test_a_failed_load_is_tried_again(fixed_whisper: Path, tmp_path: Path) -> None:
    """After the weights have been mended the same process can use them."""
    model = damaged(fixed_whisper, tmp_path / "small", "model.bin", None)
    models = Models(DeviceSettings(device="cpu"))
    with pytest.raises(ModelUnavailable):
        models.get(model)
    shutil.copy(fixed_whisper / "model.bin", tmp_path / "small/model.bin")
    assert texts(run(models.get(model), window(0, noise(1)))) == NATO[:1]
