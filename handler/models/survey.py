"""What models there are: on this machine, in a bucket, and of those that are known only by name.

Takes the settings' sources; gives one `Entry` for each revision of each model, best first. Reads records and sizes, and
with ``verify`` every byte that is here. Knows nothing of how it is shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from handler.errors import NotFound
from handler.models.entry import Entry, gathered
from handler.models.mirror import Mirror
from handler.models.survey_beside import survey_beside
from pipeline.catalog import resolve
from pipeline.errors import ModelUnavailable
from pipeline.family import FAMILY, SPHINX, UNKNOWN, order
from pipeline.shelf import Shelf
from pipeline.weights import Record, damage, identity, missing, read_record, version_of

ENGLISH = "English"
MULTILINGUAL = "multilingual"


def survey(
    models: str | None, home: Path, bucket: Mirror | None, beside: Mirror | None = None, *, verify: bool = False
) -> list[Entry]:
    """All of them; ``beside``: the bucket's models beside the recogniser. `ModelUnavailable` for folders, and errors of
    the store for buckets, that cannot be read.
    """
    found = gathered(
        _local(models, home, verify=verify), _in_bucket(bucket, verify=verify) if bucket is not None else ()
    )
    there = {entry.name for entry in found}
    rows = sorted(found, key=lambda entry: (order(entry.name), not entry.current, entry.version))
    whispers = [*rows, *_package(), *(_known(name) for name in FAMILY if name not in there)]
    return [*whispers, *survey_beside(models, home, beside, verify=verify)]


def _local(models: str | None, home: Path, *, verify: bool) -> Iterator[Entry]:
    shelf = Shelf(models, home)
    for name in shelf.local():
        seen: set[Path] = set()
        for number, link in enumerate(shelf.folders(name)):
            folder = link.resolve()
            if folder in seen:
                continue
            seen.add(folder)
            absent = missing(folder)
            revision, version = ("", "") if absent else identity(folder)
            problem = damage(folder) if verify else f"there is no {' and no '.join(absent)}" if absent else ""
            record = read_record(folder)
            yield Entry(
                name=name,
                backend="whisper",
                size=sum(file.stat().st_size for file in folder.iterdir() if file.is_file()),
                languages=_languages(name, folder),
                licence=_licence(name, record),
                revision=revision,
                version=version,
                where=("local",),
                folder=str(folder),
                current=number == 0,
                quantization=record.quantization if record else "",
                converted_from=record.converted_from if record else "",
                problem=problem,
            )


def _in_bucket(bucket: Mirror, *, verify: bool) -> Iterator[Entry]:
    for name in bucket.list():
        try:
            record = bucket.record(name)
        except NotFound:  # gone since the listing
            continue
        except ModelUnavailable as error:
            yield Entry(
                name=name, backend="whisper", size=None, languages=_languages(name), licence=_licence(name, None),
                where=("bucket",), problem=error.message,
            )  # fmt: skip
            continue
        assert isinstance(record, Record)  # of this mirror's sort
        yield Entry(
            name=name,
            backend="whisper",
            size=sum(record.files.values()),
            languages=_languages(name),
            licence=_licence(name, record),
            revision=record.revision,
            version=version_of(record.revision, record.commit),
            where=("bucket",),
            quantization=record.quantization,
            converted_from=record.converted_from,
            problem=bucket.lacks(name, record) if verify else "",
        )


def _package() -> Iterator[Entry]:
    try:
        sphinx = resolve(SPHINX, None, Path())
    except ModelUnavailable:
        return
    yield Entry(
        name=sphinx.name,
        backend="sphinx",
        size=None,
        languages=ENGLISH,
        licence="BSD-2-Clause",
        revision=sphinx.revision,
        version=sphinx.version,
        where=("package",),
    )


def _known(name: str) -> Entry:
    known = FAMILY[name]
    return Entry(
        name=name,
        backend="whisper",
        size=known.size,
        languages=_languages(name),
        licence=known.licence,
        where=("hub",),
    )


def _licence(name: str, record: Record | None) -> str:
    """Of the weights. Those of one of our names that came from elsewhere than we know may have any."""
    known = FAMILY.get(name)
    if known is None or (record is not None and record.repo != known.repo):
        return UNKNOWN
    return known.licence


def _languages(name: str, folder: Path | None = None) -> str:
    if (known := FAMILY.get(name)) is not None:
        return ENGLISH if known.english else MULTILINGUAL
    try:
        config = json.loads((folder / "config.json").read_bytes()) if folder is not None else {}
        count = len(config["lang_ids"])
    except (OSError, ValueError, KeyError, TypeError):
        return UNKNOWN
    return MULTILINGUAL if count > 1 else ENGLISH
