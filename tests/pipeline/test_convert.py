"""A fine-tuned Whisper becomes one of ours; nothing of it is ever unpickled."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline import weights
from pipeline.catalog import resolve
from pipeline.errors import ModelUnavailable, OptionsError, OutOfSpace
from pipeline.models.convert import convert

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Whisper of transformers with random weights, saved as people save theirs."""
    import torch
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    folder = tmp_path_factory.mktemp("hf") / "our-finetune"
    folder.mkdir()
    vocabulary = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocabulary[""] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [
        "<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>",
        "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
    ]  # fmt: skip
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in special])
    tokenizer.save(str(folder / "tokenizer.json"))
    ident = tokenizer.token_to_id
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"})
    )
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=tokenizer.get_vocab_size() + 1501, num_mel_bins=80, d_model=64, encoder_layers=1,
            encoder_attention_heads=1, decoder_layers=1, decoder_attention_heads=1, encoder_ffn_dim=64,
            decoder_ffn_dim=64, pad_token_id=ident("<|endoftext|>"), bos_token_id=ident("<|endoftext|>"),
            eos_token_id=ident("<|endoftext|>"), decoder_start_token_id=ident("<|startoftranscript|>"),
        )
    )  # fmt: skip
    model.generation_config.suppress_tokens = []
    model.generation_config.begin_suppress_tokens = []
    model.generation_config.lang_to_id = {"<|en|>": ident("<|en|>"), "<|de|>": ident("<|de|>")}
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"feature_size": 80}))
    return folder


class Repository:
    """A hub of one repository: a folder. Keeps what was asked for."""

    def __init__(self, folder: Path, commit: str = COMMIT) -> None:
        self.folder = folder
        self.commit = commit
        self.asked: list[str] = []

    def look(self, repo: str, revision: str | None) -> tuple[str, Sequence[str]]:
        return self.commit, [entry.name for entry in self.folder.iterdir()]

    def download(self, repo: str, commit: str, folder: Path, files: Sequence[str]) -> None:
        self.asked += files
        (folder / ".cache").mkdir(exist_ok=True)
        for name in files:
            shutil.copyfile(self.folder / name, folder / name)


def a_copy(source: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(source, tmp_path / "source" / source.name))


# ── with torch ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.heavy
@pytest.mark.parametrize("quantization", ["int8", "float16"])
def test_a_converted_model_is_loaded(source: Path, tmp_path: Path, quantization: str) -> None:
    """What comes out is a model of the catalog that faster-whisper loads and runs, with its origin on record."""
    from faster_whisper import WhisperModel

    model = convert(str(source), tmp_path / "home", quantization)
    assert (model.name, model.backend) == ("our-finetune", "whisper")
    assert resolve("our-finetune", None, tmp_path / "home") == model
    folder = Path(model.folder or "")
    assert {entry.name for entry in folder.iterdir()} == {
        "config.json", "model.bin", "tokenizer.json", "preprocessor_config.json", "vocabulary.json", weights.RECORD,
    }  # fmt: skip
    record = weights.read_record(folder)
    assert record is not None
    assert (record.quantization, record.commit) == (quantization, "")
    assert record.converted_from.startswith("our-finetune@")
    assert str(tmp_path) not in record.dump().decode()
    assert not weights.damage(folder)
    assert [entry.name for entry in (tmp_path / "home").iterdir()] == ["our-finetune"]
    import numpy as np

    whisper = WhisperModel(str(folder), device="cpu", compute_type="int8", local_files_only=True)
    segments, info = whisper.transcribe(np.zeros(16_000, dtype=np.float32), language="en", max_new_tokens=4)
    list(segments)
    assert info.language == "en"
    assert whisper.model.is_multilingual


@pytest.mark.heavy
def test_quantizations_are_different_models(source: Path, tmp_path: Path) -> None:
    """The revision is that of the weights: int8 and float16 of one source never share a cached stage."""
    one = convert(str(source), tmp_path, "int8", "one")
    two = convert(str(source), tmp_path, "float16", "two")
    assert one.revision != two.revision


@pytest.mark.heavy
def test_a_repository_is_converted_at_one_commit(source: Path, tmp_path: Path) -> None:
    """Of a repository only what a conversion reads is asked for, and the commit is on record."""
    full = a_copy(source, tmp_path)
    for name in ("pytorch_model.bin", "training_args.bin", "modeling_evil.py", "README.md"):
        (full / name).write_bytes(b"\x80\x04evil")
    hub = Repository(full)
    model = convert("acme/Our-Whisper", tmp_path / "home", "int8", hub=hub)
    assert model.name == "acme--our-whisper"
    record = weights.read_record(Path(model.folder or ""))
    assert record is not None
    assert record.converted_from == f"acme/Our-Whisper@{COMMIT}"
    assert not [name for name in hub.asked if not name.endswith((".json", ".safetensors", ".txt"))]
    assert convert("acme/Our-Whisper", tmp_path / "home", "int8", hub=hub) == model
    assert len(hub.asked) == len(set(hub.asked)), "it was downloaded twice"


@pytest.mark.heavy
def test_another_model_is_never_replaced(source: Path, tmp_path: Path) -> None:
    """A conversion of something else under a name that is taken is an error that says so."""
    first = convert(str(source), tmp_path, "int8")
    with pytest.raises(ModelUnavailable, match="another model") as caught:
        convert(str(source), tmp_path, "float16")
    assert "--as" in caught.value.hint
    assert resolve("our-finetune", None, tmp_path) == first


# ── without: what is refused, before anything is loaded ──────────────────────────────────────────────────────────────


def there(package: str) -> bool:
    """As if the extra were installed: what is refused before it would be used needs none of it."""
    return True


def a_folder(path: Path, **files: Any) -> Path:
    path.mkdir(parents=True)
    for name, content in files.items():
        (path / name.replace("__", ".")).write_bytes(content)
    return path


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    """A repository with pytorch_model.bin alone is refused in one line, and nothing of it is fetched."""
    hub = Repository(
        a_folder(tmp_path / "r", config__json=b"{}", pytorch_model__bin=b"\x80\x04", tokenizer__json=b"{}")
    )
    with pytest.raises(ModelUnavailable, match=r"no model\.safetensors.*pytorch_model\.bin.*pickle"):
        convert("acme/whisper", tmp_path / "home", "int8", hub=hub, has=there)
    assert hub.asked == []
    assert not (tmp_path / "home").exists()


def test_a_missing_tokenizer_is_an_error(tmp_path: Path) -> None:
    """Without tokenizer.json the model could not be used offline, so it is not made."""
    folder = a_folder(tmp_path / "r", config__json=b"{}", model__safetensors=b"x")
    with pytest.raises(ModelUnavailable, match=r"no tokenizer\.json"):
        convert(str(folder), tmp_path / "home", "int8", has=there)


def test_only_whispers_are_converted(tmp_path: Path) -> None:
    """Another kind of model is named as what it is."""
    folder = a_folder(
        tmp_path / "r", config__json=b'{"model_type": "llama"}', model__safetensors=b"x", tokenizer__json=b"{}"
    )
    with pytest.raises(ModelUnavailable, match="llama"):
        convert(str(folder), tmp_path / "home", "int8", has=there)


def test_nothing_but_safetensors_lies_where_it_is_loaded_from(tmp_path: Path) -> None:
    """Pickles and code of a source, or of an earlier try, are not there when transformers looks."""
    folder = a_folder(
        tmp_path / "r", config__json=b'{"model_type": "t5"}', model__safetensors=b"x", tokenizer__json=b"{}",
        pytorch_model__bin=b"\x80", modeling__py=b"raise SystemExit",
    )  # fmt: skip
    staging = tmp_path / "home" / "r.source.partial"
    a_folder(staging, pytorch_model__bin=b"\x80", evil__py=b"")
    with pytest.raises(ModelUnavailable, match="t5"):
        convert(str(folder), tmp_path / "home", "int8", has=there)
    assert sorted(entry.name for entry in staging.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]


def test_a_converted_one_is_not_converted(fixed_whisper: Path, tmp_path: Path) -> None:
    """A folder in CTranslate2's format is recognised, and what to do instead is said."""
    with pytest.raises(ModelUnavailable, match="already") as caught:
        convert(str(fixed_whisper), tmp_path, "int8", has=there)
    assert "without --convert" in caught.value.hint


@pytest.mark.parametrize(("error", "kind"), [
    (OSError(errno.ENOSPC, "No space left on device"), OutOfSpace), (ConnectionResetError("reset"), ModelUnavailable),
])  # fmt: skip
def test_troubles_of_the_hub_are_one_line(error: OSError, kind: type[Exception], tmp_path: Path) -> None:
    """A full disk is called one, and a hub that is down is a model that is not here yet."""

    class Failing(Repository):
        def look(self, repo: str, revision: str | None) -> tuple[str, Sequence[str]]:
            raise error

    with pytest.raises(kind):
        convert("acme/whisper", tmp_path, "int8", hub=Failing(tmp_path), has=there)


def test_without_torch_the_extra_is_named(tmp_path: Path) -> None:
    """Whoever lacks torch is told which extra has it, before anything is downloaded."""
    hub = Repository(tmp_path)
    with pytest.raises(ModelUnavailable, match="torch") as caught:
        convert("acme/whisper", tmp_path / "home", "int8", hub=hub, has=lambda package: package != "torch")
    assert "dropscribe[models]" in caught.value.hint
    assert hub.asked == []


@pytest.mark.parametrize(
    ("source", "quantization"), [("acme/whisper", "int4"), ("../etc", "int8"), ("whisper", "int8")]
)
def test_what_cannot_be_converted(source: str, quantization: str, tmp_path: Path) -> None:
    """A wrong type or source is the person's error, said at once."""
    with pytest.raises(OptionsError):
        convert(source, tmp_path / "home", quantization)
    assert not (tmp_path / "home").exists()
