"""Damaged media, by the dozen or (with ``--long``) by the thousand: never a crash, never the wrong exception."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.pipeline import media, mutate

FEW, MANY = 72, 1000
PROCESSES = 2
BATCH_SECONDS = 280


def batch(folder: Path, first: int, stop: int) -> list[str]:
    """The outcomes of the mutations [first, stop), from a process of their own."""
    command = [sys.executable, "-m", "tests.pipeline.mutate", str(folder), str(first), str(stop)]
    done = subprocess.run(command, cwd=media.ROOT, capture_output=True, text=True, timeout=BATCH_SECONDS, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"exit {done.returncode} at {lines[-1:]}: {done.stderr[-2000:]}"
    return [line["outcome"] for line in lines if "outcome" in line]


def test_damaged_media_end_in_sound_or_in_a_media_error(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Each seeded mutation of real media decodes or raises a MediaError: no segfault, no other exception."""
    count = MANY if request.config.getoption("--long", default=False) else FEW
    folder = tmp_path / "sources"
    folder.mkdir()
    mutate.sources(folder)
    step = -(-count // (PROCESSES if count == FEW else PROCESSES * 4))
    starts = range(0, count, step)
    with ThreadPoolExecutor(PROCESSES) as pool:
        outcomes = Counter(
            outcome
            for results in pool.map(lambda first: batch(tmp_path, first, min(first + step, count)), starts)
            for outcome in results
        )
    assert outcomes.total() == count
    assert outcomes["ok"] > count / 4, outcomes
    assert outcomes["UnreadableMedia"] > 0, outcomes
