"""What lies in a folder of models beside the Whispers: a separator, an aligner, a Sortformer, a model of voices.

Takes an entry of such a folder, gives frozen facts or what is wrong with it. Weights say themselves what they are, as
far as they do: a ``.nemo`` names its class, a separator's ``config.json`` too, and an aligner has the record that its
languages stand in. `RECORD` is for what they do not say; a person can write it. Reads headers, and hashes what nobody
has vouched for. Knows nothing of which model a job gets.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pipeline import aligners
from pipeline.aligners import AlignerModel, aligner_in
from pipeline.errors import ModelUnavailable, WeightsChanged
from pipeline.headers import COPY, class_in, class_of, wrong_safetensors
from pipeline.known import LICENCES, UNKNOWN, Kind
from pipeline.records import (
    CONFIG,
    RECORD,
    SAFETENSORS,
    Record,
    digests,
    hash_of,
    own_files,
    read_record,
    revision,
    version_of,
)
from pipeline.types import Frozen, ModelInfo
from pipeline.weights import is_model

NEMO = ".nemo"

Role = Literal["separator", "aligner", "diarizer"]
ROLES: Mapping[Kind, Role] = {
    "separator": "separator", "aligner": "aligner", "sortformer": "diarizer", "voices": "diarizer"
}  # fmt: skip

_CLASSES: Mapping[str, Kind] = {
    "SortformerEncLabelModel": "sortformer",
    "EncDecSpeakerLabelModel": "voices",
    "EncDecCTCModel": "aligner",
    "EncDecCTCModelBPE": "aligner",
}
_ARCHES = {"separator": "htdemucs", "sortformer": "sortformer", "voices": "voices"}


class Companion(Frozen):
    """A model in a folder of this machine. ``file``: the weights, in ``folder``. ``info``: its revision is a digest of
    what is computed with, whatever the file is called.
    """

    kind: Literal["separator", "sortformer", "voices"]
    name: str
    folder: str
    file: str
    licence: str
    info: ModelInfo


class Problem(Frozen):
    """A model that is passed over: damaged, half there, or nothing that can be used. ``role``: what it would be good
    for, None where that cannot be told.
    """

    role: Role | None
    name: str
    folder: str
    message: str
    hint: str


Found = Companion | AlignerModel | Problem


def look(entry: Path, name: str | None = None) -> Found | None:
    """What the folder, or the bare ``.nemo``, is; None for a Whisper and for what is no model. ``name``: what it is
    called, where the folder's name does not say it.
    """
    bare = entry.suffix == NEMO and entry.is_file()
    folder = entry.parent if bare else entry
    called = name or (entry.stem if bare else entry.name.partition("@")[0])
    try:
        record = None if bare else read_record(folder)
        if bare:
            return _nemo(folder, entry.name, called, record)
        return _in_folder(folder, called, record)
    except ModelUnavailable as error:
        return Problem(role=_role_of(folder), name=called, folder=str(folder), message=error.message, hint=error.hint)
    except OSError as error:
        message = f"the model {called} in {folder} cannot be read: {error.strerror or error}"
        return Problem(role=_role_of(folder), name=called, folder=str(folder), message=message, hint=COPY)


def name_of(found: Found) -> str:
    return found.info.name if isinstance(found, AlignerModel) else found.name


def kind_of(found: Companion | AlignerModel) -> Kind:
    return "aligner" if isinstance(found, AlignerModel) else found.kind


def file_of(found: Companion | AlignerModel) -> str:
    """The weights' name in their folder."""
    return found.record.file if isinstance(found, AlignerModel) else found.file


def licence_of(found: Companion | AlignerModel) -> str:
    return found.record.licence if isinstance(found, AlignerModel) else found.licence


def described(found: Companion | AlignerModel) -> Record:
    """A record of the model as it lies there now, with sizes and checksums; what its own says of where it came from is
    kept. OSError.
    """
    folder = Path(found.folder)
    kind, file = kind_of(found), file_of(found)
    names = own_files(kind, file)
    old = _record_for(folder, file)
    return Record(
        kind=kind,
        file=file,
        licence=licence_of(found),
        languages=found.record.languages if isinstance(found, AlignerModel) else (),
        repo=old.repo if old is not None else "",
        commit=old.commit if old is not None else "",
        files={name: (folder / name).stat().st_size for name in names},
        sha256=digests(folder, names, old),
    )


def check_unchanged(one: Companion | AlignerModel) -> None:
    """Whether the weights that were chosen still lie there. `WeightsChanged` if others do, `ModelUnavailable` if they
    cannot be read.
    """
    folder, kind, file = Path(one.folder), kind_of(one), file_of(one)
    try:
        now = revision(kind, file, digests(folder, own_files(kind, file), _record_for(folder, file)))
    except OSError as error:
        message = f"the model {one.info.name} in {folder} cannot be read: {error.strerror or error}"
        raise ModelUnavailable(message, COPY) from error
    if now != one.info.revision:
        raise WeightsChanged(
            f"the weights in {folder} were changed while the worker ran: they are {now[:12]}, "
            f"not {one.info.revision[:12]}"
        )


def damage(found: Companion | AlignerModel) -> str:
    """What is wrong with the files, by the folder's record: one line, empty if nothing is known to be. Reads all of
    them. OSError.
    """
    folder = Path(found.folder)
    record = _record_for(folder, file_of(found))
    if record is None or not record.sha256:
        return ""
    wrong = [name for name, digest in record.sha256.items() if hash_of(folder / name) != digest]
    return f"{' and '.join(sorted(wrong))}: not the recorded checksum" if wrong else ""


# ── what it is ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _in_folder(folder: Path, name: str, record: Record | None) -> Found | None:
    kind = record.kind if record is not None else None
    if (kind is None and (folder / aligners.RECORD).is_file()) or kind == "aligner":
        return _aligner(folder, name, record)
    if kind is None and is_model(folder):
        return None
    if kind == "separator" or (kind is None and class_in(folder / CONFIG) == "HTDemucs"):
        return _separator(folder, name, record)
    files = sorted(path.name for path in folder.glob(f"*{NEMO}") if path.is_file())
    if record is not None and record.file:
        return _nemo(folder, record.file, name, record)
    if len(files) > 1:
        raise ModelUnavailable(
            f"{folder} has {len(files)} files of models: {', '.join(files)}", f"Name one as `file` in {RECORD}."
        )
    if files:
        return _nemo(folder, files[0], name, record)
    if record is not None:
        raise ModelUnavailable(f"there are no weights in {folder}", COPY)
    return None


def _separator(folder: Path, name: str, record: Record | None) -> Companion:
    _complete(folder, (CONFIG, SAFETENSORS), record)
    if class_in(folder / CONFIG) != "HTDemucs":
        raise ModelUnavailable(f"{folder / CONFIG} is not of an HTDemucs", COPY)
    if wrong := wrong_safetensors(folder / SAFETENSORS):
        raise ModelUnavailable(f"{folder / SAFETENSORS} is damaged: {wrong}", COPY)
    return _companion("separator", folder, SAFETENSORS, name, record)


def _aligner(folder: Path, name: str, record: Record | None) -> AlignerModel:
    if record is not None:
        _complete(folder, tuple(record.files), record)
    file = aligners.read_record(folder).file
    if file.endswith(NEMO) and _CLASSES.get(named := class_of(folder / file)) != "aligner":
        raise ModelUnavailable(f"{folder / file} is a {named}, which cannot align words", f"Correct {aligners.RECORD}.")
    found = aligner_in(folder, name, digests(folder, own_files("aligner", file), record))
    commit = record.commit if record is not None else ""
    info = found.info.model_copy(update={"version": version_of(found.info.revision, commit)})
    return found.model_copy(update={"info": info})


def _nemo(folder: Path, file: str, name: str, record: Record | None) -> Found:
    _complete(folder, (file,), record)
    found = class_of(folder / file)
    kind = _CLASSES.get(found)
    if record is not None and record.kind is not None and record.kind != kind:
        raise ModelUnavailable(f"{folder / file} is a {found}, not of the kind {record.kind}", f"Correct {RECORD}.")
    if kind is None:
        raise ModelUnavailable(f"{folder / file} is a {found}, which has no part in this pipeline", "Remove it.")
    if kind == "aligner" or kind == "separator":
        return Problem(
            role="aligner",
            name=name,
            folder=str(folder),
            message=f"{folder / file} could align words, but nothing says which languages it knows",
            hint=f"Put it into a folder of its own, and write a {aligners.RECORD} beside it.",
        )
    return _companion(kind, folder, file, name, record)


def _companion(
    kind: Literal["separator", "sortformer", "voices"], folder: Path, file: str, name: str, record: Record | None
) -> Companion:
    made = revision(kind, file, digests(folder, own_files(kind, file), record))
    commit = record.commit if record is not None else ""
    licence = (record.licence if record is not None else "") or LICENCES.get(Path(file).stem, UNKNOWN)
    info = ModelInfo(name=name, version=version_of(made, commit), arch=_ARCHES[kind], revision=made)
    return Companion(kind=kind, name=name, folder=str(folder), file=file, licence=licence, info=info)


def _complete(folder: Path, names: tuple[str, ...], record: Record | None) -> None:
    for name in {**dict.fromkeys(names), **(record.files if record is not None else {})}:
        path = folder / name
        if not path.is_file():
            raise ModelUnavailable(f"the model in {folder} is incomplete: there is no {name}", COPY)
        size = record.files.get(name) if record is not None else None
        if size is not None and path.stat().st_size != size:
            raise ModelUnavailable(
                f"{path} has {path.stat().st_size:,} bytes instead of {size:,}: it was changed or not copied whole",
                COPY,
            )


def _record_for(folder: Path, file: str) -> Record | None:
    """The folder's record, if it is of that file: a bare ``.nemo`` may lie beside another model's."""
    try:
        record = read_record(folder)
    except ModelUnavailable:
        return None
    return None if record is None or (record.file and record.file != file) else record


def _role_of(folder: Path) -> Role | None:
    """Of a model that cannot be read."""
    if (folder / aligners.RECORD).is_file():
        return "aligner"
    try:
        record = read_record(folder)
    except (ModelUnavailable, OSError):
        record = None
    if record is not None and record.kind is not None:
        return ROLES[record.kind]
    return "separator" if class_in(folder / CONFIG) == "HTDemucs" else None
