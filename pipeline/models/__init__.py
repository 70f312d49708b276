"""Models as recognisers, kept warm between jobs.

Takes a `Model` of the catalog, gives a `Recogniser`. A backend is imported when it is first used: ctranslate2 takes
half a second and pocketsphinx memory that a fleet with Whisper never needs.
"""

from __future__ import annotations

from typing import Any

from pipeline.catalog import Model
from pipeline.models.base import Recogniser


class Models:
    """The last model that was used, loaded.

    ``device``: ``auto``, ``cpu`` or ``cuda``; ``compute_type``: one of ctranslate2's, None for the best on the device.
    One model at a time: two large ones do not fit into one GPU.
    """

    def __init__(self, device: str = "auto", compute_type: str | None = None) -> None:
        self._device = device
        self._compute_type = compute_type
        self._key: tuple[str, str | None, str] | None = None
        self._loaded: Any = None

    def get(self, model: Model) -> Recogniser:
        """The recogniser for ``model``; loads it unless the last one had the same weights. `ModelUnavailable`."""
        key = (model.backend, model.folder, model.revision)
        if key != self._key:
            self._key, self._loaded = None, None  # let go of the old weights before the new ones come
            self._loaded = self._load(model)
            self._key = key
        return self._recogniser(model)

    def _load(self, model: Model) -> Any:
        if model.backend == "sphinx":
            from pipeline.models.sphinx import load_sphinx

            return load_sphinx()
        from pipeline.models.whisper import load_whisper

        return load_whisper(model, self._device, self._compute_type)

    def _recogniser(self, model: Model) -> Recogniser:
        """A thin wrapper for each call: the same weights may have been chosen under another name."""
        if model.backend == "sphinx":
            from pipeline.models.sphinx import SphinxRecogniser

            return SphinxRecogniser(model, self._loaded)
        from pipeline.models.whisper import WhisperRecogniser

        return WhisperRecogniser(model, self._loaded)
