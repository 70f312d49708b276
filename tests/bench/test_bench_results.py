"""The benches: they measure a real worker, and write down their figures with what they were measured on."""

from __future__ import annotations

import importlib
import inspect
import platform
import re
from pathlib import Path

import pytest
from deepgram_contract import check_result
from docs_rig import ROOT, text_of

from bench import cached, rig
from bench.__main__ import BENCHES
from bench.results import here, renewed
from bench.table import Row

ROWS = [Row("a | b", "3.1 ms", "< 5 ms", True), Row("c", "7 MB", "≤ 6 MB", False), Row("d", "1.2")]
ORDER = ["first", "second", "third"]


def test_every_bench_can_be_called() -> None:
    """Each name of `./run bench` is a module with `rows(long)`."""
    for module, _ in BENCHES.values():
        rows = importlib.import_module(module).rows
        assert list(inspect.signature(rows).parameters) == ["long"]


def test_a_section_replaces_its_own_alone() -> None:
    """A bench run again renews its own figures; those of the others stay, and the order is that of the list."""
    document = renewed("", "second", "Two", ROWS, "2 cores", order=ORDER)
    document = renewed(document, "first", "One", [Row("x", "old")], "2 cores", order=ORDER)
    document = renewed(document, "first", "One", [Row("x", "new")], "4 cores", order=ORDER)
    assert re.findall(r"^## (\w+)", document, re.MULTILINE) == ["first", "second"]
    assert "old" not in document
    assert "| x | new |  |  |" in document
    assert "| a \\| b | 3.1 ms | < 5 ms | reached |" in document
    assert "| c | 7 MB | ≤ 6 MB | **missed** |" in document
    assert document.count("# Results\n") == 1
    assert renewed(document, "first", "One", [Row("x", "new")], "4 cores", order=ORDER) == document


def test_figures_say_where_they_come_from() -> None:
    """What was measured on is told by cores and versions, never by the machine's name."""
    assert re.fullmatch(r"\d+ cores, \w+ \w+, Python 3\.[\w.+]+, no GPU used", here())
    assert platform.python_version() in here()
    assert here("NVIDIA H100").endswith(", NVIDIA H100")


def test_the_results_are_complete() -> None:
    """bench/RESULTS.md has a section for each bench, and each says what it was measured on."""
    sections = re.split(r"^## ", text_of("bench/RESULTS.md"), flags=re.MULTILINE)[1:]
    assert [section.split("\n")[0] for section in sections] == list(BENCHES)
    for section in sections:
        assert re.search(r"Measured on \d+ cores, \w+ \w+, Python 3\.", section), section[:60]
        assert section.count("\n|") > 2


@pytest.mark.parametrize("values", [[3.0], [1.0, 2.0, 3.0], list(range(1, 101))])
def test_quantiles_are_measured_values(values: list[float]) -> None:
    """A percentile is a value that was measured, and no more than its share lies above it."""
    found = rig.quantile(values, 0.95)
    assert found in values
    assert sum(value > found for value in values) <= 0.05 * len(values)
    assert sum(value >= found for value in values) > 0.05 * len(values) - 1e-9


def test_cached_measures_a_real_worker(tmp_path: Path) -> None:
    """The bench of cached results drives a worker to results that keep the contract, and never starts its engine."""
    store = rig.folder_bucket(tmp_path / "bucket")
    seconds, jobs = cached._measure(store, tmp_path / "work", 30, 3)
    assert jobs == 0
    assert len(seconds) == 3
    assert all(one > 0 for one in seconds)
    for key in ("first.flac", "again-0.flac", "again-2.flac"):
        result = check_result(store.get(f"results/{key}.json").body)
        assert len(result["results"]["channels"][0]["alternatives"][0]["words"]) == 30


def test_no_machine_is_named() -> None:
    """No document names a path of the machine that it was written on."""
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md")]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?<![\w.])/(home|root|Users|tmp)/", text), path
