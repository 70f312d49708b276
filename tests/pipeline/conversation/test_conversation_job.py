"""A job with all of its stages: what comes out, what each stage hears, what a later job has to do again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.companions import Companions
from pipeline.errors import EngineFailure
from pipeline.plan import ALIGNING, DIARIZING, GENERATING_OUTPUT, SEPARATING, TRANSCRIBING
from pipeline.run import POST_PROCESSING
from pipeline.types import Event, StageDone
from tests.pipeline.company import EVERYTHING, aligner, companion
from tests.pipeline.conversation.conversation_rig import SAID, Cached, Scripted
from tests.pipeline.media import beginning, write_audio

ALL = {"stemming": "true", "diarize": True}
BY_FEW = "diarizing by a-sortformer"
BY_MANY = "diarizing by a-voices"
EVERY = [SEPARATING, TRANSCRIBING, ALIGNING, BY_FEW]


def test_a_conversation_has_words_times_and_speakers(cached: Cached) -> None:
    """With every model there: the recogniser's words, the aligner's times, the diarizer's speakers with a confidence,
    nothing degraded; an artifact for each stage; the result names every model that had a part.
    """
    made = cached.run(**ALL)
    assert [one["punctuated_word"] for one in made.words] == list(SAID)
    assert [round(one["start"], 1) for one in made.words] == [0.3, 1.3, 2.3, 3.3, 4.3, 5.3]  # not 0.2, 1.2 …
    assert [one["speaker"] for one in made.words] == [0, 0, 0, 0, 1, 1]
    assert all(one["speaker_confidence"] == 1.0 for one in made.words)
    spoken = [one["speaker"] for one in made.results["utterances"]]
    assert spoken == sorted(spoken)
    assert set(spoken) == {0, 1}
    paragraphs = made.results["channels"][0]["alternatives"][0]["paragraphs"]["paragraphs"]
    assert [one["speaker"] for one in paragraphs] == [0, 1]
    assert (made.degraded, made.warnings) == ({}, [])
    assert sorted(made.artifacts) == [
        "aligning.json", "diarizing.json", "generating_output.json", "separating_vocals.flac", "transcribing.json",
    ]  # fmt: skip
    assert {one.stage for one in made.done} == {
        SEPARATING, TRANSCRIBING, ALIGNING, DIARIZING, POST_PROCESSING, GENERATING_OUTPUT,
    }  # fmt: skip
    assert [one.name for one in made.facts.models] == ["scripted", "a-separator", "english", "a-sortformer"]
    assert made.facts.diarizer.name == "a-sortformer"


def test_only_the_artifacts_of_a_conversation_are_left(cached: Cached) -> None:
    """Neither decoded sound nor voices stay in the work directory, and nothing half-written."""
    there: set[str] = set()
    cached.look = lambda event: there.update(path.name for path in (cached.folder / "job-1").iterdir())
    made = cached.run(**ALL)
    assert "audio" in there
    left = {path.name for path in (cached.folder / "job-1").iterdir()}
    assert left == {"speech.wav", *made.artifacts}


def test_every_stage_hears_the_voices(cached: Cached) -> None:
    """Where voices were separated, recogniser, aligner and diarizer all hear them, not the recording."""
    as_it_is = cached.run(diarize=True).models.loudest
    separated = cached.run(**ALL).models.loudest
    assert set(separated) == set(as_it_is) == {"transcribing", "aligning", "diarizing"}
    assert all(separated[stage] == pytest.approx(as_it_is[stage] / 2, rel=0.1) for stage in as_it_is)


def test_with_auto_speech_alone_is_heard_as_it_is(cached: Cached) -> None:
    """stemming=auto of a recording without music: no model is loaded, nothing is kept, nothing degraded; the stage is
    over all the same, for whoever follows the progress.
    """
    made = cached.run(stemming="auto")
    assert made.ran == [TRANSCRIBING, ALIGNING]
    assert made.degraded == {}
    assert next((one.stage, one.artifact) for one in made.done) == (SEPARATING, "")


# For each option the models that a job has to ask again, beside one that differs in nothing else.
RERUNS = {
    "utt_split": (1.5, []),
    "smart_format": (True, []),
    "speakers": (2, [BY_FEW]),
    "max_speakers": (9, [BY_MANY]),
    "diarize": (False, []),
    "hotwords": (("x",), [TRANSCRIBING, ALIGNING]),
    "task": ("translate", [TRANSCRIBING]),
    "language": ("en", [TRANSCRIBING, ALIGNING]),
    "stemming": ("false", [TRANSCRIBING, ALIGNING, BY_FEW]),
    "multichannel": (True, EVERY),
}


@pytest.mark.parametrize("option", RERUNS)
def test_an_option_reruns_only_what_depends_on_it(cached: Cached, option: str) -> None:
    """After a job with all stages, one whose options differ in one place computes only what that place shapes; the rest
    is the cache's.
    """
    assert sorted(cached.run(**ALL).ran) == sorted(EVERY)
    value, again = RERUNS[option]
    made = cached.run(**{**ALL, option: value})
    assert sorted(made.ran) == sorted(again)
    if SEPARATING not in made.ran:
        assert "separating_vocals.flac" not in made.artifacts  # nor is it told again: it would be uploaded


NEW_MODELS = {
    "separator": ({"separator": companion("separator", "2")}, EVERY),
    "aligner": ({"aligners": (aligner("english", "en", revision="2"),)}, [ALIGNING]),
    "few": ({"few": companion("sortformer", "2")}, [BY_FEW]),
    "many": ({"many": companion("voices", "2")}, []),  # this job takes the other one
}


@pytest.mark.parametrize("part", NEW_MODELS)
def test_another_model_reruns_its_stage_and_what_follows(cached: Cached, part: str) -> None:
    """A new revision of a stage's model is asked, and so are those that read what it makes; no others."""
    cached.run(**ALL)
    changed, again = NEW_MODELS[part]
    made = cached.run(companions=EVERYTHING.model_copy(update=changed), **ALL)
    assert sorted(made.ran) == sorted(again)


@pytest.mark.parametrize(("language", "again"), [("en", []), (None, [ALIGNING])])
def test_an_aligner_for_another_language_reruns_nothing(cached: Cached, language: str | None, again: list[str]) -> None:
    """Where the language is named, the recipe names its aligner alone; where it is yet to be heard, any may be used."""
    cached.run(language=language)
    brought = (*EVERYTHING.aligners, aligner("finnish", "fi"))
    assert cached.run(companions=EVERYTHING.model_copy(update={"aligners": brought}), language=language).ran == again


class Killed(BaseException):
    """The engine is gone."""


@pytest.mark.parametrize("stage", [SEPARATING, TRANSCRIBING, ALIGNING, DIARIZING, POST_PROCESSING])
def test_a_kill_after_a_stage_loses_only_what_was_unfinished(cached: Cached, stage: str) -> None:
    """Whatever was told to be done before the end is not computed again, and the results are the same."""
    (cached.folder / "unbroken").mkdir()
    unbroken = Cached(cached.folder / "unbroken", cached.recording).run(**ALL)
    told: list[str] = []

    def kill(event: Event) -> None:
        if isinstance(event, StageDone):
            told.append(event.stage)
            if event.stage == stage:
                raise Killed

    cached.look = kill
    with pytest.raises(Killed):
        cached.run(**ALL)
    cached.look = lambda event: None
    made = cached.run(**ALL)
    computed = {SEPARATING: SEPARATING, TRANSCRIBING: TRANSCRIBING, ALIGNING: ALIGNING, DIARIZING: BY_FEW}
    assert stage in told
    assert not {computed.get(one) for one in told}.intersection(made.ran)
    assert set(made.ran) == {what for one, what in computed.items() if one not in told}
    assert made.results == unbroken.results


def test_with_everything_kept_nobody_needs_the_recording(cached: Cached, tmp_path: Path) -> None:
    """Aligned words and speakers in the cache are all that the results are made of."""
    first = cached.run(**ALL)
    cached.recording = tmp_path / "gone.wav"
    second = cached.run(**ALL, numerals=True)
    assert second.ran == []
    assert second.results["channels"] == first.results["channels"]
    assert [one.stage for one in second.done] == [POST_PROCESSING, GENERATING_OUTPUT]


def test_a_damaged_artifact_is_said(cached: Cached) -> None:
    """What lies in the work directory is believed: what is no artifact of its stage is an error, not overwritten."""
    cached.run(**ALL)
    for digest, body in cached.kept.items():
        if b'"packed"' in body:
            cached.kept[digest] = b"{}"
    with pytest.raises(EngineFailure, match=r"diarizing.json is no diarization"):
        cached.run(**ALL, numerals=True)


def test_words_are_aligned_only_where_there_is_an_aligner(cached: Cached) -> None:
    """Nobody asks for alignment, so a machine without any aligner is not a poorer result: no stage, no warning."""
    made = cached.run(companions=Companions())
    assert [one.stage for one in made.done] == [TRANSCRIBING, GENERATING_OUTPUT]
    assert (made.degraded, made.warnings) == ({}, [])
    assert [round(one["start"], 1) for one in made.words] == [0.2, 1.2, 2.2, 3.2, 4.2, 5.2]


def test_a_translation_is_never_aligned(cached: Cached) -> None:
    """What was said is not what is written: the recogniser's times stay, and nothing is degraded."""
    made = cached.run(task="translate")
    assert made.ran == [TRANSCRIBING]
    assert made.degraded == {}


def test_channels_need_no_diarizer(tmp_path: Path) -> None:
    """With several channels each is a speaker: no model is asked, and what is kept says so to the next job."""
    sound = np.concatenate([beginning(4.0), beginning(4.0)[:, ::-1]])
    cached = Cached(tmp_path, write_audio(tmp_path / "two.wav", sound))
    made = cached.run(Scripted(), diarize=True, multichannel=True)
    assert BY_FEW not in made.ran
    for channel in made.results["channels"]:
        assert {word["speaker"] for word in channel["alternatives"][0]["words"]} == {0}
    assert made.facts.diarizer is None
    cached.recording = tmp_path / "gone.wav"
    assert cached.run(diarize=True, multichannel=True, utt_split=2.0).ran == []
