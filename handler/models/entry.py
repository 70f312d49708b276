"""One row of ``dropscribe models list``, and how a model that lies in two places becomes one row."""

from __future__ import annotations

from collections.abc import Iterable
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


def gathered(here: Iterable[Entry], in_bucket: Iterable[Entry]) -> list[Entry]:
    """Each revision of each model once: of those here the first, and of one that is in the bucket, too, both places and
    what is wrong in either.
    """
    found: dict[tuple[str, str], Entry] = {}
    for entry in here:
        found.setdefault((entry.name, entry.revision), entry)
    for entry in in_bucket:
        key = (entry.name, entry.revision)
        if (local := found.get(key)) is not None:
            problem = "; ".join(part for part in (local.problem, entry.problem) if part)
            entry = local.model_copy(update={"where": (*local.where, "bucket"), "problem": problem, "current": True})
        found[key] = entry
    return list(found.values())
