"""The proof's numbers, printed at the end of the test run; and the marker ``proof`` on all of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_NUMBERS = pytest.StashKey[list[str]]()


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Print a line at the end of the run."""
    return request.config.stash.setdefault(_NUMBERS, []).append


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("proof")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    numbers = config.stash.get(_NUMBERS, [])
    if numbers:
        terminalreporter.section("the proof")
        for line in numbers:
            terminalreporter.line(line)
