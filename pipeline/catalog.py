"""One name for a model in, one `Model` out: which backend, which folder, and the digest of its weights.

Takes what a person wrote (``auto``, ``sphinx``, ``large-v3``, ``nova-3``, …) and where models are kept; reads folders,
never the network. Knows nothing of how a model runs: no torch, numpy or ctranslate2 here, because the handler imports
it too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from pipeline.errors import ModelUnavailable, OptionsError
from pipeline.types import Frozen, ModelInfo, Warning
from pipeline.weights import identity, is_model, missing

AUTO = "auto"
SPHINX = "sphinx"
HUB = "hub"
SUGGESTED = "large-v3-turbo"  # what to fetch when nothing is there: close to large-v3, several times faster

# Whisper in CTranslate2's format, best first: the order in which `auto` chooses. The distilled and ``.en`` ones know
# English only, so they come after a multilingual one of their class.
REPOSITORIES: Mapping[str, str] = MappingProxyType(
    {
        "large-v3": "Systran/faster-whisper-large-v3",
        "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
        "large-v2": "Systran/faster-whisper-large-v2",
        "large-v1": "Systran/faster-whisper-large-v1",
        "medium": "Systran/faster-whisper-medium",
        "distil-large-v3.5": "distil-whisper/distil-large-v3.5-ct2",
        "distil-large-v3": "Systran/faster-distil-whisper-large-v3",
        "distil-large-v2": "Systran/faster-distil-whisper-large-v2",
        "medium.en": "Systran/faster-whisper-medium.en",
        "distil-medium.en": "Systran/faster-distil-whisper-medium.en",
        "small": "Systran/faster-whisper-small",
        "small.en": "Systran/faster-whisper-small.en",
        "distil-small.en": "Systran/faster-distil-whisper-small.en",
        "base": "Systran/faster-whisper-base",
        "base.en": "Systran/faster-whisper-base.en",
        "tiny": "Systran/faster-whisper-tiny",
        "tiny.en": "Systran/faster-whisper-tiny.en",
    }
)
ALIASES: Mapping[str, str] = MappingProxyType({"turbo": "large-v3-turbo", "large": "large-v3"})

# Deepgram's own names, families with any option behind them: what is new there must not fail here.
_DEEPGRAM = re.compile(
    r"(nova|nova-\d+|enhanced|base|flux|general)(-[a-z0-9]+)*|(whisper-cloud|whisper(-(tiny|base|small|medium|large))?)"
    r"|meeting|phonecall|finance|conversationalai|voicemail|video|medical|drivethru|automotive|custom"
)
# What its whisper-large may be: the models of that size, best first.
_LARGE = ("large-v3", "large-v2", "large-v1")


class Model(Frozen):
    """A model that is ready to load.

    ``folder``: where the weights lie; None for sphinx, whose weights come with its wheel. ``revision``: digest of the
    weights' identity. ``automatic``: nobody chose sphinx, there was nothing else. ``warnings``: what a reader of the
    result must know about the choice.
    """

    name: str
    backend: Literal["whisper", "sphinx"]
    folder: str | None = None
    revision: str
    version: str
    arch: str
    automatic: bool = False
    warnings: tuple[Warning, ...] = ()

    def info(self) -> ModelInfo:
        return ModelInfo(name=self.name, version=self.version, arch=self.arch, revision=self.revision)


def resolve(
    name: str | None, models: str | None, home: Path, *, trusted: bool = False, default: str | None = None
) -> Model:
    """The model that ``name`` means on this machine.

    ``models``: the setting DROPSCRIBE_MODELS, a folder of model folders, ``hub``, or None. ``home``: the folder where
    `fetch` puts models. ``trusted``: the name comes from the operator (a setting, the command line), so it may be a
    path; a name out of a file's options never may. ``default``: the operator's model, in whose place the best on disk
    is taken if it is None; it stands in for the names of Deepgram's models.

    `OptionsError`: no such model, or a source that is not built yet. `ModelUnavailable`: a model we know, but its
    weights are not here.
    """
    _refuse_s3(name, models)
    if trusted and name and (name.startswith(("/", "./", "../")) or is_model(Path(name))):
        return whisper_in(Path(name), Path(name).absolute().name)
    wanted = (name or AUTO).strip().lower()
    if wanted == SPHINX:
        return _sphinx()
    shelf = _shelf(models, home)
    if wanted == AUTO:
        return _default(shelf, models)
    canonical = canonical_name(wanted)
    if canonical in shelf:
        return _whisper(canonical, _complete(shelf[canonical], canonical))
    if _DEEPGRAM.fullmatch(wanted) and (wanted not in REPOSITORIES or shelf):
        same = _same_size(wanted, shelf)
        if same is not None:
            return _whisper(same, _complete(shelf[same], same))
        return _instead_of(wanted, resolve(default, models, home, trusted=True))
    if canonical in REPOSITORIES:
        raise ModelUnavailable(
            f"the model {canonical} is not on this machine", f"Run `{fetch_command(canonical)}`{_or_folder(models)}."
        )
    known = [AUTO, SPHINX, *ALIASES, *REPOSITORIES, *(n for n in shelf if n not in REPOSITORIES)]
    raise OptionsError(
        f"model: there is no model called {_short(name)}", f"Known are: {', '.join(known)}; or a name of Deepgram's."
    )


def leaves_choice(name: str | None) -> bool:
    """Whether a job that gives this name gets the worker's own model: no name at all, and most of Deepgram's."""
    wanted = (name or "").strip().lower()
    named = wanted in REPOSITORIES or wanted.startswith("whisper-")
    return not wanted or (not named and _DEEPGRAM.fullmatch(wanted) is not None)


def canonical_name(name: str) -> str:
    """The name under which a model's folder is kept: ``turbo`` is ``large-v3-turbo``."""
    folder = folder_name(name)
    return ALIASES.get(folder, folder)


def folder_name(repo: str) -> str:
    """``owner/name`` as the name of one folder; it cannot be taken for a member of the family."""
    return repo.strip().lower().replace("/", "--")


def fetch_command(name: str) -> str:
    return f"python -m pipeline fetch {name}"


def whisper_in(folder: Path, name: str) -> Model:
    """The model in one folder. `ModelUnavailable` if a file that it needs is missing."""
    return _whisper(name, _complete(folder, name))


def on_disk(models: str | None, home: Path) -> tuple[Model, ...]:
    """Every Whisper model on this machine that can be loaded, best first."""
    shelf = _shelf(models, home)
    return tuple(_whisper(name, folder) for name, folder in shelf.items() if not missing(folder))


# ── what is there ────────────────────────────────────────────────────────────────────────────────────────────────────


def _shelf(models: str | None, home: Path) -> dict[str, Path]:
    """The model folders on this machine by canonical name, best first; those of ``models`` hide those of ``home``."""
    found: dict[str, Path] = {}
    if models and models != HUB:
        source = Path(models)
        if not source.is_dir():
            raise ModelUnavailable(
                f"DROPSCRIBE_MODELS is {models}, and there is no such folder",
                "Create or mount it, or correct the setting.",
            )
        # A person may point at the one model instead of at the folder around it.
        found.update({_named(source): source} if is_model(source) else dict(_models_in(source)))
    for name, folder in _models_in(home):
        found.setdefault(name, folder)
    ranks = {name: rank for rank, name in enumerate(REPOSITORIES)}
    return dict(sorted(found.items(), key=lambda item: (ranks.get(item[0], len(ranks)), item[0])))


def _models_in(folder: Path) -> Iterator[tuple[str, Path]]:
    try:
        entries = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        reason = f"the models folder {folder} cannot be read: {error.strerror}"
        raise ModelUnavailable(reason, "Give this user the permission to read it.") from error
    for entry in entries:
        if not entry.name.startswith(".") and not entry.name.endswith(".partial") and is_model(entry):
            yield _named(entry), entry


def _named(folder: Path) -> str:
    """A folder may carry our name for the model, an alias (``turbo``), or its repository's."""
    for name, repo in REPOSITORIES.items():
        if folder.name.lower() == repo.split("/")[1].lower():
            return name
    return canonical_name(folder.name)


def _complete(folder: Path, name: str) -> Path:
    if not folder.is_dir():
        raise ModelUnavailable(
            f"there is no model folder {name}", "Give the path of a Whisper model in CTranslate2's format."
        )
    if absent := missing(folder):
        raise ModelUnavailable(
            f"the model {name} is incomplete: its folder {folder} has no {' and no '.join(absent)}", _refetch(name)
        )
    return folder


# ── what is chosen ───────────────────────────────────────────────────────────────────────────────────────────────────


def _default(shelf: Mapping[str, Path], models: str | None) -> Model:
    for candidate, folder in shelf.items():
        if not missing(folder):
            return _whisper(candidate, folder)
    for candidate, folder in shelf.items():
        _complete(folder, candidate)  # weights are there, but broken: say so, and never fall to sphinx over it
    if models:
        raise ModelUnavailable(
            f"DROPSCRIBE_MODELS is {models}, and there are no Whisper weights on this machine",
            f"Run `{fetch_command(SUGGESTED)}`{_or_folder(models)}.",
        )
    message = (
        "No Whisper weights are on this machine, so pocketsphinx is used, whose transcripts are poor, English only, "
        "and without punctuation. "
        f"Run `{fetch_command(SUGGESTED)}` for a good one."
    )
    warning = Warning(parameter="model", type="fallback_model", message=message)
    return _sphinx().model_copy(update={"automatic": True, "warnings": (warning,)})


def _same_size(wanted: str, shelf: Mapping[str, Path]) -> str | None:
    """The Whisper on this machine that Deepgram's ``whisper-<size>`` is."""
    size = wanted.removeprefix("whisper-")
    if size == wanted:
        return None
    return next((name for name in (_LARGE if size == "large" else (size,)) if name in shelf), None)


def _instead_of(wanted: str, model: Model) -> Model:
    message = f"{wanted} is a model of Deepgram's and does not run here; {model.name} was used instead."
    warning = Warning(parameter="model", type="unsupported_model", message=message)
    return model.model_copy(update={"warnings": (warning, *model.warnings)})


@lru_cache(maxsize=1)  # what is installed does not change while a process runs, and every job asks
def _sphinx() -> Model:
    try:
        version = metadata.version("pocketsphinx")
    except metadata.PackageNotFoundError as error:
        raise ModelUnavailable("pocketsphinx is not installed", "Install it: `pip install pocketsphinx`.") from error
    revision = hashlib.sha256(f"pocketsphinx {version} en-us".encode()).hexdigest()
    return Model(name=SPHINX, backend="sphinx", folder=None, revision=revision, version=version, arch="pocketsphinx")


def _whisper(name: str, folder: Path) -> Model:
    folder = folder.absolute()
    revision, version = identity(folder)
    return Model(name=name, backend="whisper", folder=str(folder), revision=revision, version=version, arch="whisper")


# ── words ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _refuse_s3(*values: str | None) -> None:
    if any(value and value.strip().lower().startswith("s3://") for value in values):
        raise OptionsError(
            "models in an s3:// prefix are not built yet", "Point DROPSCRIBE_MODELS at a folder, or at the hub."
        )


def _or_folder(models: str | None) -> str:
    return f", or put its folder into {models}" if models and models != HUB else ""


def _refetch(name: str) -> str:
    canonical = canonical_name(name)
    return (
        f"Delete the folder and run `{fetch_command(canonical)}`."
        if canonical in REPOSITORIES
        else "Copy the model again, with all of its files."
    )


def _short(name: str | None) -> str:
    text = repr(name)
    return text if len(text) <= 80 else text[:76] + "…" + text[0]
