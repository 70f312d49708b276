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

from pipeline.catalog import REPOSITORIES, Model, canonical_name, folder_name, whisper_in
from pipeline.errors import ModelUnavailable, OptionsError, OutOfSpace
from pipeline.weights import WEIGHTS, missing, write_record

log = logging.getLogger(__name__)

PARTIAL = ".partial"
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class Download(Protocol):
    def __call__(self, repo: str, folder: Path, files: Sequence[str]) -> str:
        """Put those of ``files`` that the repository has into ``folder``, which exists; returns the commit they are of.

        What is there already, of an earlier try, may be kept. Any exception means that it failed.
        """


def fetch(name: str, home: Path, *, download: Download | None = None) -> Model:
    """The model ``name`` in ``home``, downloaded unless it is there.

    ``name``: one of `catalog.REPOSITORIES`, an alias, or a repository ``owner/name`` of weights in CTranslate2's
    format. A download that was cut off is taken up again. `OptionsError`: no such name. `ModelUnavailable`: the hub
    cannot be reached or has not got it. `OutOfSpace`: the disk is full.
    """
    canonical, repo = _named(name)
    folder = home / canonical
    if folder.is_dir() and not missing(folder):
        return whisper_in(folder, canonical)
    partial = home / f"{canonical}{PARTIAL}"
    try:
        partial.mkdir(parents=True, exist_ok=True)
        log.info("fetching %s from %s", canonical, repo)
        commit = (download or download_from_hub)(repo, partial, WEIGHTS)
        if absent := missing(partial):
            message = f"{repo} is not a Whisper model in CTranslate2's format: it has no {' and no '.join(absent)}"
            raise ModelUnavailable(message, "Convert it with ct2-transformers-converter, or choose another.")
        _keep_only_weights(partial)
        write_record(partial, repo, commit)
        _put_in_place(partial, folder)
    except ModelUnavailable:
        raise
    except Exception as error:  # the hub's client raises a dozen kinds, from its own and from two HTTP libraries
        raise _failed(canonical, repo, home, error) from error
    return whisper_in(folder, canonical)


def download_from_hub(repo: str, folder: Path, files: Sequence[str]) -> str:
    """The hub's own client: resumes, checks sizes, honours HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE."""
    from huggingface_hub import HfApi, snapshot_download

    # The commit is asked for first and then named: a push in between must not mix two versions.
    commit = HfApi().model_info(repo).sha
    if commit is None:
        raise ValueError("the hub names no commit")
    snapshot_download(repo, revision=commit, local_dir=folder, allow_patterns=list(files))
    return commit


def _named(name: str) -> tuple[str, str]:
    """The folder's name and the repository."""
    canonical = canonical_name(name)
    if canonical in REPOSITORIES:
        return canonical, REPOSITORIES[canonical]
    if _REPOSITORY.fullmatch(repo := name.strip()):
        known = {repo: known for known, repo in REPOSITORIES.items()}
        return known.get(repo, folder_name(repo)), repo
    known_names = ", ".join(REPOSITORIES)
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


def _put_in_place(partial: Path, folder: Path) -> None:
    """Readers see the whole model or none. Whoever comes second with the same model leaves the first one's."""
    if folder.is_dir() and missing(folder):
        shutil.rmtree(folder)
    try:
        partial.rename(folder)
    except OSError:
        if missing(folder):
            raise
        shutil.rmtree(partial, ignore_errors=True)


def _failed(canonical: str, repo: str, home: Path, error: Exception) -> ModelUnavailable | OutOfSpace:
    if isinstance(error, OSError) and OutOfSpace.explains(error):
        return OutOfSpace(f"no space left in {home} for {canonical}", "Free space there, then fetch again.")
    if isinstance(error, ImportError):
        return ModelUnavailable(
            f"the hub's client cannot be loaded: {error}", "Install it: `pip install huggingface_hub`."
        )
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    by_hand = f"or copy the model's files into {home / canonical} by hand"
    hint = f"Check the network (HF_ENDPOINT for a mirror) and fetch again, {by_hand}."
    return ModelUnavailable(f"{canonical} could not be fetched from {repo}: {reason}", hint)
