"""Two people who talk over music (tests/models/conversation), through all stages: a tiny model of each real class takes
the voices out of the music, hears the words, finds their times and tells who says them.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from handler.child import ChildEngine
from handler.cli import main
from handler.clock import SystemClock
from handler.job import Jobs
from handler.retry import Retry
from handler.settings import Settings
from handler.types import JobRecord
from pipeline.plan import ALIGNING, DIARIZING, GENERATING_OUTPUT, SEPARATING, TRANSCRIBING
from pipeline.types import Event, JobRequest, StageDone
from tests.deepgram_contract import check_result
from tests.end_to_end.bucket_rig import FolderBucket, Rig, SkippingClock, transcript_of, warnings_of, words_of
from tests.models.heard import Word, mistakes, pairs

pytestmark = pytest.mark.heavy

MODELS = Path(__file__).parents[1] / "models"
RECORDING = MODELS / "conversation" / "conversation.opus"
TOLD = [(Word(*told[:3]), told[3]) for told in json.loads(RECORDING.with_suffix(".json").read_text("utf-8"))]
OPTIONS = {"diarize": True, "stemming": "auto", "language": "en"}
KEPT = {SEPARATING, TRANSCRIBING, ALIGNING, DIARIZING, GENERATING_OUTPUT}
ENOUGH = 0.95
MOST_OFF = 0.1  # s
DYING = Path(__file__).parents[1] / "handler" / "worker" / "dying_engine.py"

Result = dict[str, Any]


def shelf(folder: Path, *, diarizers: bool = True) -> Path:
    """A folder of models as an operator fills it."""
    folder.mkdir()
    for name in ("tiny-whisper-separated", "tiny-demucs", "tiny-aligner"):
        (folder / name).symlink_to(MODELS / name)
    if diarizers:
        bring_diarizers(folder)
    return folder


def bring_diarizers(folder: Path) -> None:
    for name in ("sortformer", "speakers"):
        (folder / f"{name}.nemo").write_bytes((MODELS / "tiny-diarizers" / f"{name}.nemo").read_bytes())


def rig_in(folder: Path, engine: ChildEngine, models: Path, **given: Any) -> Rig:
    """A bucket in ``folder``, and a worker that does not wait."""
    bucket = FolderBucket(folder / "bucket")
    bucket.path.mkdir()
    settings = Settings(
        models=str(models), home=folder / "home", work_dir=folder / "work", settle_seconds=0.0, backoff_seconds=0.01,
        progress_seconds=0.05, poll_seconds=0.05, **given,
    )  # fmt: skip
    return Rig(bucket, engine, settings, SkippingClock())


@pytest.fixture(scope="module")
def every_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shelf(tmp_path_factory.mktemp("shelf") / "models")


@pytest.fixture(scope="module")
def dropped(tmp_path_factory: pytest.TempPathFactory, engine: ChildEngine, every_model: Path) -> Rig:
    """A bucket in which the conversation was dropped, and is done."""
    rig = rig_in(tmp_path_factory.mktemp("conversation"), engine, every_model)
    rig.drop("talk.opus", RECORDING, sidecar=OPTIONS)
    rig.drain()
    return rig


@pytest.fixture
def result(dropped: Rig) -> Result:
    return dropped.result("talk.opus")


def found_in(result: Result) -> list[tuple[Word, int | None]]:
    return [(Word(word["word"], word["start"], word["end"]), word.get("speaker")) for word in words_of(result)]


# ── what is heard ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_words(result: Result) -> None:
    """At least 95 % of the words come out, counted as the word error rate counts."""
    said = [word.text for word, _ in TOLD]
    wrong = mistakes(said, [word.text for word, _ in found_in(result)])
    assert 1 - wrong / len(said) >= ENOUGH, transcript_of(result)


def test_the_times(result: Result) -> None:
    """Of the words that were said, at least 95 % begin and end within 100 ms of when they were."""
    both = pairs([word for word, _ in TOLD], [word for word, _ in found_in(result)])
    near = [abs(said.start - heard.start) <= MOST_OFF and abs(said.end - heard.end) <= MOST_OFF for said, heard in both]
    assert sum(near) / len(TOLD) >= ENOUGH


def test_the_speakers(result: Result) -> None:
    """At least 95 % of the words are whose they were, and nobody was made up: two people, in order of arrival."""
    said = dict(TOLD)
    heard = dict(found_in(result))
    both = pairs(list(said), list(heard))
    right = sum(said[one] == heard[other] for one, other in both)
    assert right / len(TOLD) >= ENOUGH
    assert set(heard.values()) == {0, 1}
    assert all(0 < word["speaker_confidence"] <= 1 for word in words_of(result))


def test_turns_are_utterances(result: Result) -> None:
    """An utterance is one person's, and they take turns."""
    turns = [(one["speaker"], {word["speaker"] for word in one["words"]}) for one in result["results"]["utterances"]]
    assert all(words == {speaker} for speaker, words in turns)
    said = [who for nth, (_, who) in enumerate(TOLD) if not nth or TOLD[nth - 1][1] != who]
    found = [who for nth, (who, _) in enumerate(turns) if not nth or turns[nth - 1][0] != who]
    assert found == said


def test_who_made_it(dropped: Rig, result: Result) -> None:
    """The result names the model of each stage and warns of nothing; each stage ran once and told how long it took."""
    assert warnings_of(result) == set()
    arches = {info["arch"] for info in result["metadata"]["model_info"].values()}
    assert arches == {"whisper", "htdemucs", "ctc", "sortformer"}
    manifest = dropped.manifest("talk.opus")
    assert set(manifest["timings"]) >= KEPT
    assert manifest["cached_stages"] == []
    assert record(dropped, manifest).degraded == {}


def test_the_same_conversation_again(dropped: Rig, result: Result) -> None:
    """The same bytes under another name: nothing runs, and the results are the same."""
    dropped.drop("again.opus", RECORDING, sidecar=OPTIONS)
    dropped.drain()
    assert dropped.result("again.opus")["results"] == result["results"]
    assert len(dropped.keys(".dropscribe/v1/jobs/")) == 1


def test_the_command_says_the_same(result: Result, every_model: Path, tmp_path: Path) -> None:
    """``dropscribe run`` on the same file gives the same results, of the same models."""
    output = tmp_path / "out.json"
    options = [part for name, value in OPTIONS.items() for part in ("--option", f"{name}={value}".lower())]
    env = {"MODELS": every_model, "HOME": tmp_path / "home", "WORK_DIR": tmp_path / "work"}
    done = CliRunner(env={f"DROPSCRIBE_{name}": str(value) for name, value in env.items()}).invoke(
        main, ["run", str(RECORDING), "-o", str(output), *options]
    )
    assert done.exit_code == 0, done.stderr
    alone = check_result(output.read_bytes())
    assert alone["results"] == result["results"]
    assert alone["metadata"]["model_info"] == result["metadata"]["model_info"]


# ── what goes wrong ──────────────────────────────────────────────────────────────────────────────────────────────────


class Watched(ChildEngine):
    """Counts the artifacts that it is told of, by their stages, over all of its processes."""

    def __init__(self, points: Path) -> None:
        super().__init__(SystemClock(), command=[sys.executable, str(DYING), str(points)])
        self.done: Counter[str] = Counter()

    def run(
        self, request: JobRequest, *, time_limit: Callable[[float | None], float], poll: float
    ) -> Iterator[Event | None]:
        events = super().run(request, time_limit=time_limit, poll=poll)
        with contextlib.closing(events):  # type: ignore[type-var]
            for event in events:
                if isinstance(event, StageDone) and event.artifact:
                    self.done[event.stage] += 1
                yield event


def test_killed_after_each_stage(result: Result, every_model: Path, tmp_path: Path) -> None:
    """The engine is killed after every stage that leaves an artifact. Each costs an attempt, no finished stage is done
    again, and the result is the one of an engine that nobody kills.
    """
    points = tmp_path / "points"
    points.write_text(" ".join(f"stage_done:{stage}" for stage in KEPT))
    engine = Watched(points)
    rig = rig_in(tmp_path, engine, every_model, max_attempts=2 * len(KEPT))
    try:
        rig.drop("talk.opus", RECORDING, sidecar=OPTIONS)
        rig.drain()
    finally:
        engine.close()
    assert points.read_text() == ""
    assert engine.done == Counter(dict.fromkeys(KEPT, 1))
    assert rig.result("talk.opus")["results"] == result["results"]
    failures = record(rig, rig.manifest("talk.opus")).failures
    assert [failure.error.error_class for failure in failures] == ["EngineDied"] * len(KEPT)


def test_a_diarizer_that_comes_later(engine: ChildEngine, result: Result, tmp_path: Path) -> None:
    """Without a diarizer words have their times and no speakers, and the reader is told; once its file is there,
    ``retry`` finds the speakers and runs nothing before them.
    """
    models = shelf(tmp_path / "models", diarizers=False)
    rig = rig_in(tmp_path, engine, models)
    rig.drop("talk.opus", RECORDING, sidecar=OPTIONS)
    rig.drain()
    without = rig.result("talk.opus")
    assert {speaker for _, speaker in found_in(without)} == {None}
    assert [word for word, _ in found_in(without)] == [word for word, _ in found_in(result)]
    assert [(one["parameter"], one["type"]) for one in without["metadata"]["warnings"]] == [("diarize", "degraded")]
    assert set(record(rig, rig.manifest("talk.opus")).degraded) == {DIARIZING}
    bring_diarizers(models)
    assert Retry(Jobs(rig.store, rig.layout, rig.clock, rig.settings, "retry")).key("talk.opus").outcome == "retried"
    rig.clock.skip(10)
    rig.new_worker()
    rig.drain()
    manifest = rig.manifest("talk.opus")
    assert {DIARIZING, GENERATING_OUTPUT} <= set(manifest["timings"])
    assert not {SEPARATING, TRANSCRIBING, ALIGNING} & set(manifest["timings"])
    assert rig.result("talk.opus")["results"] == result["results"]
    assert warnings_of(rig.result("talk.opus")) == set()
    assert record(rig, manifest).degraded == {}


def record(rig: Rig, manifest: dict[str, Any]) -> JobRecord:
    body = rig.read(f".dropscribe/v1/jobs/{manifest['jid']}.json")
    assert body is not None
    return JobRecord.model_validate_json(body)
