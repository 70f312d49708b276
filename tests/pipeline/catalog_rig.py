"""Folders of models, made of copies of one."""

from __future__ import annotations

import shutil
from pathlib import Path


def shelve(source: Path, home: Path, *names: str) -> Path:
    for name in names:
        shutil.copytree(source, home / name)
    return home
