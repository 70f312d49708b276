"""Models out of a bucket onto this machine's disk, each revision once, whole and checked.

Takes a store that holds ``<name>/dropscribe-model.json`` records and the files that they name, and a folder; gives the
folders of models (`pipeline.shelf.Remote`). A bucket is asked once for each model in the life of a `Mirror`: what it
gave then is kept, so that a running worker never changes its model by itself. Knows nothing of what a model is for.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from handler.clock import Clock
from handler.errors import Changed, NotFound, Unavailable
from handler.models.parts import PART, THREADS, Parts, download
from handler.models.places import NAME, PARTIAL, held, holds, mean, place_of, put_in_place, sizes
from handler.models.wares import WHISPERS, AnyRecord, Wares
from handler.store.base import GivesRanges
from pipeline.errors import ModelUnavailable, OutOfSpace
from pipeline.family import order, pinned

log = logging.getLogger(__name__)

_SLACK = 64 << 20  # bytes that a disk must have free beside the model
_ABSENT_SECONDS = 60.0  # for which a model that is not there is not asked for again: recordings may name any
_ABSENT = 1000  # such names that are remembered


class Mirror:
    """``check`` is called again and again during a download; what it raises ends that, and passes through. ``told``:
    bytes that arrived, or were there already.
    """

    def __init__(
        self,
        store: GivesRanges,
        folder: Path,
        clock: Clock,
        *,
        check: Callable[[], None] = lambda: None,
        told: Callable[[int], None] = lambda count: None,
        part: int = PART,
        threads: int = THREADS,
        wares: Wares = WHISPERS,
    ) -> None:
        self._store = store
        self._folder = folder
        self._clock = clock
        self._check = check
        self._told = told
        self._part = part
        self._threads = threads
        self._wares = wares
        self._records: dict[str, AnyRecord | None] = {}  # what the bucket said; None: it could not be asked
        self._names: tuple[str, ...] | None = None
        self._brought: dict[str, Path] = {}
        self._absent: dict[str, float] = {}  # names to this machine's monotonic seconds
        self._lock = threading.Lock()  # held while a model is brought

    # ── what there is ────────────────────────────────────────────────────────────────────────────────────────────────

    def names(self) -> Sequence[str]:
        """All models in the bucket, and those of it that are here if it does not answer. `AccessDenied`."""
        if self._names is None:
            try:
                self._names = tuple(sorted(self.list(), key=order))
            except Unavailable as error:
                here = self._here()
                if not here:
                    raise
                log.warning("%s: the models that came from there before are used", error.message)
                self._names = here
        return self._names

    def list(self) -> list[str]:
        """The names of all models in the bucket, as it says now. `Unavailable`, `AccessDenied`."""
        found = set()
        for info in self._store.list(""):
            name, slash, file = info.key.partition("/")
            if slash and file == self._wares.record and NAME.fullmatch(name):
                found.add(name)
        return sorted(found)

    def has(self, name: str) -> bool:
        """Whether the bucket has that model, or had it when it was brought here and does not answer now."""
        if name in self._brought or name in (self._names or ()):
            return True
        if not NAME.fullmatch(name):
            return False
        now = self._clock.monotonic()
        if now - self._absent.get(name, -_ABSENT_SECONDS) < _ABSENT_SECONDS:
            return False
        try:
            return self._record(name) is not None or bool(self._local(name))
        except NotFound:
            if len(self._absent) >= _ABSENT:
                self._absent.clear()
            self._absent[name] = now
            return False

    def record(self, name: str) -> AnyRecord:
        """What the bucket says now of a model. `ModelUnavailable` if that is nothing that can be used; `NotFound`."""
        body = self._store.get(f"{name}/{self._wares.record}").body
        try:
            return self._wares.parse(body, f"{self._store.url}/{name}")
        except ModelUnavailable as error:
            raise ModelUnavailable(error.message, self._push_again(name)) from error

    def lacks(self, name: str, record: AnyRecord) -> str:
        """Which file of the record the bucket has not got, or in another size: one line, empty if it has all."""
        for file, size in sorted(record.files.items()):
            try:
                found = self._store.head(_key(name, record, file)).size
            except NotFound:
                return f"there is no {file}"
            if found != size:
                return f"{file} has {found:,} bytes instead of {size:,}"
        return ""

    # ── bringing it ──────────────────────────────────────────────────────────────────────────────────────────────────

    def bring(self, name: str, pin: str | None) -> Path:
        """See `pipeline.shelf.Remote`. The folder of that revision: a later one gets another folder."""
        place = self._at_hand(name)
        if place is None:
            with self._lock:
                place = self._at_hand(name)  # brought by another thread meanwhile
                if place is None:
                    place = self._brought[name] = self._current(name)
        if pin is not None and not (now := self._wares.revision(place)).startswith(pin):
            raise ModelUnavailable(
                f"{self._store.url} has the model {name} at the revision {now[:12]}, not {pin}",
                f"Ask for {pinned(name, now[:12])}, or push the other one.",
            )
        return place

    def _at_hand(self, name: str) -> Path | None:
        """Where it was brought to. Without the lock: whoever has its model does not wait while another one comes."""
        place = self._brought.get(name)
        return None if place is None or not self._wares.whole(place) else place

    def pull(self, name: str) -> Path:
        """The model as it is in the bucket now, from now on what its name means here. `ModelUnavailable`,
        `OutOfSpace`, `NotFound`, `AccessDenied`, `Unavailable`.
        """
        return self._bring(name, self.record(name))

    def known(self, name: str) -> AnyRecord:
        """What the bucket said the first time; of the one that is here, where it does not answer. `NotFound`,
        `ModelUnavailable`.
        """
        record = self._record(name)
        return self._wares.describe(self._local(name)[0].resolve()) if record is None else record

    def place(self, name: str, record: AnyRecord) -> Path:
        """Where that model lies, or will."""
        return place_of(self._folder, name, record.revision)

    def _current(self, name: str) -> Path:
        record = self._record(name)
        if record is not None:
            return self._bring(name, record)
        return self._local(name)[0].resolve()

    def _record(self, name: str) -> AnyRecord | None:
        """As the bucket says the first time; None if it does not answer, and the model is here. `NotFound`."""
        if name not in self._records:
            try:
                self._records[name] = self.record(name)
            except Unavailable as error:
                if not self._local(name):
                    raise
                log.warning("%s: the model %s is used as it came from there before", error.message, name)
                self._records[name] = None
        return self._records[name]

    def _here(self) -> tuple[str, ...]:
        return self._wares.names(self._folder) if self._folder.is_dir() else ()

    def _local(self, name: str) -> tuple[Path, ...]:
        return self._wares.local(self._folder, name) if self._folder.is_dir() else ()

    def _bring(self, name: str, record: AnyRecord) -> Path:
        place = place_of(self._folder, name, record.revision)
        try:
            with held(self._folder, name, self._clock, self._check):
                if holds(place, record, self._wares):
                    self._told(sum(record.files.values()))
                else:
                    self._fetch(name, record, place)
                mean(self._folder, name, place, self._wares)
        except OSError as error:
            if OutOfSpace.explains(error):
                raise self._full(name, record) from error
            raise ModelUnavailable(
                f"the model {name} cannot be written to {self._folder}: {error.strerror or error}",
                "Set DROPSCRIBE_HOME to a folder that this user may write to.",
            ) from error
        return place

    def _fetch(self, name: str, record: AnyRecord, place: Path) -> None:
        log.info("bringing the model %s (%s) from %s", name, record.revision[:12], self._store.url)
        partial = place.with_name(f"{place.name}{PARTIAL}")
        partial.mkdir(parents=True, exist_ok=True)
        there = sum((partial / file).stat().st_blocks * 512 for file in sizes(partial, record))
        if shutil.disk_usage(partial).free + there < sum(record.files.values()) + _SLACK:
            raise self._full(name, record)
        for file in sorted(record.files):
            self._file(name, record, file, partial / file)
        for entry in list(partial.iterdir()):
            if entry.name not in record.files:  # notes of `parts`
                entry.unlink()
        (partial / self._wares.record).write_bytes(record.model_copy(update={"at": ""}).dump())
        put_in_place(partial, place)

    def _file(self, name: str, record: AnyRecord, file: str, path: Path) -> None:
        key = _key(name, record, file)
        url = f"{self._store.url}/{key}"
        try:
            info = self._store.head(key)
            if info.size != record.files[file]:
                raise self._other(url, name, f"has {info.size:,} bytes instead of {record.files[file]:,}")
            while True:
                resumed = download(
                    self._store,
                    info,
                    path,
                    self._clock,
                    check=self._check,
                    told=self._told,
                    part=self._part,
                    threads=self._threads,
                )
                if _sha256(path) == record.sha256[file]:
                    return
                Parts(path, info.size, self._part).forget()
                path.unlink()
                if not resumed:
                    raise self._other(url, name, "does not have the recorded checksum")
                self._told(-info.size)  # what an earlier try left may have been damaged by its end
        except NotFound as error:
            raise self._other(url, name, "is not there") from error
        except Changed as error:
            raise self._other(url, name, "is being replaced") from error

    # ── words ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _other(self, url: str, name: str, what: str) -> ModelUnavailable:
        return ModelUnavailable(f"{url} {what}", self._push_again(name))

    def _push_again(self, name: str) -> str:
        return f"Push the model again: `dropscribe models push {name} {self._store.url}`."

    def _full(self, name: str, record: AnyRecord) -> OutOfSpace:
        total = sum(record.files.values())
        return OutOfSpace(
            f"no space left in {self._folder} for the model {name} of {total:,} bytes",
            "Free space there, or set DROPSCRIBE_HOME to a larger disk. What arrived is kept.",
        )


def _key(name: str, record: AnyRecord, file: str) -> str:
    return "/".join(part for part in (name, record.at, file) if part)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
