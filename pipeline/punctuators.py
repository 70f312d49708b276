"""Which model that restores punctuation is on this machine, if any.

Takes folders of models, reads the small files in each; gives frozen facts. Such a model is a token classification of
transformers', as its authors publish it: ``config.json``, ``model.safetensors``, ``tokenizer.json``, whose labels are
marks (``.``, ``,``, ``?``) and one for none (``0``, ``O``). Knows nothing of how it runs: no torch here, because what
is on the machine goes into a job's digests.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.errors import ModelUnavailable, WeightsChanged
from pipeline.types import Frozen, ModelInfo

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
_CLASS = "ForTokenClassification"
MARKS = frozenset(".,?!-:;")  # what a label may be, as text
_STOPS = frozenset(".?!")


class Punctuator(Frozen):
    """``marks``: for each of the model's classes the mark that it stands for, empty for none."""

    folder: str
    marks: tuple[str, ...]
    info: ModelInfo


def punctuator_in(shelves: Iterable[Path]) -> Punctuator | None:
    """The first by name in the first folder that has one."""
    for shelf in shelves:
        try:
            entries = sorted(shelf.iterdir())
        except OSError:
            continue
        for entry in entries:
            if not entry.name.startswith(".") and (found := _look(entry)) is not None:
                return found
    return None


def check_unchanged(model: Punctuator) -> None:
    """Whether the weights that were chosen still lie there. `WeightsChanged` if others do, `ModelUnavailable` if none
    do.
    """
    now = _look(Path(model.folder))
    if now is None:
        raise ModelUnavailable(
            f"the model {model.info.name} in {model.folder} is not there any more, or not whole", "Fetch it again."
        )
    if now.info.revision != model.info.revision:
        raise WeightsChanged(
            f"the weights in {model.folder} were changed while the worker ran: they are {now.info.revision[:12]}, "
            f"not {model.info.revision[:12]}"
        )


def _look(folder: Path) -> Punctuator | None:
    """None for what is another model, or not whole."""
    try:
        config = json.loads((folder / CONFIG).read_bytes())
        marks = _marks(config)
        if marks is None:
            return None
        stats = [(name, (folder / name).stat()) for name in (CONFIG, TOKENIZER, WEIGHTS)]
        digests = [_sha256(folder / name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    except (OSError, ValueError):
        return None
    revision = hashlib.sha256("".join(digests).encode()).hexdigest()
    name = folder.name.partition("@")[0]
    info = ModelInfo(name=name, version=f"sha256-{revision[:12]}", arch="punctuation", revision=revision)
    return Punctuator(folder=str(folder.resolve()), marks=marks, info=info)


def _marks(config: Any) -> tuple[str, ...] | None:
    """By class; None for a model of something else: its labels are other words, or no sentence can end."""
    if not isinstance(config, dict) or not str((config.get("architectures") or [""])[0]).endswith(_CLASS):
        return None
    labels = config.get("id2label")
    if not isinstance(labels, dict):
        return None
    found = [str(labels.get(str(nth), "?" * 9)) for nth in range(len(labels))]
    marks = tuple("" if label in ("0", "O") else label for label in found)
    return marks if "" in marks and set(marks) <= MARKS | {""} and _STOPS.intersection(marks) else None


@lru_cache(maxsize=16)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    """Remembered while nothing changes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
