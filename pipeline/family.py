"""The models that are known by name: which repository each comes from, its licence, languages and size.

Takes and gives names alone; reads neither folders nor the network. Whether a model is here is `pipeline.catalog`'s
business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from pipeline.errors import OptionsError

AUTO = "auto"
SPHINX = "sphinx"
HUB = "hub"
SUGGESTED = "large-v3-turbo"  # what to fetch when nothing is there: close to large-v3, several times faster
UNKNOWN = "unknown"

_MIB = 1 << 20


class Known(NamedTuple):
    """``repo``: of weights in CTranslate2's format. ``licence``: of the weights, as their repository states it.
    ``english``: knows no other language. ``size``: of the download, in bytes, about.
    """

    repo: str
    licence: str
    english: bool
    size: int


# Whisper in CTranslate2's format, best first: the order in which `auto` chooses. The distilled and ``.en`` ones know
# English only, so they come after a multilingual one of their class. All of them may be used commercially.
FAMILY: Mapping[str, Known] = MappingProxyType(
    {
        "large-v3": Known("Systran/faster-whisper-large-v3", "MIT", False, 2950 * _MIB),
        "large-v3-turbo": Known("mobiuslabsgmbh/faster-whisper-large-v3-turbo", "MIT", False, 1550 * _MIB),
        "large-v2": Known("Systran/faster-whisper-large-v2", "MIT", False, 2950 * _MIB),
        "large-v1": Known("Systran/faster-whisper-large-v1", "MIT", False, 2950 * _MIB),
        "medium": Known("Systran/faster-whisper-medium", "MIT", False, 1460 * _MIB),
        "distil-large-v3.5": Known("distil-whisper/distil-large-v3.5-ct2", "MIT", True, 1450 * _MIB),
        "distil-large-v3": Known("Systran/faster-distil-whisper-large-v3", "MIT", True, 1450 * _MIB),
        "distil-large-v2": Known("Systran/faster-distil-whisper-large-v2", "MIT", True, 1450 * _MIB),
        "medium.en": Known("Systran/faster-whisper-medium.en", "MIT", True, 1460 * _MIB),
        "distil-medium.en": Known("Systran/faster-distil-whisper-medium.en", "MIT", True, 755 * _MIB),
        "small": Known("Systran/faster-whisper-small", "MIT", False, 465 * _MIB),
        "small.en": Known("Systran/faster-whisper-small.en", "MIT", True, 465 * _MIB),
        "distil-small.en": Known("Systran/faster-distil-whisper-small.en", "MIT", True, 320 * _MIB),
        "base": Known("Systran/faster-whisper-base", "MIT", False, 142 * _MIB),
        "base.en": Known("Systran/faster-whisper-base.en", "MIT", True, 142 * _MIB),
        "tiny": Known("Systran/faster-whisper-tiny", "MIT", False, 76 * _MIB),
        "tiny.en": Known("Systran/faster-whisper-tiny.en", "MIT", True, 76 * _MIB),
    }
)
REPOSITORIES: Mapping[str, str] = MappingProxyType({name: known.repo for name, known in FAMILY.items()})
ALIASES: Mapping[str, str] = MappingProxyType({"turbo": "large-v3-turbo", "large": "large-v3"})

_PIN = re.compile(r"(?:sha256-)?([0-9a-f]{7,64})")


def canonical_name(name: str) -> str:
    """The name under which a model's folder is kept: ``turbo`` is ``large-v3-turbo``."""
    folder = folder_name(name)
    return ALIASES.get(folder, folder)


def folder_name(repo: str) -> str:
    """``owner/name`` as the name of one folder; it cannot be taken for a member of the family."""
    return repo.strip().lower().replace("/", "--")


def name_of_folder(folder: str) -> str:
    """A folder may carry our name for the model, an alias (``turbo``), or its repository's; and ``@revision``."""
    bare = folder.partition("@")[0]
    for name, known in FAMILY.items():
        if bare.lower() == known.repo.split("/")[1].lower():
            return name
    return canonical_name(bare)


def split_pin(name: str) -> tuple[str, str | None]:
    """``large-v3@0123456`` is the model large-v3 at the revision that begins so. `OptionsError` for what is none."""
    bare, at, pin = name.strip().partition("@")
    if not at:
        return bare, None
    found = _PIN.fullmatch(pin.strip().lower())
    if found is None or not bare:
        raise OptionsError(
            f"model: {short(name)} names no revision",
            "A revision is a commit, or a digest of weights: 7 to 64 hexadecimal digits, as `models list` shows them.",
        )
    return bare, found[1]


def pinned(name: str, pin: str | None) -> str:
    """The two as people write them."""
    return name if pin is None else f"{name}@{pin}"


def fetch_command(name: str) -> str:
    return f"python -m pipeline fetch {name}"


def order(name: str) -> tuple[int, str]:
    """A key to sort by: best first, those that nobody knows last."""
    return (_RANKS.get(name, len(_RANKS)), name)


def short(name: str | None) -> str:
    """A name that somebody typed, in quotes, and of bearable length."""
    text = repr(name)
    return text if len(text) <= 80 else text[:76] + "…" + text[0]


_RANKS = {name: rank for rank, name in enumerate(FAMILY)}
