"""``bench pipeline`` and ``bench gpu`` in their small form, and what they stand on: speech, random models, spans."""

from __future__ import annotations

import io
import re
import sys
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from faster_whisper import BatchedInferencePipeline, WhisperModel
from rich.console import Console

from bench import gpu, pipeline
from bench.engine import Engine, job
from bench.gpu import SMALL, measured
from bench.pipeline import BATCHED, Plan, _compared, _Turn
from bench.shapes import SHAPES, Shape, folder_of, spoken
from bench.speech import sentences, write_clips, write_speech, write_windows
from bench.table import Row, show
from bench.watched import Span, covered, read
from pipeline.catalog import resolve
from pipeline.devices import Gpus
from pipeline.types import SAMPLE_RATE

TOY = SHAPES["toy"]
TINY_PLAN = Plan(minutes=0.75, pieces=1, few=1, shape="toy", shaped=2, shaped_rounds=1, clips=2, lengths=(0.4, 0.8))


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(TOY, tmp_path_factory.mktemp("shapes"))


def seconds_of(path: Path) -> float:
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (SAMPLE_RATE, 1, 2)
        return file.getnframes() / SAMPLE_RATE


def printed(rows: Sequence[Row]) -> tuple[str, int]:
    text = io.StringIO()
    status = show("title", rows, Console(file=text, width=200))
    return text.getvalue(), status


# ── bench pipeline ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return pipeline.measured(TINY_PLAN)


def test_every_figure_that_must_be_reached_is_there(rows: list[Row]) -> None:
    """The small form measures all that the whole one does, with the same targets: none can fall out unnoticed."""
    targets = [row.target for row in rows if row.target]
    assert targets[:6] == ["≥ 0.95", "≥ 2.00", "≥ 0.95", "≥ 2.00", "≤ 0.25", "≤ 1.00"]
    assert len(targets) == 6 + len(TINY_PLAN.lengths)
    assert all((row.ok is None) == (not row.target) for row in rows)
    assert all(re.search(r"\d", row.measured) for row in rows[1:])


def test_the_trained_model_knows_what_is_said(rows: list[Row]) -> None:
    """The gate's price is measured on speech that the model understands: on other speech it is that of bad windows."""
    [words] = [row.measured for row in rows if row.name.startswith("0.75 min: words")]
    found = re.fullmatch(r"ours (\d+), BatchedInferencePipeline (\d+); 0 of (\d+) again", words)
    assert found is not None, words
    ours, theirs, windows = map(int, found.groups())
    assert windows > 0
    assert ours > 40
    assert abs(ours - theirs) <= 0.1 * theirs


def test_both_sides_do_the_same_work(rows: list[Row]) -> None:
    """Ours and faster-whisper's find as many words with the random weights, in the same windows: ratios compare
    like with like.
    """
    [words] = [row.measured for row in rows if row.name.startswith("toy: words")]
    found = re.fullmatch(r"ours (\d+), BatchedInferencePipeline (\d+); (\d+) of (\d+) again", words)
    assert found is not None, words
    ours, theirs, again, windows = map(int, found.groups())
    assert ours == theirs > 0
    assert (again, windows) == (0, TINY_PLAN.shaped)


@pytest.mark.parametrize(("theirs", "verdict", "status"), [(1.0, "ok", 0), (0.9, "MISSED", 1)])
def test_a_miss_is_told(theirs: float, verdict: str, status: int) -> None:
    """A ratio under its target is printed as MISSED and makes the exit code 1."""
    turn = _Turn(60.0, 2, {"ours": {"seconds": 1.0}, "batched": {"seconds": theirs}})
    text, code = printed([_compared("ours ÷ batched", [turn], "batched", BATCHED)])
    assert (verdict in text, code) == (True, status)
    assert f"{theirs:.2f}" in text


def test_the_median_of_the_turns_counts() -> None:
    """One disturbed turn does not decide; the least and the greatest ratio are printed beside the median."""
    turns = [_Turn(60.0, 2, {"ours": {"seconds": 1.0}, "batched": {"seconds": s}}) for s in (1.0, 0.2, 1.1)]
    row = _compared("name", turns, "batched", BATCHED)
    assert row.measured.startswith("1.00 (of 3: 0.20 to 1.10);")
    assert row.ok is True


# ── bench gpu ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_small_form_says_that_it_is_small(tmp_path: Path) -> None:
    """Without a GPU the script runs from end to end, says that its figures are none of a GPU and which extra the rest
    would need, and claims no target.
    """
    found = measured(tmp_path, look=lambda: Gpus(problem="none in this test"), lacks=lambda: "torch")
    assert found[0].name == "small form"
    assert "no figure of a GPU: none in this test" in found[0].measured
    assert all(row.ok is None for row in found)
    names = " ".join(f"{row.name} {row.measured}" for row in found)
    for what in ("decode", "speech detection", "log-mel", "encode", "generate", "align", "without word times"):
        assert what in names
    for size in SMALL.batches:
        assert f"batch of {size}," in names
    assert "two jobs" in names
    assert "no call of a model under way" in names
    assert "`models` is not installed (torch is missing)" in names
    assert "peak GPU memory" in names
    assert f"{TOY.tokens} tokens a window" in names
    assert (tmp_path / "random-toy" / "model.bin").is_file()


def test_no_gpu_no_name() -> None:
    """What the results are said to be measured on is the driver's word."""
    assert gpu.gpu() is None or gpu.gpu()


def test_the_engine_is_watched(toy: Path, tmp_path: Path) -> None:
    """Each call of the model in a real engine leaves a span inside the job it belongs to."""
    spans = tmp_path / "spans"
    model = resolve(str(toy), None, toy, trusted=True)
    recording = write_windows(tmp_path / "speech.wav", 1)
    with Engine(command=(sys.executable, "-m", "bench.watched", str(spans)), log=tmp_path / "log") as engine:
        engine.run(job(tmp_path / "warm", recording, model))
        ran = engine.run(job(tmp_path / "work", recording, model))
    of_job = [span for span in read(spans) if span.begin >= ran.started]
    assert {"encode", "generate", "align"} <= {span.name for span in of_job}
    assert all(ran.started <= span.begin < span.end <= ran.ended for span in of_job)
    assert 0 < covered(of_job, ran.started, ran.ended) < ran.seconds


def test_time_is_covered_once() -> None:
    """Spans that overlap, or reach out of the time asked about, are counted once and inside it."""
    spans = [Span("a", 0.0, 2.0), Span("b", 1.0, 3.0), Span("c", 1.2, 1.5), Span("d", 5.0, 9.0)]
    assert covered(spans, 0.0, 10.0) == 7.0
    assert covered(spans, 1.0, 6.0) == 3.0
    assert covered([*reversed(spans)], 3.5, 4.5) == 0.0
    assert covered([], 0.0, 1.0) == 0.0


# ── speech and random models ─────────────────────────────────────────────────────────────────────────────────────────


def test_speech_has_the_length_asked_for(tmp_path: Path) -> None:
    """Recordings are as long as asked, the same each time, and differ by their seed."""
    first = write_speech(tmp_path / "a.wav", 12.5)
    assert seconds_of(first) == 12.5
    assert first.read_bytes() == write_speech(tmp_path / "b.wav", 12.5).read_bytes()
    assert all(5 <= seconds_of(path) <= 15 for path in write_clips(tmp_path, 8))
    assert len({path.read_bytes() for path in tmp_path.glob("clip-*.wav")}) == 8
    assert seconds_of(write_windows(tmp_path / "w.wav", 2)) == 60.0


def test_speech_without_held_out_recordings(tmp_path: Path) -> None:
    """Where the trained model is not there the repository's example is said instead."""
    absent = tmp_path / "absent"
    assert [path.name for path in sentences(absent)] == ["jfk.flac"]
    assert seconds_of(write_speech(tmp_path / "a.wav", 3.0, folder=absent)) == 3.0


@pytest.mark.parametrize("batched", [True, False])
def test_random_weights_say_a_fixed_text(toy: Path, batched: bool) -> None:
    """Whatever the sound, each window costs the number of tokens asked for, surely, with word times spread over it,
    through both of faster-whisper's modes.
    """
    whisper = WhisperModel(str(toy), device="cpu", compute_type="int8_float32", local_files_only=True)
    sound = 0.1 * np.random.default_rng(0).standard_normal(60 * SAMPLE_RATE).astype(np.float32)
    asked = {"language": "en", "word_timestamps": True, "condition_on_previous_text": False}
    if batched:
        clips = [{"start": 0, "end": 30}, {"start": 30, "end": 60}]
        segments, _ = BatchedInferencePipeline(whisper).transcribe(sound, clip_timestamps=clips, batch_size=2, **asked)
    else:
        segments, _ = whisper.transcribe(sound[: 30 * SAMPLE_RATE], **asked)
    for segment in segments:
        text = [token for token in segment.tokens if token < whisper.hf_tokenizer.token_to_id("<|endoftext|>")]
        assert [whisper.hf_tokenizer.id_to_token(token) for token in text] == spoken(TOY.tokens)
        assert segment.avg_logprob > -0.1
        assert segment.no_speech_prob < 0.1
        assert segment.temperature in (0, 0.0)
        starts = [word.start for word in segment.words]
        assert max(np.diff(starts)) < 4


def test_shapes_are_the_published_ones(tmp_path: Path) -> None:
    """Parameters are those that Whisper's table gives, 1543, 809 and 74 million, and are what is written."""
    for name, published in (("large-v3-turbo", 809e6), ("large-v3", 1543e6), ("base", 74e6)):
        assert parameters(SHAPES[name]) == pytest.approx(published, rel=0.025), name
    folder = folder_of(SHAPES["base"], tmp_path)
    assert (folder / "model.bin").stat().st_size == pytest.approx(2 * parameters(SHAPES["base"]), rel=0.01)


def parameters(shape: Shape) -> int:
    """Weights of the layers' matrices, of convolutions, embeddings and position encodings; no biases."""
    width, vocabulary = shape.width, 50_257 + 2 + shape.languages + 6 + 1501
    encoder = shape.encoder_layers * 12 * width**2 + 3 * shape.mels * width + 3 * width**2 + 1500 * width
    return encoder + shape.decoder_layers * 16 * width**2 + (vocabulary + 448) * width
