"""Models of the stages beside the recogniser that are nowhere: for plans and digests, which never open them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pipeline.aligners import AlignerModel, Record
from pipeline.companions import Companion, Companions
from pipeline.types import ModelInfo


def companion(kind: Literal["separator", "sortformer", "voices"], revision: str = "1") -> Companion:
    info = ModelInfo(name=f"a-{kind}", version=revision, arch=kind, revision=revision)
    return Companion(kind=kind, name=info.name, folder=f"/nowhere/{kind}", file="weights", licence="MIT", info=info)


def aligner(name: str, *languages: str, revision: str = "1") -> AlignerModel:
    record = Record(backend="nemo", file="weights", languages=languages, licence="MIT")
    info = ModelInfo(name=name, version=revision, arch="ctc", revision=revision)
    return AlignerModel(folder=Path("/nowhere") / name, record=record, info=info)


EVERYTHING = Companions(
    separator=companion("separator"),
    aligners=(aligner("english", "en"), aligner("german", "de")),
    few=companion("sortformer"),
    many=companion("voices"),
)
