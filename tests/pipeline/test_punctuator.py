"""Restoring punctuation: which model is on the machine, what it gives, and that a job uses it only where it is due."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.companions import Companions, companions_in
from pipeline.errors import ModelUnavailable, WeightsChanged
from pipeline.models.punctuator import CONTEXT, WINDOW, LoadedPunctuator
from pipeline.options import Options
from pipeline.plan import GENERATING_OUTPUT, POST_PROCESSING, recipes, stage_plans
from pipeline.punctuators import Punctuator, punctuator_in
from tests.pipeline.company import companion
from tests.pipeline.conversation.conftest import speech
from tests.pipeline.conversation.conversation_rig import RECOGNISER, Cached, Scripted, unavailable
from tests.pipeline.punctuator_rig import BEHIND, WORDS, make_punctuator

__all__ = ["speech"]

BARE = ("hello", "is", "it", "you", "yes", "good")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    return make_punctuator(tmp_path_factory.mktemp("models") / "punctuate-all")


@pytest.fixture
def model(folder: Path) -> Punctuator:
    found = punctuator_in([folder.parent])
    assert found is not None
    return found


class Unpunctuated(Scripted):
    """A recogniser that writes no marks, and the model that restores them, or fails."""

    def __init__(self, model: Punctuator | None, punctuates: bool = False) -> None:
        super().__init__()
        self.said = BARE
        self._model = model
        self._punctuates = punctuates

    def get(self, model: Any) -> Any:
        found = super().get(model)
        found.punctuates = self._punctuates
        return found

    def punctuator(self, model: Any) -> Any:
        self.may("punctuator")
        self.note("restoring")
        return super().punctuator(model)


@pytest.mark.heavy
def test_each_word_gets_its_mark_however_long_the_text(model: Punctuator) -> None:
    """Over windows and their seams no mark is lost, made up or shifted; the text may end anywhere."""
    loaded = LoadedPunctuator(model)
    loaded.begin()
    for count in (0, 1, 2, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW - 2 * CONTEXT, 1000):
        words = [WORDS[nth * 7 % len(WORDS)] for nth in range(count)]
        assert loaded.marks(words) == [BEHIND.get(word, "") for word in words], count


@pytest.mark.heavy
def test_words_without_marks_get_them_in_a_job(tmp_path: Path, speech: Path, model: Punctuator) -> None:
    """Of a recogniser that does not punctuate: marks and capitals, sentences in the paragraphs, the model among the
    result's; nothing is missing any more.
    """
    cached = Cached(tmp_path, speech, Companions(punctuator=model))
    made = cached.run(Unpunctuated(model))
    assert [word["punctuated_word"] for word in made.words] == ["Hello,", "is", "it", "you?", "Yes.", "Good."]
    assert made.warnings == []
    assert [one.name for one in made.facts.models] == ["scripted", "punctuate-all"]
    without = cached.run(Unpunctuated(None), Companions())
    assert all("punctuated_word" not in word for word in without.words)
    assert [parameter for parameter, _ in without.warnings] == ["punctuate"]
    assert without.ran == []  # the transcript is the same


def test_what_is_punctuated_is_left_alone(tmp_path: Path, speech: Path) -> None:
    """Whose recogniser punctuates, or who wants no punctuation, never has the model loaded."""
    model = Punctuator(folder="/nowhere", marks=("", "."), info=companion("voices").info)
    cached = Cached(tmp_path, speech, Companions(punctuator=model))
    made = cached.run(Unpunctuated(model, punctuates=True))
    assert "restoring" not in made.ran
    plain = cached.run(Unpunctuated(model), punctuate=False, paragraphs=False)
    assert "restoring" not in plain.ran
    assert POST_PROCESSING not in {one.stage for one in plain.done}


def test_a_model_that_does_not_work_is_a_reason(tmp_path: Path, speech: Path) -> None:
    """Damaged weights: the words as they are, a warning with the reason beside the one that marks are missing; the
    results are nobody else's.
    """
    model = Punctuator(folder="/nowhere", marks=("", "."), info=companion("voices").info)
    cached = Cached(tmp_path, speech, Companions(punctuator=model))
    models = Unpunctuated(model)
    models.fails = {"punctuator": unavailable()}
    made = cached.run(models)
    assert made.degraded == {
        POST_PROCESSING: "Punctuation was not restored: the weights are damaged. Fetch them again."
    }
    assert [parameter for parameter, _ in made.warnings] == ["punctuate", "punctuate"]
    plans = {plan.name: plan for plan in stage_plans("c" * 64, Options(), RECOGNISER, companions=cached.companions)}
    assert plans[GENERATING_OUTPUT].digest not in cached.kept
    assert POST_PROCESSING in plans[GENERATING_OUTPUT].reads


def test_another_punctuator_writes_the_results_again() -> None:
    """And nothing else: no model hears anything anew. Without punctuate it plays no part."""
    infos = [companion("voices", revision).info for revision in "12"]
    models = [Punctuator(folder="/x", marks=(), info=info) for info in infos]
    one, two = (recipes("c" * 64, Options(), RECOGNISER, companions=Companions(punctuator=model)) for model in models)
    assert {stage for stage in one if one[stage] != two[stage]} == {GENERATING_OUTPUT}
    plain = Options(punctuate=False, paragraphs=False)
    one, two = (recipes("c" * 64, plain, RECOGNISER, companions=Companions(punctuator=model)) for model in models)
    assert one == two


@pytest.mark.heavy
def test_a_punctuator_is_known_by_its_files(folder: Path, model: Punctuator, tmp_path: Path) -> None:
    """A folder in which transformers' files lie, with marks for labels; its revision is that of its weights. Other
    models, and what is half there, are none.
    """
    assert model.marks == ("", ".", ",", "?")
    assert companions_in(str(folder.parent), tmp_path).punctuator == model
    copy = shutil.copytree(folder, tmp_path / "models" / "copy")
    found = punctuator_in([copy.parent])
    assert found is not None
    assert found.info.revision == model.info.revision
    body = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(body[:-1] + b"\xff")
    changed = punctuator_in([copy.parent])
    assert changed is not None
    assert changed.info.revision != model.info.revision
    config = json.loads((copy / "config.json").read_text())
    for spoilt in ({**config, "id2label": {"0": "PER", "1": "LOC"}}, {**config, "architectures": ["BertModel"]}, []):
        (copy / "config.json").write_text(json.dumps(spoilt))
        assert punctuator_in([copy.parent]) is None
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "tokenizer.json").unlink()
    assert punctuator_in([copy.parent, tmp_path / "nowhere"]) is None


@pytest.mark.heavy
@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
def test_a_damaged_punctuator_is_named(folder: Path, tmp_path: Path, file: str) -> None:
    """Whatever is wrong with its files: one error with the model's name."""
    copy = shutil.copytree(folder, tmp_path / "models" / "copy")
    (copy / file).write_bytes(b"{}")
    found = punctuator_in([copy.parent])
    assert found is not None
    with pytest.raises(ModelUnavailable, match="the model copy cannot be loaded"):
        LoadedPunctuator(found).begin()


def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "models" / "copy"))


def loaded(folder: Path) -> LoadedPunctuator:
    found = punctuator_in([folder.parent])
    assert found is not None
    punctuator = LoadedPunctuator(found)
    punctuator.begin()
    return punctuator


@pytest.mark.heavy
def test_what_a_tokenizers_file_keeps_of_its_training_is_not_done(folder: Path, tmp_path: Path) -> None:
    """A file that says to cut texts off, and to fill them up: every word has its mark all the same."""
    from tokenizers import Tokenizer

    copy = copied(folder, tmp_path)
    tokenizer = Tokenizer.from_file(str(copy / "tokenizer.json"))
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=64)
    tokenizer.save(str(copy / "tokenizer.json"))
    words = [WORDS[nth % len(WORDS)] for nth in range(40)]
    assert loaded(copy).marks(words) == [BEHIND.get(word, "") for word in words]


@pytest.mark.heavy
def test_a_model_that_takes_too_little_at_once_is_refused(folder: Path, tmp_path: Path) -> None:
    """Its windows would not fit, which it must not find out in the middle of a job."""
    from safetensors.torch import load_file, save_file

    copy = copied(folder, tmp_path)
    weights = load_file(copy / "model.safetensors")
    name = "bert.embeddings.position_embeddings.weight"
    save_file({**weights, name: weights[name][:64].clone()}, copy / "model.safetensors", {"format": "pt"})
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 64}))
    with pytest.raises(ModelUnavailable, match="takes 64 tokens at once"):
        loaded(copy)


@pytest.mark.heavy
def test_other_weights_than_were_chosen_are_refused(folder: Path, tmp_path: Path) -> None:
    """Whose folder got others while the worker ran: their marks must not be filed under the old ones' digest."""
    copy = copied(folder, tmp_path)
    found = punctuator_in([copy.parent])
    assert found is not None
    (copy / "config.json").write_text((copy / "config.json").read_text() + "\n")
    with pytest.raises(WeightsChanged, match="were changed while the worker ran"):
        LoadedPunctuator(found).begin()
    (copy / "config.json").unlink()
    with pytest.raises(ModelUnavailable, match="not there any more"):
        LoadedPunctuator(found).begin()
