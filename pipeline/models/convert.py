"""A Whisper for Hugging Face's transformers becomes one in CTranslate2's format; a short process of its own.

Takes a repository of the hub or a folder, and a type for the weights; gives a `Model` whose folder holds them and a
record of what they were made of. Of the source only configuration, tokenizer and safetensors are ever copied to where
they are loaded from: no pickle can be unpickled and no code of the source can run, because neither is there. The
conversion is ctranslate2's own (``ctranslate2.converters.TransformersConverter``) and needs torch and transformers.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Protocol

from pipeline.catalog import Model, whisper_in
from pipeline.errors import ModelUnavailable, OptionsError
from pipeline.family import folder_name, split_pin
from pipeline.models.fetch import PARTIAL, REPOSITORY, failed, put_in_place
from pipeline.weights import describe, missing, read_record, write_record

log = logging.getLogger(__name__)

TYPES = ("int8", "int8_float16", "int8_float32", "int8_bfloat16", "int16", "float16", "bfloat16", "float32")

# What a conversion reads. Nothing else of a source is fetched or copied.
WANTED = (
    "config.json",
    "generation_config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "normalizer.json",
    "vocab.json",
    "merges.txt",
    "preprocessor_config.json",
    "processor_config.json",
)


class Hub(Protocol):
    """Any exception means that it failed."""

    def look(self, repo: str, revision: str | None) -> tuple[str, Sequence[str]]:
        """The commit meant (the newest one for None), and the names of its files."""

    def download(self, repo: str, commit: str, folder: Path, files: Sequence[str]) -> None:
        """Those files of that commit into ``folder``, which exists. What is there of an earlier try may be kept."""


class TheHub:
    """The hub's own client; honours HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE."""

    def look(self, repo: str, revision: str | None) -> tuple[str, Sequence[str]]:
        from huggingface_hub import HfApi

        info = HfApi().model_info(repo, revision=revision)
        if info.sha is None:
            raise ValueError("the hub names no commit")
        return info.sha, [sibling.rfilename for sibling in info.siblings or ()]

    def download(self, repo: str, commit: str, folder: Path, files: Sequence[str]) -> None:
        from huggingface_hub import snapshot_download

        snapshot_download(repo, revision=commit, local_dir=folder, allow_patterns=list(files))


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def convert(
    source: str,
    home: Path,
    quantization: str,
    name: str | None = None,
    *,
    hub: Hub | None = None,
    has: Callable[[str], bool] = installed,
) -> Model:
    """The model ``name`` in ``home``, made of ``source``: a repository ``owner/name``, perhaps with ``@commit``, or a
    folder's path. ``quantization``: one of `TYPES`. ``has``: whether a package is installed.

    Does nothing if that was done before. `OptionsError`: no such source or type. `ModelUnavailable`: it cannot be had,
    is no Whisper, has no safetensors or tokenizer, or torch is missing. `OutOfSpace`.
    """
    if quantization not in TYPES:
        raise OptionsError(f"there is no type {quantization!r} of weights", f"Known are: {', '.join(TYPES)}.")
    folder = Path(source) if Path(source).is_dir() else None
    repo, pin = (source, None) if folder is not None else split_pin(source)
    if folder is None and not REPOSITORY.fullmatch(repo):
        raise OptionsError(f"there is no folder {source!r}, and it is no repository owner/name of the hub")
    called = folder_name(name or (folder.absolute().name if folder is not None else repo))
    _needed(has)
    try:
        return _made(source, folder, repo, pin, home / called, quantization, hub or TheHub())
    except (ModelUnavailable, OptionsError):
        raise
    except Exception as error:  # the hub's client and transformers raise a dozen kinds each
        raise failed(called, repo, home, error) from error


def _made(
    source: str, folder: Path | None, repo: str, pin: str | None, place: Path, quantization: str, hub: Hub
) -> Model:
    """From the look at the source to the model in its place."""
    origin, files = (_of_folder(folder), _files_in(folder)) if folder is not None else _of_hub(hub, repo, pin)
    if (before := _made_before(place, origin, quantization)) is not None:
        return before
    wanted = _wanted(files, repo)
    staging = place.with_name(f"{place.name}.source{PARTIAL}")
    partial = place.with_name(f"{place.name}.converted{PARTIAL}")
    staging.mkdir(parents=True, exist_ok=True)
    if folder is not None:
        for file in wanted:
            shutil.copyfile(folder / file, staging / file)
    else:
        hub.download(repo, origin.rpartition("@")[2], staging, wanted)
    _only(staging, wanted)
    shutil.rmtree(partial, ignore_errors=True)
    _run(staging, partial, quantization)
    if absent := missing(partial):
        raise ModelUnavailable(f"what {source} was converted to has no {' and no '.join(absent)}")
    write_record(partial, describe(partial, source=origin, quantization=quantization))
    put_in_place(partial, place)
    shutil.rmtree(staging, ignore_errors=True)
    return whisper_in(place, place.name)


def _needed(has: Callable[[str], bool]) -> None:
    for module in ("torch", "transformers", "safetensors"):
        if not has(module):
            raise ModelUnavailable(
                f"a conversion needs {module}, which is not installed",
                "Install the extra models: `pip install 'dropscribe[models]'`.",
            )


# ── the source ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _of_hub(hub: Hub, repo: str, pin: str | None) -> tuple[str, Sequence[str]]:
    commit, files = hub.look(repo, pin)
    if pin is not None and not commit.startswith(pin):
        raise ModelUnavailable(f"{repo} gave the commit {commit}, not {pin}", "Correct the commit.")
    return f"{repo}@{commit}", files


def _of_folder(folder: Path) -> str:
    """A folder's name and a digest of what is read of it: its path is nobody else's business."""
    whole = hashlib.sha256()
    for name in sorted(_matching(_files_in(folder))):
        with (folder / name).open("rb") as file:
            whole.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return f"{folder.absolute().name}@{whole.hexdigest()}"


def _files_in(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir() if entry.is_file()]


def _matching(files: Sequence[str]) -> Iterator[str]:
    return (name for name in files if any(fnmatch(name, pattern) for pattern in WANTED))


def _wanted(files: Sequence[str], source: str) -> list[str]:
    """The names of the files to read. `ModelUnavailable` where one is lacking that must be there."""
    wanted = sorted(_matching(files))
    if "model.bin" in files and "config.json" in files:
        raise ModelUnavailable(f"{source} is in CTranslate2's format already", "Pull it without --convert.")
    if not any(name.endswith(".safetensors") for name in wanted):
        pickled = [name for name in files if name.endswith((".bin", ".pt", ".pth", ".ckpt"))]
        has = f": it has {', '.join(pickled[:3])} alone, which is a pickle and could run code" if pickled else ""
        raise ModelUnavailable(
            f"{source} has no model.safetensors{has}", "Ask its owner to save it with safe_serialization=True."
        )
    for name in ("config.json", "tokenizer.json"):
        if name not in wanted:
            hint = "Save its fast tokenizer there: WhisperTokenizerFast.from_pretrained(…).save_pretrained(…)."
            raise ModelUnavailable(f"{source} has no {name}", hint if name == "tokenizer.json" else "")
    return wanted


def _only(staging: Path, wanted: Sequence[str]) -> None:
    """Nothing else may be where a model is loaded from; links could lead elsewhere."""
    for entry in staging.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name not in wanted:
            entry.unlink()


def _made_before(folder: Path, origin: str, quantization: str) -> Model | None:
    """The model, if it lies there. `ModelUnavailable` if another one does."""
    if not folder.is_dir() or missing(folder):
        return None
    record = read_record(folder)
    if record is not None and (record.converted_from, record.quantization) == (origin, quantization):
        return whisper_in(folder, folder.name)
    raise ModelUnavailable(
        f"there is another model in {folder}", "Remove it, or give this one another name (`models pull --as NAME`)."
    )


# ── the conversion ───────────────────────────────────────────────────────────────────────────────────────────────────


def _run(staging: Path, partial: Path, quantization: str) -> None:
    config = json.loads((staging / "config.json").read_bytes())
    if config.get("model_type") != "whisper":
        raise ModelUnavailable(f"it is a {config.get('model_type')!r} model, not a Whisper")
    from ctranslate2.converters import TransformersConverter

    log.info("converting to %s", quantization)
    halves = quantization in ("float16", "int8_float16")  # then it needs no more memory than it has to
    converter = TransformersConverter(str(staging), load_as_float16=halves, trust_remote_code=False)
    converter.convert(str(partial), quantization=quantization)
    shutil.copyfile(staging / "tokenizer.json", partial / "tokenizer.json")
    (partial / "preprocessor_config.json").write_text(json.dumps(_features(staging, config), sort_keys=True))


def _features(staging: Path, config: dict[str, Any]) -> Any:
    """How sound becomes features. transformers 5 keeps that inside the processor's file; all but the number of mel
    bands is the same for every Whisper.
    """
    if (own := staging / "preprocessor_config.json").is_file():
        return json.loads(own.read_bytes())
    if (processor := staging / "processor_config.json").is_file():
        found = json.loads(processor.read_bytes()).get("feature_extractor")
        if isinstance(found, dict):
            return found
    return {"feature_size": config.get("num_mel_bins", 80)}
