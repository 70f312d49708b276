"""How soon a worker that was just started claims its first job: the command as a process of its own, without models.

    python -m bench.cold

A recording waits in the bucket, in a folder and on S3 (moto, in a process of its own, whose answers take milliseconds).
Seconds are from the start of the process to the line of its log that says what was claimed, as its reader sees them;
there the process is killed. The model is sphinx, which is named without being loaded. The parts are the worker's own
account, as in the metric dropscribe_cold_start_seconds; CPU time is what a shared machine does not change. Each process
finds its files in the page cache, after a first one that is not counted.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import rig
from bench.table import Row, show
from handler.store.base import Store

TIMES = 10
CLAIM_SECONDS = 1.5
COMMAND = (sys.executable, "-m", "handler.cli", "work")
_PART = re.compile(r"(\w+) (\d+\.\d+) s")


def rows(long: bool) -> list[Row]:
    """The figures; with ``long`` ten times as often."""
    times = TIMES * (10 if long else 1)
    with rig.moto_server() as endpoint:
        return [row for where, url in (("folder", None), ("S3 (moto)", endpoint)) for row in _starts(where, url, times)]


def _starts(where: str, endpoint: str | None, times: int) -> list[Row]:
    found = [_start(endpoint) for _ in range(times + 1)][1:]
    seconds, of_cpu, told = zip(*found, strict=True)
    middle = statistics.median(seconds)
    parts = ", ".join(f"{name} {statistics.median(one[name] for one in told):.2f} s" for name in told[0])
    target = f"median ≤ {CLAIM_SECONDS:g} s"
    return [
        Row(f"start → first claim, {where}", rig.spread(seconds), target, middle <= CLAIM_SECONDS),
        Row(f"its CPU time, {where}", rig.spread(of_cpu)),
        Row(f"its parts (medians), {where}", parts),
    ]


def _start(endpoint: str | None) -> tuple[float, float, dict[str, float]]:
    """Seconds until the claim, seconds of CPU until then, and the worker's own account."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        store: Store = rig.folder_bucket(Path(name) / "bucket")
        if endpoint is not None:
            store = stack.enter_context(rig.s3_bucket(endpoint))
        store.put("input/a.flac", rig.RECORDING.read_bytes())
        environment = {**os.environ, **(rig.aws_environment(endpoint) if endpoint is not None else {})}
        environment |= {
            "DROPSCRIBE_WORK_DIR": str(Path(name) / "work"), "DROPSCRIBE_MODEL": "sphinx",
            "DROPSCRIBE_SETTLE_SECONDS": "0", "DROPSCRIBE_LOG_FORMAT": "json",
        }  # fmt: skip
        began = time.perf_counter()
        with subprocess.Popen([*COMMAND, store.url], cwd=rig.ROOT, env=environment, stderr=subprocess.PIPE) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if b"first claim after" in line:
                    claimed = time.perf_counter() - began
                    process.kill()  # the engine, if it has been started, ends with it
                    usage = os.wait4(process.pid, 0)[2]
                    parts = json.loads(line)["message"].partition(":")[2]
                    told = {part: float(seconds) for part, seconds in _PART.findall(parts)}
                    return claimed, usage.ru_utime + usage.ru_stime, told
        raise RuntimeError(f"the worker ended with {process.returncode}, and claimed nothing")


if __name__ == "__main__":
    sys.exit(show("cold", rows("--long" in sys.argv)))
