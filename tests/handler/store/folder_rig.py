"""What tests of a folder store share."""

from __future__ import annotations

from pathlib import Path

from handler.store.folder import FolderStore

ROOT = Path(__file__).resolve().parents[3]


def keys(store: FolderStore, prefix: str = "") -> list[str]:
    return [info.key for info in store.list(prefix)]


def files(folder: Path) -> list[str]:
    """All files in a folder, hidden ones and temporary ones too, but no locks."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in found if not path.is_relative_to(".dropscribe/locks"))
