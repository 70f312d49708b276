"""Fetch a model beside the recogniser from the hub into the folder of models; in `fetch`'s process, not the engine's.

Takes one of the names in `pipeline.known`, gives the model as it then lies there, with a record of where it came from.
One file of one commit is fetched. A separator is converted to what the engine loads; an aligner gets the record of its
languages. Nothing of what is fetched is run, and no pickle is opened here.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from pipeline import aligners
from pipeline.aligners import AlignerModel
from pipeline.beside import Companion, Problem, described, kind_of, look
from pipeline.errors import ModelUnavailable, OptionsError, PipelineError
from pipeline.family import pinned, split_pin
from pipeline.known import KNOWN, Known, known_name
from pipeline.models.fetch import PARTIAL, Download, download_from_hub, failed
from pipeline.records import RECORD, own_files

log = logging.getLogger(__name__)

_CONVERTED = "converted"


def fetch_companion(name: str, home: Path, *, download: Download | None = None) -> Companion | AlignerModel:
    """The model ``name`` in ``home``, downloaded unless it is there. With ``@commit`` it is that one, else the one that
    `KNOWN` names. A download that was cut off is taken up again.

    `OptionsError`: no such name. `ModelUnavailable`: the hub cannot be reached or has not got it; what came is not what
    it should be; another revision is in its place; a separator needs the extra ``models`` to be converted.
    `OutOfSpace`: the disk is full.
    """
    bare, pin = split_pin(name)
    called = known_name(bare)
    if called is None:
        raise OptionsError(f"there is no model called {bare!r}", f"Known are: {', '.join(KNOWN)}.")
    known, folder = KNOWN[called], home / called
    if (there := _there(folder, called)) is not None:
        return _same(there, pin, folder)
    partial = home / f"{called}{PARTIAL}"
    try:
        partial.mkdir(parents=True, exist_ok=True)
        log.info("fetching %s from %s", pinned(called, pin), known.repo)
        asked = pin or known.commit
        commit = (download or download_from_hub)(known.repo, partial, (known.file,), asked)
        if not commit.startswith(asked):
            raise ModelUnavailable(f"{known.repo} gave the commit {commit}, not {asked}", "Fetch again.")
        if not (partial / known.file).is_file():
            raise ModelUnavailable(f"{known.repo} has no {known.file} at {commit[:12]}", "Name another commit.")
        _prepare(partial, known)
        _record(partial, called, known, commit)
        _put_in_place(partial, folder)
    except PipelineError:
        raise
    except Exception as error:  # the hub's client raises a dozen kinds, from its own and from two HTTP libraries
        raise failed(pinned(called, pin), known.repo, home, error) from error
    found = _there(folder, called)
    if found is None:
        raise ModelUnavailable(f"what lies in {folder} now is not what was fetched", "Remove it, then fetch again.")
    return found


def _there(folder: Path, name: str) -> Companion | AlignerModel | None:
    if not folder.is_dir():
        return None
    found = look(folder.resolve(), name)
    return found if isinstance(found, (Companion, AlignerModel)) else None


def _same(there: Companion | AlignerModel, pin: str | None, folder: Path) -> Companion | AlignerModel:
    record = described(there)
    if pin is None or record.commit.startswith(pin) or there.info.revision.startswith(pin):
        return there
    raise ModelUnavailable(
        f"{folder} has {there.info.name} at {there.info.version}, not {pin}", "Move that folder away, then fetch again."
    )


def _prepare(partial: Path, known: Known) -> None:
    """What was downloaded becomes what the engine loads; nothing else stays."""
    if known.kind == "separator":
        from pipeline.models.demucs_convert import convert_demucs

        converted = partial / _CONVERTED
        shutil.rmtree(converted, ignore_errors=True)
        convert_demucs(partial / known.file, converted)
        for made in converted.iterdir():
            made.replace(partial / made.name)
    if known.kind == "aligner":
        record = aligners.Record(backend="nemo", file=known.file, languages=known.languages, licence=known.licence)
        (partial / aligners.RECORD).write_text(record.model_dump_json(indent=1) + "\n")
    kept = own_files(known.kind, known.file)
    for entry in list(partial.iterdir()):
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name not in kept:
            entry.unlink()


def _record(partial: Path, name: str, known: Known, commit: str) -> None:
    """Written last. `ModelUnavailable` if the model is none of the kind that it should be."""
    found = look(partial, name)
    if not isinstance(found, (Companion, AlignerModel)) or kind_of(found) != known.kind:
        why = found.message if isinstance(found, Problem) else f"it is no {known.kind}"
        shutil.rmtree(partial, ignore_errors=True)  # not to be taken up again
        raise ModelUnavailable(f"what {known.repo} has at {commit[:12]} cannot be used: {why}", "Name another commit.")
    record = described(found).model_copy(update={"repo": known.repo, "commit": commit, "licence": known.licence})
    (partial / RECORD).write_bytes(record.dump())


def _put_in_place(partial: Path, folder: Path) -> None:
    """Readers see the whole model or none. Whoever comes second with the same model leaves the first one's; one that is
    not whole goes.
    """
    if folder.is_symlink():
        folder.unlink()
    elif folder.is_dir() and _there(folder, folder.name) is None:
        shutil.rmtree(folder)
    try:
        partial.rename(folder)
    except OSError:
        if _there(folder, folder.name) is None:
            raise
        shutil.rmtree(partial, ignore_errors=True)
