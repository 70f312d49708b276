"""What a machine can compute with, as data: ``python -m pipeline probe`` writes it, ``dropscribe doctor`` reads it.

Frozen facts alone; they are found in `pipeline.probe`. Knows nothing of CTranslate2: the handler imports it too.
"""

from __future__ import annotations

from typing import Literal

from pipeline.devices import Gpus
from pipeline.types import Frozen


class Library(Frozen):
    """A CUDA library that CTranslate2 opens by ``name``. ``path`` and ``version`` are empty where it is not found or
    does not tell. ``source``: ``wheel``, which is opened before CTranslate2 asks for it (preloaded), or ``system``,
    where the loader finds it; None: nowhere. ``problem``: why it cannot be used.
    """

    name: str
    source: Literal["wheel", "system"] | None
    path: str = ""
    version: str = ""
    problem: str = ""


class KnownModel(Frozen):
    """A Whisper on this machine. ``size``: bytes of its weights."""

    name: str
    version: str
    folder: str
    size: int


class Trial(Frozen):
    """A model, loaded on a device and run once. ``problem`` is empty if that worked; seconds of loading, the first
    encoding included, and of one more encoding of 30 s, which is what a warm engine takes.
    """

    model: str
    device: str
    compute_type: str
    problem: str = ""
    load_seconds: float | None = None
    encode_seconds: float | None = None


class Machine(Frozen):
    """All of it. ``compute_types``: CTranslate2's for each device that it can use. ``problem``: why no model was
    tried.
    """

    gpus: Gpus
    libraries: tuple[Library, ...]
    ctranslate2: str
    compute_types: dict[str, tuple[str, ...]]
    models: tuple[KnownModel, ...]
    trials: tuple[Trial, ...]
    problem: str = ""
