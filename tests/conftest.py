"""The options ``--fast`` and ``--long``, and which marked tests run.

``heavy`` tests need the extra `models`: left out with ``--fast``, and an error where they are meant to run and it is
not installed. ``long`` ones run with ``--long`` alone. ``gpu`` ones run where there is a CUDA device.
"""

from __future__ import annotations

import importlib.util

import pytest

_HEAVY = ("torch", "demucs", "nemo")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="leave out the tests that need the extra `models`")
    parser.addoption("--long", action="store_true", help="run the tests that take minutes to hours, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    fast, long = config.getoption("--fast"), config.getoption("--long")
    for item in items:
        if fast and "heavy" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="left out with --fast"))
        if not long and "long" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="runs with --long"))
        if "gpu" in item.keywords and not _cuda():
            item.add_marker(pytest.mark.skip(reason="there is no CUDA device here"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    missing = [name for name in _HEAVY if importlib.util.find_spec(name) is None] if "heavy" in item.keywords else []
    if missing and not item.config.getoption("--fast"):
        pytest.fail(f"{', '.join(missing)} missing: `./run test` installs the extra `models`; --fast leaves it out")


def _cuda() -> bool:
    import ctranslate2

    return bool(ctranslate2.get_cuda_device_count())


@pytest.fixture
def long(request: pytest.FixtureRequest) -> bool:
    """Whether there are hours to spend."""
    return bool(request.config.getoption("--long"))
