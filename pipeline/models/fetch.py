"""Fetch a Whisper from the hub into the folder of models; a short process of its own, because the engine stays offline.

Takes a name, gives a `Model` whose folder holds the weights and a record of where they came from. Fetches only the
files that the recogniser reads, none of which is a pickle, and runs nothing of what it fetched.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from pipeline.catalog import Model, whisper_in
from pipeline.errors import ModelUnavailable, OptionsError, OutOfSpace
from pipeline.family import REPOSITORIES, canonical_name, folder_name, pinned, split_pin
from pipeline.known import KNOWN
from pipeline.weights import WEIGHTS, describe, identity, missing, write_record

log = logging.getLogger(__name__)

PARTIAL = ".partial"
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class Download(Protocol):
    def __call__(self, repo: str, folder: Path, files: Sequence[str], revision: str | None) -> str:
        """Put those of ``files`` that the repository has into ``folder``, which exists; returns the commit they are of.

        ``revision``: the commit to take, or how it begins; None for the newest. What is there already, of an earlier
        try, may be kept. Any exception means that it failed.
        """


def fetch(name: str, home: Path, *, download: Download | None = None) -> Model:
    """The model ``name`` in ``home``, downloaded unless it is there.

    ``name``: one of `family.REPOSITORIES`, an alias, or a repository ``owner/name`` of weights in CTranslate2's
    format; with ``@commit`` that revision, which lies beside another one of the same model. A download that was cut
    off is taken up again. `OptionsError`: no such name. `ModelUnavailable`: the hub cannot be reached or has not got
    it. `OutOfSpace`: the disk is full.
    """
    bare, pin = split_pin(name)
    canonical, repo = _named(bare)
    folder = _place(home, canonical, pin)
    if folder.is_dir() and not missing(folder):
        return whisper_in(folder, canonical)
    partial = folder.with_name(f"{folder.name}{PARTIAL}")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        log.info("fetching %s from %s", pinned(canonical, pin), repo)
        commit = (download or download_from_hub)(repo, partial, WEIGHTS, pin)
        if pin is not None and not commit.startswith(pin):
            raise ModelUnavailable(f"{repo} gave the commit {commit}, not {pin}", "Fetch again, or correct the commit.")
        if absent := missing(partial):
            message = f"{repo} is not a Whisper model in CTranslate2's format: it has no {' and no '.join(absent)}"
            raise ModelUnavailable(
                message, "Convert it with `dropscribe models pull REPOSITORY --convert`, or choose another."
            )
        _keep_only_weights(partial)
        write_record(partial, describe(partial, repo=repo, commit=commit))
        put_in_place(partial, folder)
    except ModelUnavailable:
        raise
    except Exception as error:  # the hub's client raises a dozen kinds, from its own and from two HTTP libraries
        raise failed(pinned(canonical, pin), repo, home, error) from error
    return whisper_in(folder, canonical)


def download_from_hub(repo: str, folder: Path, files: Sequence[str], revision: str | None) -> str:
    """The hub's own client: resumes, checks sizes, honours HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE."""
    from huggingface_hub import HfApi, snapshot_download

    # The commit is asked for first and then named: a push in between must not mix two versions.
    commit = HfApi().model_info(repo, revision=revision).sha
    if commit is None:
        raise ValueError("the hub names no commit")
    snapshot_download(repo, revision=commit, local_dir=folder, allow_patterns=list(files))
    return commit


def _place(home: Path, canonical: str, pin: str | None) -> Path:
    """Where the model lies, or will."""
    folder = home / canonical
    if pin is None or (folder.is_dir() and not missing(folder) and identity(folder)[0].startswith(pin)):
        return folder
    for other in sorted(home.glob(f"{canonical}@*")):
        if other.is_dir() and not missing(other) and identity(other)[0].startswith(pin):
            return other
    # The first one has the bare name: it is what the name without a revision means.
    return home / pinned(canonical, pin[:16]) if folder.is_dir() else folder


def _named(name: str) -> tuple[str, str]:
    """The folder's name and the repository."""
    canonical = canonical_name(name)
    if canonical in REPOSITORIES:
        return canonical, REPOSITORIES[canonical]
    if REPOSITORY.fullmatch(repo := name.strip()):
        known = {repo: known for known, repo in REPOSITORIES.items()}
        return known.get(repo, folder_name(repo)), repo
    known_names = ", ".join((*REPOSITORIES, *KNOWN))
    raise OptionsError(
        f"there is no model called {name!r}", f"Known are: {known_names}; or give a repository owner/name."
    )


def _keep_only_weights(folder: Path) -> None:
    """The hub's client leaves its own notes behind."""
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name not in WEIGHTS:
            entry.unlink()


def put_in_place(partial: Path, folder: Path) -> None:
    """Readers see the whole model or none. Whoever comes second with the same model leaves the first one's."""
    if folder.is_symlink() and missing(folder):
        folder.unlink()
    elif folder.is_dir() and missing(folder):
        shutil.rmtree(folder)
    try:
        partial.rename(folder)
    except OSError:
        if missing(folder):
            raise
        shutil.rmtree(partial, ignore_errors=True)


def failed(canonical: str, repo: str, home: Path, error: Exception) -> ModelUnavailable | OutOfSpace:
    if isinstance(error, OSError) and OutOfSpace.explains(error):
        return OutOfSpace(f"no space left in {home} for {canonical}", "Free space there, then fetch again.")
    if isinstance(error, ImportError):
        return ModelUnavailable(
            f"the hub's client cannot be loaded: {error}", "Install it: `pip install huggingface_hub`."
        )
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    by_hand = f"or copy the model's files into {home / canonical} by hand"
    if "@" in canonical:  # its record says which revision it is
        by_hand = f"or copy the model's folder, record included, to {home} from where it was fetched"
    hint = f"Check the network (HF_ENDPOINT for a mirror) and fetch again, {by_hand}."
    return ModelUnavailable(f"{canonical} could not be fetched from {repo}: {reason}", hint)
