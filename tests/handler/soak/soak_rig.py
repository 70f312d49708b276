"""A soak: recordings keep dropping into a bucket, three workers are at it, and somebody kills them, or their engines,
with SIGKILL at random moments, and starts others. In the end one worker sees to what is left. What it did is a
`Course`; what must hold then is in test_soak.py.

Everything random comes from one seed, but the moment within a job at which a signal strikes is the machine's.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from soak_buckets import SoakBucket

NURSERY = Path(__file__).with_name("soak_nursery.py")
WORKERS = 3
PATIENCE = 120.0  # seconds until a worker that makes no end is given up
SETTINGS = {
    "DROPSCRIBE_MODEL": "sphinx",
    "DROPSCRIBE_LEASE_SECONDS": "2",
    "DROPSCRIBE_BEAT_SECONDS": "0.5",
    "DROPSCRIBE_PROGRESS_SECONDS": "0.1",
    "DROPSCRIBE_POLL_SECONDS": "0.05",
    "DROPSCRIBE_SETTLE_SECONDS": "0",
    "DROPSCRIBE_SCAN_SECONDS": "0.2",
    "DROPSCRIBE_SCAN_IDLE_SECONDS": "0.5",
    "DROPSCRIBE_BACKOFF_SECONDS": "0.2",
    "DROPSCRIBE_MAX_ATTEMPTS": "50",
    "DROPSCRIBE_STOP_SECONDS": "1",
}


class EndedBadly(AssertionError):
    """A worker that was not killed ended by itself, or one that was to end did not, or not well."""


@dataclass
class Course:
    """What a soak did. ``present``: each key's last bytes; ``contents``: all bytes ever dropped, by SHA-256."""

    seed: int
    present: dict[str, bytes] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    workers_killed: int = 0
    engines_killed: int = 0
    processes_left: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        return self.workers_killed + self.engines_killed


class Nursery:
    """soak_nursery.py, as a parent of workers."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.engine_log = folder / "engine.log"
        self._started = 0
        work = {"DROPSCRIBE_WORK_DIR": str(folder / "work"), "DROPSCRIBE_HOME": str(folder / "home")}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DROPSCRIBE_", "AWS_"))}
        self._process = subprocess.Popen(
            [sys.executable, str(NURSERY), str(self.engine_log)],
            env={**kept, **SETTINGS, **work, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None,
            text=True,
        )

    def start(self, arguments: list[str]) -> int:
        self._started += 1
        log = self.folder / f"worker-{self._started:04}.log"
        return int(self._ask(start=[*arguments, "--name", f"soak-{self._started}"], log=str(log))["pid"])

    def wait(self, pid: int) -> int:
        """The exit code; negative the signal."""
        status = self._ask(wait=pid, seconds=PATIENCE)["status"]
        if status is None:
            raise EndedBadly(f"worker {pid} has not ended after {PATIENCE:.0f} s{self._last_words()}")
        return int(status)

    def _last_words(self) -> str:
        """The end of the log that was last written to."""
        logs = sorted(self.folder.glob("worker-*.log"), key=lambda log: log.stat().st_mtime)
        return "".join(f"\n    {line}" for line in logs[-1].read_text().splitlines()[-8:]) if logs else ""

    def check_status(self, pid: int, *allowed: int) -> int:
        """Wait for its end. `EndedBadly` unless it is one of these."""
        status = self.wait(pid)
        if status not in allowed:
            raise EndedBadly(f"worker {pid} ended with {status}, not with {allowed}{self._last_words()}")
        return status

    def logged(self, what: str) -> int:
        """In how many lines of the workers' logs this stands."""
        return sum(log.read_text().count(what) for log in self.folder.glob("worker-*.log"))

    def ran(self) -> list[str]:
        """A line for every stage that was really run."""
        return self.engine_log.read_text().splitlines() if self.engine_log.exists() else []

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate(timeout=PATIENCE)

    def _ask(self, **what: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


class Soak:
    """``options``: of each `dropscribe work`. ``last_signal``: what the three get in the end, before one more of them
    is started with ``--drain``.
    """

    def __init__(
        self,
        bucket: SoakBucket,
        nursery: Nursery,
        seed: int,
        *,
        options: tuple[str, ...] = (),
        last_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self._bucket = bucket
        self._nursery = nursery
        self._random = random.Random(seed)
        self._arguments = ["work", bucket.argument, *options]
        self._last_signal = last_signal
        self._living: list[int] = []
        self.course = Course(seed)

    def run(self, kills: int) -> Course:
        for _ in range(WORKERS):
            self._living.append(self._nursery.start(self._arguments))
        for _ in range(10):
            self._drop()
        while self.course.kills < kills:
            for _ in range(self._random.choice((2, 3, 4, 5))):
                self._drop()
            time.sleep(self._random.uniform(0.05, 0.6))
            self._kill()
        self._end()
        self.course.processes_left = list(self._engines())
        return self.course

    def _drop(self) -> None:
        """A new recording; or one whose bytes are known; or another version of one that is there."""
        dice, course = self._random.random(), self.course
        body = self._random.randbytes(self._random.choice((100, 5_000)))
        if dice < 0.4 and course.contents:
            body = self._random.choice(list(course.contents.values())[-8:])
        key = f"{len(course.present)}.wav"
        if dice > 0.8 and course.present:
            key = self._random.choice(list(course.present)[-8:])
        course.present[key] = body
        course.contents[hashlib.sha256(body).hexdigest()] = body
        self._bucket.drop(key, body)

    def _kill(self) -> None:
        """One worker of the three, or the engine of one."""
        place = self._random.randrange(WORKERS)
        engines = psutil.Process(self._living[place]).children() if self._random.random() < 0.25 else []
        if engines:
            with contextlib.suppress(psutil.NoSuchProcess):
                engines[0].kill()
                self.course.engines_killed += 1
            return
        self._living[place] = self._replaced(self._living[place])

    def _replaced(self, pid: int) -> int:
        os.kill(pid, signal.SIGKILL)
        self._nursery.check_status(pid, -signal.SIGKILL)
        self.course.workers_killed += 1
        return self._nursery.start(self._arguments)

    def _end(self) -> None:
        """The three are asked to end, or not asked; a last one sees to what is left."""
        for pid in self._living:
            os.kill(pid, self._last_signal)
            self.course.workers_killed += self._last_signal == signal.SIGKILL
        last = self._nursery.start([*self._arguments, "--drain"])
        for pid in self._living:
            self._nursery.check_status(pid, 0, -self._last_signal)  # one just started may not be listening yet
        self._nursery.check_status(last, 0)

    def _engines(self) -> Iterator[str]:
        """Engines of this soak that still live, after those that are just ending had the time to."""
        mine = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if str(self._nursery.engine_log) in process.cmdline() and str(NURSERY) not in process.cmdline():
                    mine.append(process)
        for process in psutil.wait_procs(mine, timeout=10)[1]:
            yield str(process)
