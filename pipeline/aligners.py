"""Which aligners are on this machine, what they speak, and which one a language gets.

Takes folders, reads the small file `RECORD` in each, gives frozen facts. Knows nothing of how an aligner runs: no torch
or numpy here, because what is on the machine goes into a job's digests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from pipeline.errors import ModelUnavailable
from pipeline.types import Frozen, ModelInfo

RECORD = "dropscribe-aligner.json"

_Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]  # as Whisper writes them, see `base`
_FileName = Annotated[str, Field(pattern=r"^[^/\\\x00]+$")]


class Record(Frozen):
    """``dropscribe-aligner.json``, beside an aligner's weights.

    ``backend``: ``nemo`` for a ``.nemo`` of an `EncDecCTCModel` or `EncDecCTCModelBPE`; ``torchaudio`` for the weights
    of a wav2vec 2.0 pipeline, whose name (``WAV2VEC2_ASR_BASE_960H``) is ``bundle``. ``file``: the weights, in the same
    folder. ``languages``: the codes of those it was trained on, without a region. ``licence``: of the weights, by its
    SPDX name. ``delay``: seconds by which it hears words later than they are said, measured; less than 0 is earlier.
    """

    format: Literal[1] = 1
    backend: Literal["nemo", "torchaudio"]
    file: _FileName
    bundle: str = ""
    languages: tuple[_Language, ...] = Field(min_length=1)
    licence: str = Field(min_length=1)
    delay: float = Field(default=0.0, ge=-1, le=1)

    @model_validator(mode="after")
    def _complete(self) -> Record:
        if (self.backend == "torchaudio") != bool(self.bundle):
            raise ValueError("bundle names a pipeline of torchaudio, for that backend and no other")
        return self

    @property
    def commercial(self) -> bool:
        """The licence does not forbid commercial use, as far as its name tells."""
        return "-NC" not in self.licence.upper()


class AlignerModel(Frozen):
    """An aligner in a folder of this machine. ``info``: its revision covers the weights and the record."""

    folder: Path
    record: Record
    info: ModelInfo

    @property
    def weights(self) -> Path:
        return self.folder / self.record.file


def aligner_in(folder: Path) -> AlignerModel:
    """The aligner that lies in ``folder``. `ModelUnavailable` if there is none, or it is not whole."""
    try:
        body = (folder / RECORD).read_bytes()
        record = Record.model_validate_json(body)
        stat = (folder / record.file).stat()
        weights = _sha256(folder / record.file, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ModelUnavailable(f"the aligner in {folder} cannot be read: {reason}", _COPY) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        message = f"{folder / RECORD} does not describe an aligner: {f'{where}: ' if where else ''}{first['msg']}"
        raise ModelUnavailable(message, _COPY) from error
    revision = hashlib.sha256(body + weights.encode()).hexdigest()
    info = ModelInfo(name=folder.name, version=f"sha256-{revision[:12]}", arch="ctc", revision=revision)
    return AlignerModel(folder=folder, record=record, info=info)


def aligners_in(*shelves: Path) -> tuple[AlignerModel, ...]:
    """All aligners in the folders' folders, each name once. One that is not whole counts as not there; who asks for it
    by its folder is told why.
    """
    found: dict[str, AlignerModel] = {}
    for folder in _folders(shelves):
        if folder.name not in found:
            try:
                found[folder.name] = aligner_in(folder)
            except ModelUnavailable:
                continue
    return tuple(found.values())


def for_language(language: str | None, aligners: Iterable[AlignerModel]) -> AlignerModel:
    """The aligner for a language as Whisper or a person writes it (``en``, ``pt-BR``). `ModelUnavailable`.

    Of several the one whose licence allows commercial use, then the one of the fewest languages, then by name.
    """
    if language is None:
        raise ModelUnavailable("the language is not known", "Name it in the option language.")
    wanted = base(language)
    speaking = [one for one in aligners if wanted in one.record.languages]
    if not speaking:
        raise ModelUnavailable(f"no aligner on this machine speaks {wanted}", _BRING)
    return min(speaking, key=lambda one: (not one.record.commercial, len(one.record.languages), one.info.name))


def base(language: str) -> str:
    """A language's code without a region: ``pt`` for ``pt-BR``."""
    return language.strip().lower().replace("_", "-").partition("-")[0]


_COPY = "Copy the aligner's folder again, with its weights and its record."
_BRING = f"Put one into the folder of models: its weights, and a {RECORD} beside them."


def _folders(shelves: Iterable[Path]) -> Iterator[Path]:
    for shelf in shelves:
        try:
            entries = sorted(shelf.iterdir())
        except OSError:
            continue
        yield from (entry for entry in entries if (entry / RECORD).is_file() and not entry.name.startswith("."))


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    """Remembered while nothing changes: gigabytes take seconds."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
