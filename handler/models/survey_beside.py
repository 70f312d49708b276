"""The models beside the recogniser, for `survey`: on this machine, in a bucket, and those known only by name.

Takes the settings' sources; gives one `Entry` for each revision. Reads headers, records and sizes, and with ``verify``
every byte that is here. Knows nothing of how it is shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from handler.errors import NotFound
from handler.models.entry import Entry, gathered
from handler.models.mirror import Mirror
from pipeline.aligners import AlignerModel
from pipeline.beside import Companion, Found, Problem, damage, file_of, kind_of, licence_of, look
from pipeline.companions import folders_of, places
from pipeline.errors import ModelUnavailable
from pipeline.known import KNOWN, UNKNOWN, Kind
from pipeline.records import Record, own_files, version_of

_BACKENDS: dict[Kind, Any] = {"separator": "demucs", "aligner": "nemo", "sortformer": "nemo", "voices": "nemo"}


def survey_beside(models: str | None, home: Path, bucket: Mirror | None, *, verify: bool) -> list[Entry]:
    """All of them, by kind and name. Errors of the store for a bucket that cannot be read."""
    found = gathered(
        _local(models, home, verify=verify), _in_bucket(bucket, verify=verify) if bucket is not None else ()
    )
    there = {entry.name for entry in found}
    rows = [*found, *(_known(name) for name in KNOWN if name not in there)]
    return sorted(rows, key=lambda entry: (_KINDS.index(entry.kind), entry.name, not entry.current, entry.version))


_KINDS = ("separator", "aligner", "sortformer", "voices", "unknown")


def _local(models: str | None, home: Path, *, verify: bool) -> Iterator[Entry]:
    seen: set[tuple[str, Path]] = set()  # a name's folder, and the revision that it is a link to
    for shelf in folders_of(models, home):
        for place in places(shelf):
            if (place.name, place.path) in seen:
                continue
            seen.add((place.name, place.path))
            found = look(place.path, place.name)
            if found is not None:
                yield _here(found, current=place.current, verify=verify)


def _here(found: Found, *, current: bool, verify: bool) -> Entry:
    if isinstance(found, Problem):
        return Entry(
            name=found.name, kind=_KIND_OF[found.role], backend="", size=None, languages="", licence=UNKNOWN,
            where=("local",), folder=found.folder, current=current, problem=f"{found.message}. {found.hint}",
        )  # fmt: skip
    files = own_files(kind_of(found), file_of(found))
    return Entry(
        name=found.info.name,
        kind=kind_of(found),
        backend=_backend(found),
        size=sum((Path(found.folder) / file).stat().st_size for file in files),
        languages=", ".join(found.record.languages) if isinstance(found, AlignerModel) else "",
        licence=licence_of(found),
        revision=found.info.revision,
        version=found.info.version,
        where=("local",),
        folder=str(found.folder),
        current=current,
        problem=damage(found) if verify else "",
    )


_KIND_OF: dict[str | None, Any] = {
    "separator": "separator", "aligner": "aligner", "diarizer": "sortformer", None: "unknown"
}  # fmt: skip


def _backend(found: Companion | AlignerModel) -> Any:
    return found.record.backend if isinstance(found, AlignerModel) else _BACKENDS[found.kind]


def _in_bucket(bucket: Mirror, *, verify: bool) -> Iterator[Entry]:
    for name in bucket.list():
        try:
            record = bucket.record(name)
        except NotFound:  # gone since the listing
            continue
        except ModelUnavailable as error:
            yield Entry(
                name=name, kind="unknown", backend="", size=None, languages="", licence=UNKNOWN, where=("bucket",),
                problem=error.message,
            )  # fmt: skip
            continue
        assert isinstance(record, Record)  # of this mirror's sort
        assert record.kind is not None  # or it is none that can be used
        yield Entry(
            name=name,
            kind=record.kind,
            backend=_BACKENDS[record.kind],
            size=sum(record.files.values()),
            languages=", ".join(record.languages),
            licence=record.licence or UNKNOWN,
            revision=record.revision,
            version=version_of(record.revision, record.commit),
            where=("bucket",),
            problem=bucket.lacks(name, record) if verify else "",
        )


def _known(name: str) -> Entry:
    known = KNOWN[name]
    return Entry(
        name=name, kind=known.kind, backend=_BACKENDS[known.kind], size=known.size,
        languages=", ".join(known.languages), licence=known.licence, where=("hub",),
    )  # fmt: skip
