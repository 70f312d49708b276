"""The handler as a process: how soon the command answers, and how much memory a worker takes.

    python -m bench.process

Start-up is measured in turns with a bare interpreter and with one that imports click, the floor of any command that is
made with it. Memory is that of a process of its own, which runs the command ``dropscribe work`` with everything that it
imports; its engine is the child of `bench.paced`, which is not counted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import rig
from bench.table import Row, show
from handler.store.base import Store

TIMES = 15
HELP_SECONDS = 0.5
MEMORY_MB = 120.0
JOBS = 5
HOUR, LONG = 10_000, 100_000  # words


def rows(long: bool) -> list[Row]:
    """The figures; with ``long``, start-up ten times as often."""
    return [*_start_up(TIMES * (10 if long else 1)), *_memory()]


def _start_up(times: int) -> list[Row]:
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        'python -c "import click"': [sys.executable, "-c", "import click"],
        "dropscribe --help": [str(Path(sys.executable).with_name("dropscribe")), "--help"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(times):
        for name, command in commands.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - started)
    found = [Row(name, rig.spread(all_)) for name, all_ in seconds.items()]
    middle = statistics.median(seconds["dropscribe --help"])
    pairs = zip(seconds["dropscribe --help"], seconds['python -c "import click"'], strict=True)
    ratio = statistics.median(ours / floor for ours, floor in pairs)
    found[-1] = Row(found[-1].name, found[-1].measured, "median ≤ 500 ms", middle <= HELP_SECONDS)
    return [*found, Row("dropscribe --help ÷ import click", f"{ratio:.2f}")]


def _memory() -> list[Row]:
    found = []
    with rig.moto_server() as endpoint:
        for where, url in (("folder", None), ("S3 (moto)", endpoint)):
            after = _work(url, JOBS, HOUR)
            name = f"worker after {JOBS} jobs of {HOUR:,} words, {where}"
            measured = f"{after['now_mb']:.0f} MB resident, peak {after['peak_mb']:.0f} MB"
            found.append(Row(name, measured, f"≤ {MEMORY_MB:.0f} MB", after["now_mb"] <= MEMORY_MB))
        for where, url in (("folder", None), ("S3 (moto)", endpoint)):
            after = _work(url, 1, LONG)
            measured = f"peak {after['peak_mb']:.0f} MB for a result of {after['result_mb']:.1f} MB"
            reached = after["peak_mb"] <= MEMORY_MB
            found.append(
                Row(f"worker, one job of {LONG:,} words, {where}", measured, f"peak ≤ {MEMORY_MB:.0f} MB", reached)
            )
    return found


def _work(endpoint: str | None, jobs: int, words: int) -> dict[str, float]:
    """A bucket with so many recordings, a worker that drains it; gives the worker's memory and the result's size."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        store: Store = rig.folder_bucket(Path(name) / "bucket")
        if endpoint is not None:
            store = stack.enter_context(rig.s3_bucket(endpoint))
        content = rig.RECORDING.read_bytes()
        for number in range(jobs):
            store.put(f"input/{number}.flac", content + bytes([number]))  # each one another content
        after = _child(store.url, words, Path(name) / "work", endpoint)
        sizes = [info.size for info in store.list("results/")]
        if len(sizes) != jobs:
            raise RuntimeError(f"{len(sizes)} of {jobs} jobs completed")
        return {**after, "result_mb": max(sizes) / 1e6}


def _child(url: str, words: int, work: Path, endpoint: str | None) -> dict[str, float]:
    environment = {**os.environ, **(rig.aws_environment(endpoint) if endpoint is not None else {})}
    environment |= {"DROPSCRIBE_WORK_DIR": str(work), "DROPSCRIBE_MODEL": "sphinx", "DROPSCRIBE_SETTLE_SECONDS": "0"}
    command = [sys.executable, "-m", "bench.process", "--child", url, str(words)]
    done = subprocess.run(command, cwd=rig.ROOT, env=environment, check=True, capture_output=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def _worker(url: str, words: int) -> dict[str, float]:
    """In the child: the command itself, with another engine, and what the process holds when it is done."""
    from handler.cli import main
    from handler.cli.runtime import Runtime

    runtime = Runtime(engine=lambda clock, home, settings: rig.child_engine(0.0, words, home))
    main(["work", url, "--drain", "--json"], standalone_mode=False, obj=runtime)
    return {"now_mb": rig.memory_mb("VmRSS"), "peak_mb": rig.memory_mb("VmHWM")}


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.process", description="Start-up and memory.")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--child", nargs=2, metavar=("BUCKET", "WORDS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(_worker(given.child[0], int(given.child[1]))))
        return 0
    return show("process", rows(given.long))


if __name__ == "__main__":
    sys.exit(_main())
