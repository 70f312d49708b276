"""Checks of this machine: Python, packages, settings, disk. Nothing heavy is imported to learn a version."""

from __future__ import annotations

import difflib
import importlib.util
import os
import shutil
import sys
from importlib import metadata
from tempfile import TemporaryFile

from handler.cli.doctor.finding import Context, Finding
from handler.cli.screen import size
from handler.settings import Settings

_NEEDED = {
    "boto3": "boto3",
    "pydantic": "pydantic",
    "av": "av",
    "numpy": "numpy",
    "faster-whisper": "faster_whisper",
    "ctranslate2": "ctranslate2",
    "pocketsphinx": "pocketsphinx",
}  # distribution → module
_OLDEST = (3, 11)
_LITTLE_BYTES = 2 * 2**30  # of free disk: a long recording and its decoded sound
_NOT_SETTINGS = {"DROPSCRIBE_DEBUG"}


def python_version(context: Context) -> Finding:
    found = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info < _OLDEST:
        return Finding(status="fail", detail=f"Python {found}", advice="Use Python 3.11 or newer.")
    return Finding(status="ok", detail=f"Python {found}, {sys.executable}")


def packages(context: Context) -> Finding:
    missing, there = [], []
    for name, module in _NEEDED.items():
        if importlib.util.find_spec(module) is None:
            missing.append(name)
        else:
            there.append(f"{name} {metadata.version(name)}")
    if missing:
        return Finding(
            status="fail",
            detail=f"missing: {', '.join(missing)}",
            advice=f"Install them: `pip install {' '.join(missing)}`.",
        )
    return Finding(status="ok", detail=", ".join(there))


def settings_known(context: Context) -> Finding:
    """Variables that look like settings and are none: a typing error would otherwise pass in silence."""
    known = {f"DROPSCRIBE_{name.upper()}" for name in Settings.model_fields} | _NOT_SETTINGS
    given = sorted(name for name in os.environ if name.upper().startswith("DROPSCRIBE_"))
    unknown = [name for name in given if name.upper() not in known]
    if not unknown:
        return Finding(status="ok", detail=", ".join(given) or "all at their defaults")
    close = difflib.get_close_matches(unknown[0].upper(), sorted(known), n=1)
    meant = f"Did you mean {close[0]}? " if close else ""
    return Finding(
        status="warn",
        detail=f"no such setting: {', '.join(unknown)}",
        advice=f"{meant}docs/operations.md lists the settings.",
    )


def work_directory(context: Context) -> Finding:
    path = context.settings.work_dir
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with TemporaryFile(dir=path) as file:
            file.write(b"dropscribe")
        free = shutil.disk_usage(path).free
    except OSError as error:
        return Finding(
            status="fail",
            detail=f"{path} cannot be written: {error.strerror}",
            advice="Point DROPSCRIBE_WORK_DIR at a folder that can.",
        )
    if free < _LITTLE_BYTES:
        return Finding(
            status="warn",
            detail=f"{path} has {size(free)} free",
            advice="Free some space, or point DROPSCRIBE_WORK_DIR at a larger disk.",
        )
    return Finding(status="ok", detail=f"{path}, {size(free)} free")
