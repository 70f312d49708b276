"""A worker's models: names to what is ready on this machine's disk, from wherever the settings say.

Takes settings and a clock; gives `pipeline.catalog.Model`. Opens the bucket that DROPSCRIBE_MODELS names when it is
first needed, and asks it once for each model. Models of the hub are fetched elsewhere. Knows nothing of jobs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from handler.clock import Clock
from handler.errors import StoreError, Usage
from handler.models.companions import Beside, ChosenUnavailable
from handler.models.mirror import Mirror
from handler.models.wares import COMPANIONS, WHISPERS, Wares
from handler.settings import Settings
from handler.store.base import GivesRanges, Store
from handler.store.opening import open_store
from pipeline.catalog import Model, resolve
from pipeline.companions import Companions
from pipeline.errors import ModelUnavailable
from pipeline.options import Options
from pipeline.shelf import is_bucket, source_folder

Open = Callable[[str, Clock], Store]


class Library:
    """``check`` is called again and again while a model is brought; what it raises ends that, and passes through."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        *,
        check: Callable[[], None] = lambda: None,
        told: Callable[[int], None] = lambda count: None,
        opened: Open = open_store,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._check = check
        self._told = told
        self._open = opened
        self._mirrors: dict[str, Mirror] = {}
        self._beside = Beside(settings, clock, lambda: self._mirror_of(COMPANIONS))

    def own(self) -> Model:
        """What a job gets that names no model. `ModelUnavailable`, `OutOfSpace`, and of a bucket `StoreError`."""
        settings = self._settings
        return resolve(settings.model, settings.models, settings.home, trusted=True, remote=self._remote())

    def named(self, name: str | None, *, trusted: bool = False) -> Model:
        """What a job gets that names this one, or none. ``trusted``: the operator named it, so it may be a path.
        `ModelUnavailable`, `OptionsError`, `OutOfSpace`: a bucket's trouble is a model that is not here.
        """
        settings = self._settings
        try:
            if name is None:
                return self.own()
            return resolve(
                name, settings.models, settings.home, trusted=trusted, default=settings.model, remote=self._remote()
            )
        except StoreError as error:
            raise ModelUnavailable(
                f"no model can be had from {settings.models}: {error.message}", error.hint
            ) from error

    def companions(self, options: Options | None = None) -> Companions:
        """The models beside the recogniser; those that a job with these options uses are on this machine then. A bucket
        that does not answer is a model that is not here: nothing is published poorer for that.

        `ChosenUnavailable`: one that the operator named is not there. `OutOfSpace`.
        """
        try:
            return self._beside.all() if options is None else self._beside.for_job(options)
        except StoreError as error:
            raise ChosenUnavailable(
                f"no model can be had from {self._settings.models}: {error.message}", error.hint
            ) from error

    def _remote(self) -> Mirror | None:
        return self._mirror_of(WHISPERS)

    def _mirror_of(self, wares: Wares) -> Mirror | None:
        if not is_bucket(self._settings.models):
            return None
        mirror = self._mirrors.get(wares.record)
        if mirror is None:
            url = self._settings.models or ""
            mirror = self._mirrors[wares.record] = mirror_of(
                url, self._settings, self._clock, self._check, self._told, self._open, wares=wares
            )
        return mirror


def mirror_of(
    url: str,
    settings: Settings,
    clock: Clock,
    check: Callable[[], None] = lambda: None,
    told: Callable[[int], None] = lambda count: None,
    opened: Open = open_store,
    folder: Path | None = None,
    wares: Wares = WHISPERS,
) -> Mirror:
    """What brings models of one sort out of the bucket at ``url``; into ``folder``, or that bucket's own. `Usage`."""
    place = folder or source_folder(url, settings.home)
    assert place is not None
    return Mirror(bucket_at(url, clock, opened), place, clock, check=check, told=told, wares=wares)


def bucket_at(url: str, clock: Clock, opened: Open = open_store) -> GivesRanges:
    """The store at ``url``. `Usage` if it is none that models can come out of in parts."""
    store = opened(url, clock)
    if not isinstance(store, GivesRanges):
        raise Usage(f"{url} is no bucket that models can be brought from", "Give s3://BUCKET/PREFIX.")
    return store
