"""A name becomes one model, or one clear line."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import get_args

import pytest
from catalog_rig import shelve
from deepgram.types.listen_v1model import ListenV1Model
from faster_whisper import utils

from pipeline import catalog
from pipeline.catalog import REPOSITORIES, Model, leaves_choice, on_disk, resolve
from pipeline.errors import ModelUnavailable, OptionsError
from pipeline.shelf import source_folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "models"


# ── auto ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", [None, "auto", "Auto "])
def test_bare_machine_gets_sphinx_and_is_told(name: str | None, home: Path) -> None:
    """With no model named, no source configured and no weights on disk, auto is sphinx, and the result says so."""
    model = resolve(name, None, home)
    assert (model.name, model.backend, model.folder, model.automatic) == ("sphinx", "sphinx", None, True)
    (warning,) = model.warnings
    assert warning.parameter == "model"
    assert "python -m pipeline fetch" in warning.message


@pytest.mark.parametrize("source", ["hub", "folder"])
def test_auto_never_falls_to_sphinx_where_a_source_is_configured(source: str, home: Path, tmp_path: Path) -> None:
    """A fleet that was told where its models are must not publish poor transcripts because they are missing."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelUnavailable, match="no Whisper weights") as caught:
        resolve(None, "hub" if source == "hub" else str(tmp_path / "empty"), home)
    assert "python -m pipeline fetch large-v3-turbo" in caught.value.hint


def test_auto_never_falls_to_sphinx_over_broken_weights(fixed_whisper: Path, home: Path) -> None:
    """Weights that lack a file are an error that names it."""
    shelve(fixed_whisper, home, "small")
    (home / "small/tokenizer.json").unlink()
    with pytest.raises(ModelUnavailable, match=r"tokenizer\.json"):
        resolve(None, None, home)


def test_auto_takes_the_best_whisper_on_disk(fixed_whisper: Path, home: Path) -> None:
    """Best first, wherever it lies, and a broken one is passed over."""
    shelve(fixed_whisper, home, "tiny", "medium.en", "small", "large-v3")
    (home / "large-v3/tokenizer.json").unlink()
    assert resolve("auto", None, home).name == "medium.en"
    assert not resolve("auto", None, home).automatic
    assert [m.name for m in on_disk(None, home)] == ["medium.en", "small", "tiny"]


def test_models_folder_hides_home(fixed_whisper: Path, home: Path, tmp_path: Path) -> None:
    """The configured folder wins over the default one; what it lacks is still found in the default one."""
    shelve(fixed_whisper, home, "tiny", "small")
    source = shelve(fixed_whisper, tmp_path / "mine", "small", "our-finetune")
    assert resolve("small", str(source), home).folder == str(source / "small")
    assert resolve("tiny", str(source), home).folder == str(home / "tiny")
    assert resolve("our-finetune", str(source), home).backend == "whisper"
    assert resolve(None, str(source), home).name == "small"


def test_models_may_be_the_one_model(fixed_whisper: Path, home: Path) -> None:
    """DROPSCRIBE_MODELS may point at a model instead of at the folder around it."""
    model = resolve(None, str(fixed_whisper), home)
    assert (model.name, model.folder) == ("fixed-whisper", str(fixed_whisper))


def test_missing_models_folder_is_said(home: Path, tmp_path: Path) -> None:
    """A mount that is not there (yet) is a retryable error that names the setting."""
    with pytest.raises(ModelUnavailable, match="DROPSCRIBE_MODELS"):
        resolve(None, str(tmp_path / "nowhere"), home)


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_sphinx_by_name_is_no_surprise(home: Path) -> None:
    """Whoever asks for sphinx gets it without a warning."""
    model = resolve("sphinx", None, home)
    assert not model.automatic
    assert model.warnings == ()
    assert model.version == metadata.version("pocketsphinx")


@pytest.mark.parametrize(
    ("folder", "name"),
    [("large-v3-turbo", "turbo"), ("turbo", "large-v3-turbo"), ("large", "large-v3"), ("faster-whisper-tiny", "tiny")],
)
def test_a_model_has_one_name_whatever_its_folder_is_called(
    folder: str, name: str, fixed_whisper: Path, home: Path
) -> None:
    """Aliases and repository names lead to the same model under its canonical name."""
    shelve(fixed_whisper, home, folder)
    assert resolve(name, None, home).name == catalog.canonical_name(name)


@pytest.mark.parametrize("name", sorted(REPOSITORIES))
def test_known_but_absent_says_what_to_run(name: str, home: Path) -> None:
    """A family member that is not on disk is retryable, and the hint is the exact command."""
    with pytest.raises(ModelUnavailable) as caught:
        resolve(name, "hub", home)
    assert f"`python -m pipeline fetch {name}`" in caught.value.hint


def test_the_catalog_is_faster_whispers() -> None:
    """Names and repositories agree with those of the library that loads them."""
    theirs = {name: repo for name, repo in utils._MODELS.items() if name not in catalog.ALIASES}
    assert dict(REPOSITORIES) == theirs
    assert {alias: REPOSITORIES[name] for alias, name in catalog.ALIASES.items()} == {
        alias: utils._MODELS[alias] for alias in catalog.ALIASES
    }


DEEPGRAMS = [name for names in get_args(ListenV1Model) for name in get_args(names)]


def test_the_clients_list_of_deepgrams_models_is_read() -> None:
    """Deepgram's client names its models in a type; the next test goes through them all."""
    assert {"nova-3", "nova-2-meeting", "enhanced", "phonecall"} <= set(DEEPGRAMS)


@pytest.mark.parametrize(
    "name",
    [*DEEPGRAMS, "nova-4-general", "base-finance", "general", "whisper", "whisper-tiny", "whisper-large", "NOVA-3 "],
)
def test_deepgrams_names_get_the_default_and_a_warning(name: str, fixed_whisper: Path, home: Path) -> None:
    """A request written for Deepgram runs, and the result names what it got instead."""
    shelve(fixed_whisper, home, "small")
    model = resolve(name, None, home)
    assert model.name == "small"
    (warning,) = model.warnings
    assert warning.parameter == "model"
    assert name.strip().lower() in warning.message
    assert "small" in warning.message


def test_the_operators_model_stands_in_for_deepgrams(fixed_whisper: Path, home: Path) -> None:
    """nova-3 is what a job without a name gets, not the best that happens to lie there; a Whisper by name is itself."""
    shelve(fixed_whisper, home, "large-v3", "tiny")
    model = resolve("nova-3", None, home, default="tiny")
    assert (model.name, [w.type for w in model.warnings]) == ("tiny", ["unsupported_model"])
    assert resolve("nova-3", None, home, default=str(fixed_whisper)).folder == str(fixed_whisper)
    assert resolve("whisper-large", None, home, default="tiny").name == "large-v3"


@pytest.mark.parametrize(
    ("name", "left"),
    [(None, True), ("nova-3", True), ("phonecall", True), ("base", False), ("whisper-tiny", False), ("auto", False)],
)
def test_who_chose_the_model_is_known(name: str | None, left: bool) -> None:
    """A missing model is the worker's trouble when nobody named one of ours, and the job's own otherwise."""
    assert leaves_choice(name) is left


def test_deepgrams_whisper_is_ours_where_we_have_it(fixed_whisper: Path, home: Path) -> None:
    """whisper-medium is medium, and base is Whisper's base, when those are on disk: nothing to warn of."""
    shelve(fixed_whisper, home, "medium", "large-v2", "base", "large-v3-turbo")
    for name, expected in (("whisper-medium", "medium"), ("whisper-large", "large-v2"), ("base", "base")):
        model = resolve(name, None, home)
        assert (model.name, model.warnings) == (expected, ())


def test_base_never_becomes_sphinx(home: Path) -> None:
    """base is also a Whisper: asked for on a bare machine it is an error with its fetch command, not pocketsphinx."""
    with pytest.raises(ModelUnavailable, match="base"):
        resolve("base", None, home)


def test_deepgrams_name_on_a_bare_machine_carries_both_warnings(home: Path) -> None:
    """nova-3 ends at sphinx only as auto would, and both facts are in the result."""
    model = resolve("nova-3", None, home)
    assert model.automatic
    assert [w.type for w in model.warnings] == ["unsupported_model", "fallback_model"]


@pytest.mark.parametrize("name", ["gpt-4o", "../../etc", "large-v4", "/etc/passwd", "tiny/../tiny", "x" * 5000])
def test_unknown_names_list_the_known(name: str, home: Path) -> None:
    """An unknown model is the person's error: it is named, in a line of bearable length, with what there is."""
    with pytest.raises(OptionsError) as caught:
        resolve(name, None, home)
    assert name[:20] in caught.value.message
    assert len(caught.value.message) < 200
    assert "large-v3-turbo" in caught.value.hint


def test_only_the_operator_may_name_a_path(fixed_whisper: Path, home: Path) -> None:
    """A path in a file's options is an unknown name; on the command line it is a model."""
    with pytest.raises(OptionsError):
        resolve(str(fixed_whisper), None, home)
    model = resolve(str(fixed_whisper), None, home, trusted=True)
    assert (model.name, model.folder) == ("fixed-whisper", str(fixed_whisper))
    with pytest.raises(ModelUnavailable, match="nowhere"):
        resolve("/nowhere", None, home, trusted=True)


def test_an_address_is_no_name(home: Path) -> None:
    """A bucket is a source of models, never a model's name."""
    with pytest.raises(OptionsError, match="address"):
        resolve("s3://b/m", None, home, trusted=True)


def test_a_bucket_without_its_handler_is_what_was_brought_before(fixed_whisper: Path, home: Path) -> None:
    """The pipeline reads no buckets: of one it knows the models on this disk, each bucket's own."""
    mirror = source_folder("s3://b/m", home)
    assert mirror is not None
    assert mirror.is_relative_to(home)
    assert source_folder("s3://b/m/", home) == mirror != source_folder("s3://b/n", home)
    with pytest.raises(ModelUnavailable, match="s3://b/m") as caught:
        resolve(None, "s3://b/m", home)
    assert "dropscribe models push" in caught.value.hint
    shelve(fixed_whisper, mirror, "small")
    assert resolve(None, "s3://b/m", home).folder == str(mirror / "small")


def test_a_folder_may_be_a_url(fixed_whisper: Path, home: Path, tmp_path: Path) -> None:
    """file:///path is the folder."""
    shelve(fixed_whisper, tmp_path / "my models", "small")
    url = (tmp_path / "my models").as_uri()
    assert resolve(None, url, home).folder == str(tmp_path / "my models/small")


def test_a_model_travels(fixed_whisper: Path, home: Path) -> None:
    """Model survives the JSON between handler and engine, and info() is what the result shows."""
    model = resolve(str(fixed_whisper), None, home, trusted=True)
    assert Model.model_validate(json.loads(model.model_dump_json())) == model
    assert model.info().model_dump() == {
        "name": "fixed-whisper",
        "version": model.version,
        "arch": "whisper",
        "revision": model.revision,
    }


def test_the_catalog_is_light() -> None:
    """The handler imports it: no numpy, ctranslate2, pocketsphinx or torch may come with it."""
    heavy = "{'numpy', 'ctranslate2', 'faster_whisper', 'pocketsphinx', 'torch', 'huggingface_hub'}"
    code = f"import sys, pipeline.catalog; print(sorted(set(sys.modules) & {heavy}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
