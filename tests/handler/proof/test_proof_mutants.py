"""The mutation gate: each mistake of `proof_mutants`, put into a copy of the handler, is seen by the test it names.

A proof that lets a known mistake pass proves nothing. So this fails when a mutant survives, when the text that it
changes is no longer there, and when the tests do not pass without it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from proof_mutants import MUTANTS, ROOT, Mutant, mutated_tree

_SECONDS = 900.0  # a mutant may make its tests stand still; that is seen, too
pytestmark = pytest.mark.timeout(_SECONDS + 300)
_FAILED = 1  # pytest's exit code when tests ran and some failed


def outcome(folder: Path, tests: list[str]) -> subprocess.CompletedProcess[str]:
    """The tests, run on the tree in ``folder``."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-o",
        f"pythonpath={folder}",
        f"--basetemp={folder / 'tmp'}",  # its own: runs side by side would tidy up one another's
        *tests,
    ]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        stdout, stderr = process.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with the processes that it has started
        process.communicate()
        raise
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Future[subprocess.CompletedProcess[str]]]:
    """All mutants' outcomes, side by side; and, under the empty name, that of the tree as it is."""
    pool = ThreadPoolExecutor(max(1, os.cpu_count() or 1))
    everything = sorted({mutant.caught_by for mutant in MUTANTS})

    def run(mutant: Mutant | None) -> subprocess.CompletedProcess[str]:
        folder = mutated_tree(tmp_path_factory.mktemp("tree"), mutant)
        return outcome(folder, [mutant.caught_by] if mutant is not None else everything)

    futures = {"": pool.submit(run, None)}
    futures.update({mutant.name: pool.submit(run, mutant) for mutant in MUTANTS})
    pool.shutdown(wait=False)
    return futures


def test_without_a_mutant(gate: dict[str, Future[subprocess.CompletedProcess[str]]]) -> None:
    """The tests that catch the mutants pass on a copy of the handler as it is."""
    done = gate[""].result()
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_caught(mutant: Mutant, gate: dict[str, Future[subprocess.CompletedProcess[str]]]) -> None:
    """With the mistake in it, the named test fails."""
    done = gate[mutant.name].result()
    assert done.returncode == _FAILED, f"{mutant.name} survives {mutant.caught_by}:\n{done.stdout[-4000:]}"


def test_the_copy_is_what_runs(tmp_path: Path) -> None:
    """The tests import the copy, not the tree beside them: otherwise every mutant would survive unseen."""
    folder = mutated_tree(tmp_path / "tree", None)
    (folder / "handler" / "clock.py").write_text("raise RuntimeError('this is the copy')\n", encoding="utf-8")
    done = outcome(folder, ["tests/handler/test_job.py"])
    assert "this is the copy" in done.stdout + done.stderr
