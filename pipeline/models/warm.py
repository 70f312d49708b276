"""The models beside the recogniser, kept warm between jobs: what separates voices, aligns words, tells speakers apart.

Takes `Companion`s and aligners, as a job's request names them; gives them loaded, or ready to load themselves. One of a
kind at a time. Where each lies is its own ladder's business; on a GPU that is nearly full one that has done its work
lets go of its memory, so that the next stage need not go to the CPU. Knows nothing of stages. torch and NeMo are
imported when the first model is asked for.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pipeline.aligners import AlignerModel
from pipeline.beside import Companion, check_unchanged
from pipeline.devices import DeviceSettings, Gpus, gpus
from pipeline.punctuators import Punctuator

if TYPE_CHECKING:
    from pipeline.models.aligner import Aligners
    from pipeline.models.clustering import Clustering
    from pipeline.models.demucs import LoadedDemucs
    from pipeline.models.nemo import NemoModel
    from pipeline.models.punctuator import LoadedPunctuator
    from pipeline.models.sortformer import Sortformer

log = logging.getLogger(__name__)


class _Loaded(Protocol):
    def unload(self) -> None:
        """Let go of the weights, for as long as nobody uses them."""


One = TypeVar("One", bound=_Loaded)


class Warm:
    """For several threads, each of which uses a kind of its own. ``look``: what is known of the GPUs now;
    ``give_back``: has torch give back what it holds in reserve, and says whether it uses a GPU.
    """

    def __init__(
        self,
        settings: DeviceSettings | None = None,
        look: Callable[[], Gpus] = gpus,
        give_back: Callable[[], bool] | None = None,
    ) -> None:
        self._settings = settings or DeviceSettings()
        self._look = look
        self._give_back = give_back or _empty_cache
        self._lock = threading.Lock()  # around the table, not around loading
        self._kept: dict[str, tuple[Any, Any]] = {}  # by kind: which one it is, and the model

    def separator(self, companion: Companion) -> LoadedDemucs:
        """Loaded, for one job. `ModelUnavailable`, `OutOfMemory`."""
        from pipeline.models.demucs import load_demucs

        folder, kind = Path(companion.folder), companion.kind
        found: LoadedDemucs | None = self._known(kind, companion)
        if found is None:
            check_unchanged(companion)
            return self._keep(kind, companion, load_demucs(folder, self._settings))
        found.begin()
        return found

    def few(self, companion: Companion) -> Sortformer:
        """For up to four speakers; `begin` loads it. `ModelUnavailable` where the extra is not installed."""
        from pipeline.models.sortformer import Sortformer

        return self._ready(companion, lambda model: Sortformer(model, self._settings))

    def many(self, companion: Companion) -> Clustering:
        """For any number of speakers; `begin` loads it. `ModelUnavailable` where the extra is not installed."""
        from pipeline.models.clustering import Clustering

        return self._ready(companion, lambda model: Clustering(model, self._settings))

    def aligners(self, here: tuple[AlignerModel, ...]) -> Aligners:
        """Of which the one for a language is loaded when it is asked for."""
        from pipeline.models.aligner import Aligners

        found: Aligners | None = self._known("aligners", here)
        return found if found is not None else self._keep("aligners", here, Aligners(here, self._settings))

    def punctuator(self, model: Punctuator) -> LoadedPunctuator:
        """Loaded, for one job. `ModelUnavailable`, `OutOfMemory`."""
        from pipeline.models.punctuator import LoadedPunctuator

        found: LoadedPunctuator | None = self._known("punctuator", model)
        if found is None:
            found = self._keep("punctuator", model, LoadedPunctuator(model, self._settings))
        found.begin()
        return found

    def rest(self, kind: str) -> None:
        """A stage is through with its model of this kind: on a GPU that is nearly full it lets go of its memory, and
        torch of what it holds in reserve.
        """
        with self._lock:
            _, model = self._kept.get(kind, (None, None))
        if model is None or not self._give_back():
            return
        found = self._look().found
        if not found or found[0].free is None or not found[0].total:
            return
        share = 1 - found[0].free / found[0].total
        if share > self._settings.gpu_memory_threshold:
            log.info("%.0f %% of the GPU's memory are in use: the model for %s is let go of", 100 * share, kind)
            model.unload()

    def _ready(self, companion: Companion, make: Callable[[NemoModel], One]) -> One:
        from pipeline.models.nemo import NemoModel

        found: One | None = self._known(companion.kind, companion)
        if found is not None:
            return found
        check_unchanged(companion)
        path = Path(companion.folder) / companion.file
        return self._keep(companion.kind, companion, make(NemoModel(path=path, info=companion.info)))

    def _known(self, kind: str, which: Any) -> Any:
        """The one that is asked for, if it is kept; another of its kind lets go of its weights now."""
        with self._lock:
            kept, model = self._kept.get(kind, (None, None))
            if kept == which:
                return model
            self._kept.pop(kind, None)
        if model is not None:
            model.unload()
        return None

    def _keep(self, kind: str, which: Any, model: One) -> One:
        with self._lock:
            self._kept[kind] = which, model
        return model


def _empty_cache() -> bool:
    """Give what torch holds in reserve back to the GPU. False where torch does not use one."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "cuda") or not torch.cuda.is_initialized():
        return False
    torch.cuda.empty_cache()
    return True
