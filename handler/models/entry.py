"""One row of ``dropscribe models list``."""

from __future__ import annotations

from typing import Literal

from pipeline.types import Frozen

Where = Literal["local", "bucket", "hub", "package"]


class Entry(Frozen):
    """One revision of one model. ``kind``: what it is for. ``backend``: what it runs in, empty where that is not known.
    ``size``: bytes, of a model that is not here about those of its download; None where nobody knows. ``version``: the
    revision as people are shown it. ``where``: ``hub`` means that it could be fetched. ``current``: what the bare name
    means. ``problem``: what is wrong with it, empty if nothing is known to be.
    """

    name: str
    kind: Literal["recogniser", "separator", "aligner", "sortformer", "voices", "unknown"] = "recogniser"
    backend: Literal["whisper", "sphinx", "demucs", "nemo", "torchaudio", ""]
    size: int | None
    languages: str
    licence: str
    revision: str = ""
    version: str = ""
    where: tuple[Where, ...]
    folder: str = ""
    current: bool = True
    quantization: str = ""
    converted_from: str = ""
    problem: str = ""
