"""An aligner in a folder, what it speaks, and which one of some a language gets.

Takes a folder, reads the small file `RECORD` in it, gives frozen facts. Knows nothing of how an aligner runs: no torch
or numpy here, because what is on the machine goes into a job's digests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from pipeline.errors import ModelUnavailable
from pipeline.known import KNOWN, commercial
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
        return commercial(self.licence)


class AlignerModel(Frozen):
    """An aligner in a folder of this machine. ``info``: its revision covers the weights and the record."""

    folder: Path
    record: Record
    info: ModelInfo

    @property
    def weights(self) -> Path:
        return self.folder / self.record.file


def read_record(folder: Path) -> Record:
    """The record in ``folder``. `ModelUnavailable` if it says nothing usable, OSError."""
    try:
        return Record.model_validate_json((folder / RECORD).read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        message = f"{folder / RECORD} does not describe an aligner: {f'{where}: ' if where else ''}{first['msg']}"
        raise ModelUnavailable(message, _COPY) from error


def aligner_in(folder: Path, name: str = "", digests: Mapping[str, str] | None = None) -> AlignerModel:
    """The aligner that lies in ``folder``. `ModelUnavailable` if there is none, or it is not whole. ``name``: what it
    is called; else as its folder. ``digests``: SHA-256 of both files in hex, where somebody knows them already.
    """
    try:
        record = read_record(folder)
        if digests is None:
            digests = {file: _digest(folder / file) for file in (RECORD, record.file)}
    except OSError as error:
        reason = error.strerror or str(error)
        raise ModelUnavailable(f"the aligner in {folder} cannot be read: {reason}", _COPY) from error
    revision = revision_of(digests[RECORD], digests[record.file])
    info = ModelInfo(name=name or folder.name, version=f"sha256-{revision[:12]}", arch="ctc", revision=revision)
    return AlignerModel(folder=folder, record=record, info=info)


def revision_of(record: str, weights: str) -> str:
    """From the SHA-256 of both files, in hex: the record says how what is heard is to be taken."""
    return hashlib.sha256(f"{record}{weights}".encode()).hexdigest()


def for_language(language: str | None, aligners: Iterable[AlignerModel]) -> AlignerModel:
    """The aligner for a language as Whisper or a person writes it (``en``, ``pt-BR``). `ModelUnavailable`.

    Of several the one whose licence allows commercial use, then the one of the fewest languages, then by name.
    """
    if language is None:
        raise ModelUnavailable("the language is not known", "Name it in the option language.")
    wanted = base(language)
    speaking = [one for one in aligners if wanted in one.record.languages]
    if not speaking:
        known = next((name for name, one in KNOWN.items() if wanted in one.languages), None)
        hint = f"Run `python -m pipeline fetch {known}`" if known else f"Put one, with its {RECORD}, where models are"
        raise ModelUnavailable(f"no aligner on this machine speaks {wanted}", f"{hint}.")
    return min(speaking, key=lambda one: (not one.record.commercial, len(one.record.languages), one.info.name))


def base(language: str) -> str:
    """A language's code without a region: ``pt`` for ``pt-BR``."""
    return language.strip().lower().replace("_", "-").partition("-")[0]


_COPY = "Copy the aligner's folder again, with its weights and its record."


def _digest(path: Path) -> str:
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    """Remembered while nothing changes: gigabytes take seconds."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
