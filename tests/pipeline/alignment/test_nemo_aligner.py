"""Alignment with the real library: the tiny aligner of `tests/models`, loaded by NeMo, through the whole stage."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.aligners import RECORD, aligner_in
from pipeline.devices import DeviceSettings
from pipeline.models.aligner import Aligners, LoadedAligner
from pipeline.stages.align import Aligned, Find, aligned
from pipeline.stages.decode import decode
from pipeline.types import SAMPLE_RATE, ChannelTranscript, Word
from tests.pipeline.alignment.align_rig import MODELS, Heard, Tracks, kept_recordings, member, quiet, transcript, word
from tests.pipeline.alignment.test_aligners import put

pytestmark = [pytest.mark.heavy, pytest.mark.filterwarnings("ignore")]  # NeMo's own imports warn

TINY = MODELS / "tiny-aligner"
CPU = DeviceSettings(device="cpu")


@pytest.fixture(scope="module")
def tiny() -> Aligners:
    return Aligners([aligner_in(TINY)], CPU)


class Once:
    """An aligner that hears the same pieces once, however many tests are about them."""

    def __init__(self, aligner: LoadedAligner) -> None:
        self._aligner = aligner
        self._heard: dict[tuple[bytes, ...], Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._aligner, name)

    def emissions(self, pieces: Sequence[Any]) -> Any:
        key = tuple(piece.tobytes() for piece in pieces)
        if key not in self._heard:
            self._heard[key] = self._aligner.emissions(pieces)
        return self._heard[key]


@pytest.fixture(scope="module")
def once(tiny: Aligners) -> Callable[[str | None], Once]:
    """What `tiny` gives for a language, hearing each recording once."""
    known: dict[str | None, Once] = {}
    return lambda language: known.setdefault(language, Once(tiny.get(language)))


def guessed(heard: Heard, texts: Callable[[str], str] = str) -> list[Word]:
    """The recording's words as a recogniser would time them: up to a quarter of a second off."""
    rng = np.random.default_rng(len(heard.words))
    edges = np.array([edge for _, *span in heard.words for edge in span])
    moved = np.sort(np.maximum(0, edges + rng.uniform(-0.25, 0.25, len(edges))))
    return [word(texts(text), *moved[2 * n : 2 * n + 2].tolist()) for n, (text, _, _) in enumerate(heard.words)]


def through_the_stage(heard: Heard, words: Sequence[Word], find: Find, folder: Path) -> Aligned:
    audio = decode(heard.path, folder, per_channel=False, max_duration=None, report=quiet, opened=lambda *_: None)
    return aligned(transcript(words, languages=[heard.language]), audio, find, quiet)


def off(found: Sequence[Word], heard: Heard) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Seconds by which starts and ends are wrong, shape (words, 2)."""
    times = [(one.start - start, one.end - end) for one, (_, start, end) in zip(found, heard.words, strict=True)]
    return np.abs(np.array(times))


def test_words_are_found_within_a_tenth_of_a_second(once: Find, tmp_path: Path) -> None:
    """In recordings that the model was not trained on, in three languages, at least 95 % of the words begin and end
    within 100 ms of where they do; the times they came with were mostly further off.
    """
    before, after = [], []
    for nth, heard in enumerate(kept_recordings()):
        (folder := tmp_path / str(nth)).mkdir()
        words = guessed(heard)
        done = through_the_stage(heard, words, once, folder)
        assert done.lacking is None
        assert done.transcript.warnings == ()
        found = done.transcript.channels[0].words
        assert all(one.end <= other.start for one, other in pairwise(found))
        before.append(off(words, heard))
        after.append(off(found, heard))
    worst_before, worst_after = (np.concatenate(errors).max(axis=1) for errors in (before, after))
    assert np.mean(worst_before <= 0.1) < 0.5
    assert np.mean(worst_after <= 0.1) >= 0.95


def test_figures_are_found_between_words(once: Find, tmp_path: Path) -> None:
    """Words that Whisper writes in figures, which no letter of the alphabet spells, are still found where they are."""
    figures = {"two": "2", "seven": "7", "ten": "10", "drei": "3", "zwanzig": "20", "cuatro": "4"}
    right = []
    for nth, heard in enumerate(kept_recordings()):
        (folder := tmp_path / str(nth)).mkdir()
        words = guessed(heard, lambda text: figures.get(text, f"{text.capitalize()},"))
        done = through_the_stage(heard, words, once, folder)
        wrong = off(done.transcript.channels[0].words, heard)
        right += [
            bool(np.all(one <= 0.2)) for one, (text, *_) in zip(wrong, heard.words, strict=True) if text in figures
        ]
    assert len(right) >= 10
    assert np.mean(right) >= 0.9


def test_neighbours_do_not_matter(tiny: Aligners) -> None:
    """What is heard in a piece is the same alone, and beside a longer one in a batch."""
    aligner = tiny.get("en")
    rng = np.random.default_rng(3)
    pieces = [(0.1 * rng.standard_normal(count)).astype(np.float32) for count in (9_000, 80_000)]
    together = aligner.emissions(pieces)
    for piece, found in zip(pieces, together, strict=True):
        (alone,) = aligner.emissions([piece])
        assert alone.shape == found.shape
        assert np.allclose(alone, found, atol=1e-3)
        assert alone.dtype == np.float32
        assert np.allclose(np.exp(alone).sum(axis=1), 1, atol=1e-3)


def test_frames_last_twenty_milliseconds(tiny: Aligners) -> None:
    """The model says how long its frames are, and there are as many as the piece is long."""
    aligner = tiny.get("de")
    assert aligner.step == pytest.approx(0.02)
    (found,) = aligner.emissions([np.zeros(10 * SAMPLE_RATE, np.float32)])
    assert len(found) == pytest.approx(10 / aligner.step, abs=2)
    assert found.shape[1] == aligner.columns.blank + 1


def test_another_language(tiny: Aligners) -> None:
    """The record says what the model speaks; with another language nothing is loaded and the reason is told."""
    before = transcript([word("bonjour", 1, 2)], languages=["fr"])
    sound = Tracks([np.ones(5 * SAMPLE_RATE, np.float32)])
    done = aligned(before, sound, tiny.get, quiet)
    assert done.transcript == before
    assert done.lacking is not None
    assert "speaks fr" in done.lacking


def test_channel_transcripts_come_back_whole(tiny: Aligners, tmp_path: Path) -> None:
    """All that is no time is as it was: confidence, language, the channel's own facts."""
    heard = kept_recordings()[0]
    words = guessed(heard)
    before = transcript(words, languages=["en"])
    channel = ChannelTranscript(words=tuple(words), language="en", language_confidence=0.75)
    before = before.model_copy(update={"channels": (channel,)})
    audio = decode(heard.path, tmp_path, per_channel=False, max_duration=None, report=quiet, opened=lambda *_: None)
    done = aligned(before, audio, tiny.get, quiet).transcript
    timeless = {"start": 0.0, "end": 1.0}
    assert [one.model_copy(update=timeless) for one in done.channels[0].words] == [
        one.model_copy(update=timeless) for one in words
    ]
    assert done.channels[0].language_confidence == 0.75


# ── subwords ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def subwords(tmp_path_factory: pytest.TempPathFactory) -> LoadedAligner:
    """An untrained `EncDecCTCModelBPE` with a tokenizer of its own, saved and loaded."""
    import sentencepiece
    import yaml
    from nemo.collections.asr.models import EncDecCTCModelBPE
    from omegaconf import OmegaConf

    work, shelf = tmp_path_factory.mktemp("bpe"), tmp_path_factory.mktemp("shelf")
    texts = [text for heard in kept_recordings() for text, *_ in heard.words]
    (work / "texts").write_text("\n".join([" ".join(texts)] * 5), "utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(work / "texts"), model_prefix=str(work / "tokenizer"), vocab_size=64, model_type="bpe"
    )
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(work / "tokenizer.model"))
    vocabulary = [pieces.id_to_piece(nth) for nth in range(1, len(pieces))]
    (work / "vocab.txt").write_text("\n".join(vocabulary), "utf-8")
    with tarfile.open(TINY / "tiny-aligner.nemo") as tar:
        config = yaml.safe_load(member(tar, "model_config.yaml"))
    kept = {key: config[key] for key in ("sample_rate", "preprocessor", "encoder", "decoder")}
    kept["decoder"] |= {"num_classes": -1, "vocabulary": []}
    kept["tokenizer"] = {"dir": str(work), "type": "bpe"}
    (shelf / "pieces").mkdir()
    EncDecCTCModelBPE(OmegaConf.create(kept)).save_to(str(shelf / "pieces" / "m.nemo"))
    record = {"backend": "nemo", "file": "m.nemo", "languages": ["en"], "licence": "MIT"}
    (shelf / "pieces" / RECORD).write_text(json.dumps(record))
    shutil.rmtree(work)  # the archive is all there is
    return Aligners([aligner_in(shelf / "pieces")], CPU).get("en")


def test_a_model_of_subwords(subwords: LoadedAligner) -> None:
    """Words are spelt by the tokenizer that came in the archive, letters it lacks are wildcards, and every word gets
    a place.
    """
    columns = subwords.columns
    assert columns.pieces is not None
    assert columns.separator is None
    assert {"e", "ñ"} <= set(columns.labels)
    assert "▁" not in columns.labels
    tokens = columns.pieces("seven")
    assert tokens
    assert all(0 <= token < columns.blank for token in tokens)
    rng = np.random.default_rng(5)
    sound = Tracks([(0.1 * rng.standard_normal(12 * SAMPLE_RATE)).astype(np.float32)])
    words = [word("Seven", 1, 2), word("1984", 3, 4), word("coffee,", 5, 6), word("мир", 7, 8)]
    done = aligned(transcript(words), sound, lambda language: subwords, quiet)
    found = done.transcript.channels[0].words
    assert [one.text for one in found] == [one.text for one in words]
    assert all(0 <= one.start < one.end <= 12 for one in found)
    assert all(one.end <= other.start for one, other in pairwise(found))


def test_a_conformer(tmp_path: Path) -> None:
    """The kind of encoder that today's models have, untrained: its frames are 40 ms, and a piece is heard as if it
    were alone.
    """
    import yaml
    from nemo.collections.asr.models import EncDecCTCModel
    from omegaconf import OmegaConf

    with tarfile.open(TINY / "tiny-aligner.nemo") as tar:
        config = yaml.safe_load(member(tar, "model_config.yaml"))
    kept = {key: config[key] for key in ("sample_rate", "preprocessor", "decoder")}
    kept["encoder"] = {
        "_target_": "nemo.collections.asr.modules.ConformerEncoder",
        "feat_in": 64, "n_layers": 2, "d_model": 32, "n_heads": 2, "subsampling_factor": 4,
    }  # fmt: skip
    kept["decoder"]["feat_in"] = 32
    put(tmp_path, "conformer", "en")
    EncDecCTCModel(OmegaConf.create(kept)).save_to(str(tmp_path / "conformer" / "a.nemo"))
    aligner = Aligners([aligner_in(tmp_path / "conformer")], CPU).get("en")
    assert aligner.step == pytest.approx(0.04)
    rng = np.random.default_rng(7)
    pieces = [(0.1 * rng.standard_normal(count)).astype(np.float32) for count in (40_000, 160_000)]
    for piece, found in zip(pieces, aligner.emissions(pieces), strict=True):
        assert len(found) == pytest.approx(len(piece) / SAMPLE_RATE / 0.04, abs=2)
        assert np.allclose(aligner.emissions([piece])[0], found, atol=1e-3)


@pytest.mark.gpu
def test_the_gpu_hears_the_same(tiny: Aligners, tmp_path: Path) -> None:
    """On a GPU words are found where they are found on the CPU, to a frame."""
    heard = kept_recordings()[1]
    here, there = tmp_path / "cpu", tmp_path / "cuda"
    here.mkdir()
    there.mkdir()
    on_gpu = Aligners([aligner_in(TINY)], DeviceSettings(device="cuda"))
    one = through_the_stage(heard, guessed(heard), tiny.get, here).transcript.channels[0].words
    other = through_the_stage(heard, guessed(heard), on_gpu.get, there).transcript.channels[0].words
    assert on_gpu.get("en").rung.device == "cuda"
    for mine, theirs in zip(one, other, strict=True):
        assert (mine.start, mine.end) == pytest.approx((theirs.start, theirs.end), abs=0.021)
