"""What a job comes to when something is missing, damaged or too large, and when the recording is odd: a right result,
perhaps a poorer one that says so, or one clear error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.beside import Problem
from pipeline.companions import Companions
from pipeline.errors import DeviceLost, OptionsError, OutOfMemory
from pipeline.options import parse
from pipeline.plan import ALIGNING, DIARIZING, SEPARATING, TRANSCRIBING
from tests.pipeline.company import EVERYTHING, aligner, companion
from tests.pipeline.conversation.conversation_rig import SAID, Cached, Scripted, unavailable

ALL = {"stemming": "true", "diarize": True}
NO_MEMORY = OutOfMemory("the GPU's memory ran out (CUDA out of memory)")

# What fails, and the stage and the parameter that tell of it.
FAILING = {
    "separator": (SEPARATING, "stemming", "Voices were not taken out of music: "),
    "aligner": (ALIGNING, "alignment", "Words keep the recogniser's own times: "),
    "few": (DIARIZING, "diarize", "Words have no speakers: "),
}
ERRORS = {"damaged": unavailable(), "memory": NO_MEMORY, "numpy": MemoryError("Unable to allocate 9 GiB")}


def broken(*parts: str, error: Exception) -> Scripted:
    models = Scripted()
    models.fails = dict.fromkeys(parts, error)
    return models


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("part", FAILING)
def test_what_a_stage_lacks_is_a_reason_and_not_an_error(cached: Cached, part: str, error: str) -> None:
    """Damaged weights or too little memory of one stage: the job is done without it, with one warning that says why and
    names its parameter; nothing of it is kept, and nothing that was made of it.
    """
    stage, parameter, words = FAILING[part]
    without_many = EVERYTHING.model_copy(update={"many": None})
    made = cached.run(broken(part, error=ERRORS[error]), without_many, **ALL)
    assert set(made.degraded) == {stage}
    assert made.degraded[stage].startswith(words)
    assert str(ERRORS[error].args[0]) in made.degraded[stage]
    assert made.warnings == [(parameter, made.degraded[stage])]
    assert [one["punctuated_word"] for one in made.words] == list(SAID)
    assert not (cached.folder / "job-1" / f"{stage}.json").exists()
    whole = cached.run(companions=without_many, **ALL)
    computed = {
        SEPARATING: [SEPARATING, TRANSCRIBING, ALIGNING, "diarizing by a-sortformer"],
        ALIGNING: [ALIGNING],
        DIARIZING: ["diarizing by a-sortformer"],
    }[stage]
    assert sorted(whole.ran) == sorted(computed)  # a retry does what was lacking, and what follows from it
    assert whole.degraded == {}


@pytest.mark.parametrize("where", ["emissions", "posteriors", "voices"])
def test_memory_that_runs_out_in_the_middle(cached: Cached, where: str) -> None:
    """Not when a model is loaded, but while it computes: just as well a reason."""
    stage = {"emissions": ALIGNING, "posteriors": DIARIZING, "voices": SEPARATING}[where]
    models = Running(where)
    made = cached.run(models, EVERYTHING.model_copy(update={"many": None}), **ALL)
    assert set(made.degraded) == {stage}
    assert "memory ran out" in made.degraded[stage]
    assert [one["punctuated_word"] for one in made.words] == list(SAID)


class Running(Scripted):
    """Models that run out of memory while they compute ``where``."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self._where = where

    def separator(self, companion: Any) -> Any:
        return self._spoilt(super().separator(companion), "voices")

    def few(self, companion: Any) -> Any:
        return self._spoilt(super().few(companion), "posteriors")

    def aligners(self, here: Any) -> Any:
        found = super().aligners(here)
        get = found.get
        found.get = lambda language: self._spoilt(get(language), "emissions")
        return found

    def _spoilt(self, model: Any, method: str) -> Any:
        def out_of_memory(*args: Any, **more: Any) -> Any:
            raise OutOfMemory("the machine's memory ran out (bad_alloc)")

        if method == self._where:
            setattr(model, method, out_of_memory)
        return model


def test_the_recogniser_is_not_replaced(cached: Cached) -> None:
    """Without words there is no result: its want of memory is the job's error, with a hint."""
    with pytest.raises(OutOfMemory) as raised:
        cached.run(broken("recogniser", error=NO_MEMORY), **ALL)
    assert "Out of memory" in raised.value.hint


def test_a_lost_gpu_ends_the_job(cached: Cached) -> None:
    """It is no want of a model: what another process can do is not done poorly here."""
    with pytest.raises(DeviceLost):
        cached.run(broken("few", error=DeviceLost("the GPU was lost")), **ALL)


def test_what_nobody_foresaw_is_an_error(cached: Cached) -> None:
    """A defect is not taken for a missing model, nor hidden in a poorer result."""
    with pytest.raises(KeyError):
        cached.run(broken("aligner", error=KeyError("a defect")), **ALL)


@pytest.mark.parametrize(("part", "hints", "by"), [("few", {}, "a-voices"), ("many", {"speakers": 9}, "a-sortformer")])
def test_one_diarizer_stands_in_for_the_other(cached: Cached, part: str, hints: dict[str, int], by: str) -> None:
    """Where the one that a job takes does not work, words have the speakers that the other one finds; the reason is
    told, and nothing is kept.
    """
    made = cached.run(broken(part, error=unavailable()), diarize=True, **hints)
    assert made.degraded == {
        DIARIZING: "Speakers were found by another model: the weights are damaged. Fetch them again."
    }
    assert [one["speaker"] for one in made.words] == [0, 0, 0, 0, 1, 1]
    assert made.facts.diarizer.name == by
    assert "diarizing.json" not in made.artifacts
    assert not (cached.folder / "job-1" / "diarizing.json").exists()


def test_a_part_says_why_it_is_not_there(cached: Cached) -> None:
    """Switched off by the operator, damaged, or simply not there: the reason names the setting, the damage or the
    command that fetches a model.
    """
    nothing = Companions()
    off = Companions(off=("separator", "diarizer"))
    damage = Problem(role="diarizer", name="x", folder="/x", message="/x is cut off", hint="Copy it again.")
    for companions, words in (
        (nothing, "python -m pipeline fetch"),
        (off, "DROPSCRIBE_DIARIZER"),
        (Companions(problems=(damage,)), "/x is cut off. Copy it again."),
    ):
        made = cached.run(companions=companions, **ALL)
        assert set(made.degraded) == {SEPARATING, DIARIZING}
        assert words in made.degraded[DIARIZING]
        assert [parameter for parameter, _ in made.warnings] == ["stemming", "diarize"]


def test_a_damaged_aligner_is_a_reason(cached: Cached) -> None:
    """Somebody put an aligner there, so that it does not work is said; without any nobody expects one."""
    damage = Problem(role="aligner", name="x", folder="/x", message="/x is cut off", hint="Copy it again.")
    made = cached.run(companions=Companions(problems=(damage,)))
    assert made.degraded == {ALIGNING: "Words keep the recogniser's own times: /x is cut off. Copy it again."}


@pytest.mark.parametrize("asked", [{"language": "fi"}, {}])
def test_a_language_without_an_aligner(cached: Cached, asked: dict[str, str]) -> None:
    """Named or heard: the recogniser's own times, and a reason that names the language."""
    models = Scripted()
    models.language = "fi"
    made = cached.run(models, **asked)
    assert set(made.degraded) == {ALIGNING}
    assert "no aligner on this machine speaks fi" in made.degraded[ALIGNING]
    assert [round(one["start"], 1) for one in made.words] == [0.2, 1.2, 2.2, 3.2, 4.2, 5.2]
    finnish = EVERYTHING.model_copy(update={"aligners": (*EVERYTHING.aligners, aligner("finnish", "fi"))})
    models = Scripted()
    models.language = "fi"
    assert cached.run(models, finnish, **asked).ran == [ALIGNING]


def test_a_text_that_no_aligner_could_read_is_kept(cached: Cached) -> None:
    """Another script than the aligner's: no other run would do better, so it is a warning and no want of anything."""
    models = Scripted()
    models.said = ("привет", "мир")
    made = cached.run(models)
    assert made.degraded == {}
    [(parameter, message)] = made.warnings
    assert parameter == "alignment"
    assert "keep the recogniser's own times" in message
    assert "aligning.json" in made.artifacts


def test_silence_needs_no_models(tmp_path: Path, silence: Path) -> None:
    """Nobody speaks: no words, no speakers, no warning; no diarizer, aligner or separator is asked."""
    made = Cached(tmp_path, silence).run(stemming="auto", diarize=True)
    assert made.words == []
    assert made.degraded == {}
    assert made.warnings == []
    assert made.ran == [TRANSCRIBING]


def test_one_word(cached: Cached) -> None:
    """Everything works on a single word."""
    models = Scripted()
    models.said = SAID[:1]
    [word] = cached.run(models, **ALL).words
    assert (word["word"], word["speaker"]) == ("hello", 0)


def test_two_people_at_once_throughout(cached: Cached) -> None:
    """Every word has a speaker, of half a confidence: the other one is heard in it just as much."""
    models = Scripted()
    models.posteriors = np.ones((100, 2), np.float32)
    words = cached.run(models, diarize=True).words
    assert len(words) == len(SAID)
    assert all(one["speaker"] in (0, 1) and one["speaker_confidence"] == pytest.approx(0.5, abs=0.01) for one in words)


@pytest.mark.parametrize("hint", [2, 30, 50])
@pytest.mark.parametrize("name", ["speakers", "min_speakers", "max_speakers"])
def test_any_hint_gives_every_word_a_speaker(cached: Cached, name: str, hint: int) -> None:
    """However many people are said to speak, even more than there are words."""
    made = cached.run(diarize=True, **{name: hint})
    assert all(0 <= one["speaker"] < hint for one in made.words)
    assert made.words[0]["speaker"] == 0
    assert ("diarizing by a-voices" in made.ran) == (hint > 4)


def test_nobody_is_no_number_of_people() -> None:
    """speakers=0 and more than 50 are refused before anything is read, by name."""
    for count in (0, 51, -1):
        with pytest.raises(OptionsError, match="speakers"):
            parse(("options.json", {"diarize": True, "speakers": count}))


def test_only_a_model_of_voices_or_only_a_sortformer(cached: Cached) -> None:
    """One diarizer does what it can in the other's place, with a warning in the result that says what it cannot; that
    is kept, because another model would be another recipe.
    """
    only_many = Companions(many=companion("voices"))
    made = cached.run(companions=only_many, diarize=True)
    assert (made.degraded, [parameter for parameter, _ in made.warnings]) == ({}, ["diarize"])
    assert "diarizing.json" in made.artifacts
    only_few = Companions(few=companion("sortformer"))
    made = cached.run(companions=only_few, diarize=True, speakers=30)
    assert "At most four speakers" in made.warnings[0][1]
    both = cached.run(companions=EVERYTHING, diarize=True, speakers=30)
    assert "diarizing by a-voices" in both.ran
    assert both.warnings == []
