"""``./run check`` and ``./run test --fast`` install no models, so the type checker must not miss what those bring."""

from __future__ import annotations

import ast
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
SAID = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def imported(path: Path) -> set[str]:
    """Roots of all that a file imports by its full name, inside functions, too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            found.add(node.module)
    return {name.partition(".")[0] for name in found}


def installed() -> set[str]:
    """Roots of what comes with the project without the extra `models`: what it asks for, and what that does in turn."""
    asked = [*SAID["project"]["dependencies"], *SAID["project"]["optional-dependencies"]["dev"]]
    names = set[str]()
    while asked:
        wanted = Requirement(asked.pop())
        name = canonicalize_name(wanted.name)
        if name not in names and (wanted.marker is None or wanted.marker.evaluate({"extra": ""})):
            names.add(name)
            asked += metadata.requires(name) or ()
    return {
        root
        for root, providers in metadata.packages_distributions().items()
        if names & {canonicalize_name(provider) for provider in providers}
    }


def test_what_only_models_bring_is_no_error() -> None:
    """Each import that mypy looks at is there without them, or is one that it may do without."""
    packages = SAID["tool"]["mypy"]["packages"]
    used = set[str]().union(*(imported(path) for package in packages for path in (ROOT / package).rglob("*.py")))
    lenient = {name.partition(".")[0] for one in SAID["tool"]["mypy"]["overrides"] for name in one["module"]}
    ours = {"examples", "infra", "tests", *packages}
    assert {"torch", "boto3", "numpy"} <= used
    assert used - sys.stdlib_module_names - ours - installed() - lenient == set()
