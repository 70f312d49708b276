"""One name for a model in, one `Model` out: which backend, which folder, and the digest of its weights.

Takes what a person wrote (``auto``, ``sphinx``, ``large-v3``, ``large-v3@0123456``, ``nova-3``, …) and where models
are kept; reads folders, never the network. Knows nothing of how a model runs: no torch, numpy or ctranslate2 here,
because the handler imports it too.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Literal

from pipeline.errors import ModelUnavailable, OptionsError
from pipeline.family import (
    ALIASES,
    AUTO,
    HUB,
    REPOSITORIES,
    SPHINX,
    SUGGESTED,
    canonical_name,
    fetch_command,
    folder_name,
    name_of_folder,
    pinned,
    short,
    split_pin,
)
from pipeline.shelf import Remote, Shelf, complete, is_bucket
from pipeline.types import Frozen, ModelInfo, Warning
from pipeline.weights import identity, is_model, missing

# What this module's users take from it, whichever part of the catalog it is of.
__all__ = [
    "ALIASES",
    "AUTO",
    "HUB",
    "REPOSITORIES",
    "SPHINX",
    "SUGGESTED",
    "Model",
    "Remote",
    "canonical_name",
    "fetch_command",
    "folder_name",
    "leaves_choice",
    "on_disk",
    "resolve",
    "whisper_in",
]

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
    name: str | None,
    models: str | None,
    home: Path,
    *,
    trusted: bool = False,
    default: str | None = None,
    remote: Remote | None = None,
) -> Model:
    """The model that ``name`` means on this machine; ``name@revision`` is that revision or an error.

    ``models``: the setting DROPSCRIBE_MODELS, a folder of model folders, ``s3://bucket/prefix``, ``hub``, or None.
    ``home``: the folder where `fetch` puts models. ``trusted``: the name comes from the operator (a setting, the
    command line), so it may be a path; a name out of a file's options never may. ``default``: the operator's model, in
    whose place the best on disk is taken if it is None; it stands in for the names of Deepgram's models. ``remote``:
    what brings models out of the bucket that ``models`` names; without it only those count that were brought before.

    `OptionsError`: no such model. `ModelUnavailable`: a model we know, but its weights are not here, or others are.
    What ``remote`` raises passes through.
    """
    if is_bucket(name):
        raise OptionsError(
            f"model: {short(name)} is an address, not a name",
            "Set DROPSCRIBE_MODELS to the prefix, and name a model in it.",
        )
    if trusted and name and (name.startswith(("/", "./", "../")) or is_model(Path(name))):
        return _at_path(name)
    wanted, pin = split_pin((name or AUTO).strip().lower())
    if wanted == SPHINX and pin is None:
        return _sphinx()
    shelf = Shelf(models, home, remote)
    if wanted == AUTO and pin is None:
        return _default(shelf, models)
    canonical = canonical_name(wanted)
    if canonical in shelf:
        return _whisper(canonical, shelf.folder(canonical, pin))
    if pin is None and _DEEPGRAM.fullmatch(wanted) and (wanted not in REPOSITORIES or shelf):
        same = _same_size(wanted, shelf)
        if same is not None:
            return _whisper(same, shelf.folder(same))
        return _instead_of(wanted, resolve(default, models, home, trusted=True, remote=remote))
    raise _not_here(name, pinned(canonical, pin), shelf, models, trusted)


def leaves_choice(name: str | None) -> bool:
    """Whether a job that gives this name gets the worker's own model: no name at all, and most of Deepgram's."""
    wanted = (name or "").strip().lower()
    named = wanted in REPOSITORIES or wanted.startswith("whisper-")
    return not wanted or (not named and _DEEPGRAM.fullmatch(wanted) is not None)


def whisper_in(folder: Path, name: str) -> Model:
    """The model in one folder. `ModelUnavailable` if a file that it needs is missing."""
    return _whisper(name, complete(folder, name))


def on_disk(models: str | None, home: Path) -> tuple[Model, ...]:
    """Every Whisper model on this machine that can be loaded, best first; each revision of it."""
    shelf = Shelf(models, home)
    found = []
    for name in shelf.local():
        folders = {folder.resolve(): folder for folder in shelf.folders(name) if not missing(folder)}
        found += [_whisper(name, folder) for folder in folders]
    return tuple(found)


# ── what is chosen ───────────────────────────────────────────────────────────────────────────────────────────────────


def _at_path(name: str) -> Model:
    folder, pin = Path(name), None
    if not folder.is_dir() and "@" in folder.name:
        path, pin = split_pin(name)
        folder = Path(path)
    folder = folder.absolute()
    model = whisper_in(folder.resolve(), name_of_folder(folder.name) if "@" in folder.name else folder.name)
    if pin is not None and not model.revision.startswith(pin):
        raise ModelUnavailable(
            f"the model in {folder} is {model.version}, not the revision {pin}", "Correct the path or the revision."
        )
    return model


def _default(shelf: Shelf, models: str | None) -> Model:
    # Where a bucket is asked, only one with the record of a whole model is listed: there is no broken one to pass over.
    names = list(shelf)
    broken: ModelUnavailable | None = None
    for name in names:
        try:
            return _whisper(name, shelf.folder(name))
        except ModelUnavailable as error:
            broken = broken or error
            if is_bucket(models):
                break
    if broken is not None:  # weights are there, but broken: say so, and never fall to sphinx over it
        raise broken
    if models:
        raise ModelUnavailable(
            f"DROPSCRIBE_MODELS is {models}, and there are no Whisper weights "
            f"{'there or ' if is_bucket(models) else ''}on this machine",
            _get(SUGGESTED, models),
        )
    message = (
        "No Whisper weights are on this machine, so pocketsphinx is used, whose transcripts are poor, English only, "
        "and without punctuation. "
        f"Run `{fetch_command(SUGGESTED)}` for a good one."
    )
    warning = Warning(parameter="model", type="fallback_model", message=message)
    return _sphinx().model_copy(update={"automatic": True, "warnings": (warning,)})


def _same_size(wanted: str, shelf: Shelf) -> str | None:
    """The Whisper at hand that Deepgram's ``whisper-<size>`` is."""
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


def _not_here(
    name: str | None, wanted: str, shelf: Shelf, models: str | None, trusted: bool
) -> ModelUnavailable | OptionsError:
    bare = wanted.partition("@")[0]
    there = list(shelf)
    if is_bucket(models) and (bare in REPOSITORIES or trusted):
        at_hand = f"There {'are' if len(there) > 1 else 'is'} {', '.join(there)}. " if there else ""
        return ModelUnavailable(
            f"there is no model {wanted} in {models}, nor on this machine", at_hand + _get(wanted, models)
        )
    if bare in REPOSITORIES:
        return ModelUnavailable(f"the model {wanted} is not on this machine", _get(wanted, models))
    known = [AUTO, SPHINX, *ALIASES, *REPOSITORIES, *(n for n in there if n not in REPOSITORIES)]
    return OptionsError(
        f"model: there is no model called {short(name)}", f"Known are: {', '.join(known)}; or a name of Deepgram's."
    )


def _get(name: str, models: str | None) -> str:
    if is_bucket(models):
        return f"Put it there: `dropscribe models push {name.partition('@')[0]} {models}`."
    folder = f", or put its folder into {models}" if models and models != HUB else ""
    return f"Run `{fetch_command(name)}`{folder}."
