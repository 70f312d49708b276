"""A check of the models beside the recogniser: which of them jobs get, and whether what they run in is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence

from handler.cli.doctor.finding import Context, Finding
from handler.models.library import Library
from pipeline.aligners import AlignerModel
from pipeline.beside import Companion, Role, file_of, kind_of, licence_of
from pipeline.companions import Companions
from pipeline.family import fetch_command
from pipeline.known import KNOWN, UNKNOWN, commercial

_EXTRA = "pip install 'dropscribe[models]'"
_PARTS: tuple[tuple[Role, str, tuple[str, ...]], ...] = (
    ("separator", "voices out of music", ("torch", "safetensors", "demucs")),
    ("aligner", "words' times", ("torch", "nemo", "numba")),
    ("diarizer", "speakers", ("torch", "nemo")),
)

Has = Callable[[str], bool]
"""Whether a package is installed; it is not imported."""


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def companions(context: Context, has: Has = _installed) -> Finding:
    """What each part has to work with. None is no failure: jobs that ask for it say that they did without. A name that
    the operator chose and that is not there fails: no job would be taken.
    """
    found = Library(context.settings, context.runtime.clock).companions()
    detail = "; ".join(f"{words}: {_told(found, role)}" for role, words, _ in _PARTS)
    advice = [f"{one.name}: {one.message}. {one.hint}" for one in found.problems]
    absent = [package for package in _wanted(found) if not has(package)]
    if absent:
        advice.append(f"Jobs do without: {', '.join(absent)} {_is_not(absent)} installed: `{_EXTRA}`.")
    advice += [
        f"{one.info.name} has the licence {licence_of(one)}, which forbids commercial use."
        for one in found.all()
        if not commercial(licence_of(one))
    ]
    data = {
        "models": [
            {
                "name": one.info.name, "kind": kind_of(one), "version": one.info.version, "licence": licence_of(one),
                "folder": str(one.folder), "file": file_of(one),
            }
            for one in found.all()
        ],
        "off": list(found.off),
        "missing_packages": absent,
        "problems": [one.model_dump(mode="json") for one in found.problems],
    }  # fmt: skip
    if advice:
        return Finding(status="warn", detail=detail, advice=" ".join(advice), data=data)
    return Finding(status="ok", detail=detail, advice=_could_be_had(found), data=data)


def _told(found: Companions, role: Role) -> str:
    if role in found.off:
        return f"switched off (DROPSCRIBE_{role.upper()}=none)"
    named: Sequence[tuple[Companion | AlignerModel | None, str]]
    if role == "separator":
        named = [(found.separator, "")]
    elif role == "aligner":
        named = [(one, ", ".join(one.record.languages)) for one in found.aligners]
    else:
        named = [(found.few, "up to 4"), (found.many, "any number")]
    there = [
        f"{one.info.name} ({', '.join(part for part in (about, _licence(licence_of(one))) if part)})"
        for one, about in named
        if one is not None
    ]
    return ", ".join(there) or "no model"


def _licence(name: str) -> str:
    return "licence unknown" if name == UNKNOWN else name


def _wanted(found: Companions) -> list[str]:
    """The packages that the models here run in."""
    there = {
        "separator": found.separator is not None,
        "aligner": bool(found.aligners),
        "diarizer": found.few is not None or found.many is not None,
    }
    return list(dict.fromkeys(package for role, _, packages in _PARTS if there[role] for package in packages))


def _is_not(packages: list[str]) -> str:
    return "is not" if len(packages) == 1 else "are not"


def _could_be_had(found: Companions) -> str:
    """One command for what is not here and could be."""
    lacking = {
        "htdemucs": found.separator is None and "separator" not in found.off,
        "aligner-en": not found.aligners and "aligner" not in found.off,
        "sortformer": found.few is None and "diarizer" not in found.off,
    }
    names = [name for name, lacks in lacking.items() if lacks and name in KNOWN]
    return f"To have them: {', '.join(f'`{fetch_command(name)}`' for name in names)}." if names else ""
