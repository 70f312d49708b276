"""Models, kept warm between jobs: recognisers, and what the stages beside them need, which `warm` has.

Takes a `Model` of the catalog, gives a `Recogniser`. A backend is imported when it is first used: ctranslate2 takes
half a second and pocketsphinx memory that a fleet with Whisper never needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.catalog import Model
from pipeline.devices import DeviceSettings
from pipeline.models.base import Recogniser
from pipeline.models.warm import Warm

if TYPE_CHECKING:
    from pipeline.models.loading import LoadedWhisper

_REMEMBERED = 16  # models that were used, but are not loaded: what their ladders have learnt is kept

_Key = tuple[str, str | None, str]


class Models(Warm):
    """The last recogniser that was used, loaded, and the models of the other stages.

    One recogniser at a time: two large ones do not fit into one GPU.
    """

    def __init__(self, settings: DeviceSettings | None = None) -> None:
        super().__init__(settings)
        self._sphinx: Any = None
        self._whispers: dict[_Key, LoadedWhisper] = {}  # the last one used last, and alone with its weights in memory

    def get(self, model: Model) -> Recogniser:
        """The recogniser for ``model``, for one job; its weights are loaded unless the last one had the same.

        Where they come to lie depends on the device settings, on what is free, and on what earlier jobs ran into.
        `ModelUnavailable`, `OutOfMemory`.
        """
        return self._of_sphinx(model) if model.backend == "sphinx" else self._of_whisper(model)

    def place(self, model: Model) -> str:
        """The device and the type that ``model`` is computed on now, for telling rates apart."""
        loaded = self._whispers.get((model.backend, model.folder, model.revision))
        return "cpu" if loaded is None else f"{loaded.rung.device} {loaded.rung.compute_type}"

    def _of_sphinx(self, model: Model) -> Recogniser:
        from pipeline.models.sphinx import SphinxRecogniser, load_sphinx

        self._let_go(None)
        if self._sphinx is None:
            self._sphinx = load_sphinx()
        return SphinxRecogniser(model, self._sphinx)

    def _of_whisper(self, model: Model) -> Recogniser:
        from pipeline.models.whisper import WhisperRecogniser

        self._sphinx = None
        key = (model.backend, model.folder, model.revision)
        self._let_go(key)  # of the old weights before the new ones come
        loaded = self._whispers.pop(key, None)
        if loaded is None:
            loaded = self._load(model)
        else:
            loaded.begin()
        self._whispers[key] = loaded
        # A thin wrapper for each call: the same weights may have been chosen under another name.
        return WhisperRecogniser(model, loaded)

    def _load(self, model: Model) -> LoadedWhisper:
        from pipeline.models.loading import load_whisper

        return load_whisper(model, self._settings)

    def _let_go(self, kept: _Key | None) -> None:
        for key, loaded in self._whispers.items():
            if key != kept:
                loaded.unload()
        while len(self._whispers) > _REMEMBERED:
            del self._whispers[next(iter(self._whispers))]
