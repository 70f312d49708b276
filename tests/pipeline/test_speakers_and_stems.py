"""diarize and stemming: what is done without a diarizer and a separator, and what is told about the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ModelUnavailable
from pipeline.formats.deepgram import assemble, facts, metadata_part, model_id, results_part
from pipeline.models import Models
from pipeline.options import Options
from pipeline.plan import DIARIZING, GENERATING_OUTPUT, SEPARATING, TRANSCRIBING, artifact_name
from pipeline.run import POST_PROCESSING, run_job
from pipeline.types import Event, JobRequest, ModelInfo, StageDone, Transcript
from tests.deepgram_contract import check_result
from tests.pipeline.formats.transcripts import transcript, word

ONE = transcript((word("Hello,", 0.0), word("world.", 0.5)))
TWO = transcript((word("Hello?", 0.0), word("Yes.", 2.0)), (word("Hi!", 1.0),))
NO_DIARIZER = "Words have no speakers: there is no diarizer on this machine. Run `python -m pipeline fetch sortformer`."
NO_SEPARATOR = (
    "Voices were not taken out of music: there is no separator of voices on this machine. "
    "Run `python -m pipeline fetch htdemucs`."
)
METADATA: dict[str, Any] = {
    "request_id": "9609ff73-a8f0-4cb5-b8de-1e8f7d5b6137", "sha256": "ab" * 32, "created": 1_752_710_259.343,
}  # fmt: skip


class NoModels(Models):
    """The transcript is there, so nothing may be loaded."""

    def get(self, model: Any) -> Any:
        raise ModelUnavailable("nothing may be loaded")


def run(work: Path, made: Transcript, **options: Any) -> tuple[dict[str, Any], list[StageDone]]:
    """The whole result of a job whose transcript is there already, and the stages that it told of."""
    work.mkdir(exist_ok=True)
    (work / artifact_name(TRANSCRIBING)).write_text(made.model_dump_json())
    events: list[Event] = []
    request = JobRequest(
        work=str(work), source="", options=Options(**options).model_dump(mode="json"), model={}, seed="s"
    )
    run_job(work, request, NoModels(), events.append)
    done = [event for event in events if isinstance(event, StageDone)]
    told = done[-1].facts
    assert told is not None
    results = (work / artifact_name(GENERATING_OUTPUT)).read_bytes()
    return check_result(assemble(metadata_part(told, **METADATA), results)), done


def words_of(result: dict[str, Any]) -> list[list[dict[str, Any]]]:
    return [channel["alternatives"][0]["words"] for channel in result["results"]["channels"]]


def test_without_a_diarizer_the_job_is_done_without_speakers(tmp_path: Path) -> None:
    """diarize of one channel: the same words without speakers, a warning in the metadata, a reason for the record."""
    result, done = run(tmp_path, ONE, diarize=True)
    assert [(one.stage, one.artifact, one.degraded) for one in done] == [
        (DIARIZING, "", NO_DIARIZER), (GENERATING_OUTPUT, "generating_output.json", None),
    ]  # fmt: skip
    assert all("speaker" not in one for words in words_of(result) for one in words)
    (warning,) = result["metadata"]["warnings"]
    assert (warning["parameter"], warning["type"], warning["message"]) == ("diarize", "degraded", NO_DIARIZER)
    assert "diarize_info" not in result["metadata"]
    plain, _ = run(tmp_path, ONE)
    assert result["results"]["channels"] == plain["results"]["channels"]
    assert "warnings" not in plain["metadata"]


def test_each_channel_is_a_speaker(tmp_path: Path) -> None:
    """diarize with several channels: every word has its channel's speaker, 0 in each as Deepgram counts; nothing is
    degraded, and no diarizer is named that never ran.
    """
    result, done = run(tmp_path, TWO, diarize=True, multichannel=True)
    assert [(one.stage, one.degraded) for one in done] == [(POST_PROCESSING, None), (GENERATING_OUTPUT, None)]
    assert [[one["speaker"] for one in words] for words in words_of(result)] == [[0, 0], [0]]
    spoken = [(one["channel"], one["speaker"], one["transcript"]) for one in result["results"]["utterances"]]
    assert spoken == [(0, 0, "Hello?"), (1, 0, "Hi!"), (0, 0, "Yes.")]
    assert {"warnings", "diarize_info"}.isdisjoint(result["metadata"])
    without, _ = run(tmp_path, TWO, multichannel=True)
    assert all("speaker" not in one for words in words_of(without) for one in words)


def test_a_recording_of_one_channel_is_not_one_speaker(tmp_path: Path) -> None:
    """multichannel of a mono recording says nothing about who speaks: it degrades like any other."""
    _, done = run(tmp_path, ONE, diarize=True, multichannel=True)
    assert [(one.stage, one.degraded) for one in done] == [
        (DIARIZING, NO_DIARIZER), (POST_PROCESSING, None), (GENERATING_OUTPUT, None),
    ]  # fmt: skip


@pytest.mark.parametrize("hint", ["speakers", "max_speakers"])
def test_one_person_needs_no_diarizer(tmp_path: Path, hint: str) -> None:
    """Where the person says that one speaks, every word is speaker 0's: nothing is degraded, no sound is needed."""
    result, done = run(tmp_path, ONE, diarize=True, **{hint: 1})
    assert [(one.stage, one.degraded) for one in done] == [(POST_PROCESSING, None), (GENERATING_OUTPUT, None)]
    assert [[one["speaker"] for one in words] for words in words_of(result)] == [[0, 0]]
    assert "warnings" not in result["metadata"]


def test_without_a_separator_the_job_is_done_with_the_music(tmp_path: Path) -> None:
    """stemming=true: told before anything that is made of the unseparated sound, so that none of it is shared."""
    result, done = run(tmp_path, ONE, stemming="true")
    assert [(one.stage, one.degraded) for one in done] == [(SEPARATING, NO_SEPARATOR), (GENERATING_OUTPUT, None)]
    assert [one["parameter"] for one in result["metadata"]["warnings"]] == ["stemming"]
    both, done = run(tmp_path, ONE, stemming="true", diarize=True)
    assert [one.stage for one in done] == [SEPARATING, DIARIZING, GENERATING_OUTPUT]
    assert [one["parameter"] for one in both["metadata"]["warnings"]] == ["stemming", "diarize"]


def test_a_diarizer_that_ran_is_named() -> None:
    """``diarize_info`` names the diarizer, which is one of the models, behind the one that transcribed."""
    diarizer = ModelInfo(name="sortformer", version="4spk-v1", arch="sortformer", revision="d" * 64)
    made = TWO.model_copy(update={"diarizer": diarizer})
    options = Options(diarize=True)
    result = check_result(
        assemble(metadata_part(facts(made, options), **METADATA), results_part(made, options, "seed"))
    )
    assert result["metadata"]["diarize_info"] == {"model_uuid": model_id(diarizer), "arch": "sortformer"}
    assert result["metadata"]["models"] == [model_id(made.model), model_id(diarizer)]
    assert "diarize_info" not in json.loads(metadata_part(facts(TWO, options), **METADATA))
