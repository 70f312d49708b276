"""Two workers in two processes on one bucket: every content is done once, every input gets its result."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from worker_rig import Rig, check_right

from handler.clock import SystemClock
from handler.settings import Settings
from handler.store.opening import open_store
from pipeline.plan import GENERATING_OUTPUT, TRANSCRIBING

SCRIPT = Path(__file__).with_name("scripted_worker.py")
CONTENTS, FILES = 40, 50


@pytest.fixture(params=["folder", "s3"])
def shared(request: pytest.FixtureRequest, tmp_path: Path, worker_settings: Settings) -> Rig:
    """A bucket that other processes can reach, whose conditional writes are atomic."""
    url = str(tmp_path / "bucket") if request.param == "folder" else f"s3://{request.getfixturevalue('atomic_s3')}/x"
    return Rig(open_store(url, SystemClock(), settle_seconds=0), SystemClock(), worker_settings)


def test_two_workers_share_the_work(shared: Rig, tmp_path: Path) -> None:
    """Fifty files of forty contents: no content is worked on twice, no attempt and no lease is lost, nothing fails."""
    bodies = {f"{number:02}.wav": f"recording {number % CONTENTS}".encode() for number in range(FILES)}
    for key, body in bodies.items():
        shared.drop(key, body)
    environ = {
        **os.environ,
        "DROPSCRIBE_MODEL": "sphinx",
        "DROPSCRIBE_WORK_DIR": str(tmp_path / "work"),
        "DROPSCRIBE_SETTLE_SECONDS": "0",
        "DROPSCRIBE_SCAN_SECONDS": "0.2",
    }
    log = tmp_path / "log"
    command = [sys.executable, str(SCRIPT), str(log), shared.store.url, "2"]
    workers = [subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [worker.communicate(timeout=120)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    for key, body in bodies.items():
        check_right(shared, key, body)
    assert shared.keys("errors/") == []
    runs = Counter(log.read_text().splitlines())
    assert set(runs.values()) == {1}
    assert Counter(line.split()[0] for line in runs) == {TRANSCRIBING: CONTENTS, GENERATING_OUTPUT: CONTENTS}
    assert {(record.state, record.attempts, record.takeovers) for record in shared.records()} == {("done", 0, 0)}
    assert len(shared.keys(".dropscribe/v1/settled/")) == FILES
    assert len(shared.keys(".dropscribe/v1/stats/")) == 2  # both had something to do
