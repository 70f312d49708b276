"""Somebody with the runbook open: types an entry's lines at a bucket, and has workers that are killed in time.

Takes the lines as they stand in docs/operations.md, and what to put in for its blanks. Knows nothing of the troubles.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli_rig import Cli
from click.testing import Result

from handler.child import child_environment
from handler.clock import SystemClock
from handler.settings import load_settings
from handler.store.folder import FolderStore

KEY = "calls/talk.wav"

# A worker with a scripted engine in a process of its own. With "die" it ends in the middle of a stage, as if killed.
WORKER = """
import os, sys
from handler.cli import main
from handler.cli.runtime import Runtime
from handler.fakes import ScriptedEngine

between = (lambda stage: os._exit(9)) if sys.argv[1] == "die" else None
main(sys.argv[2:], obj=Runtime(engine=lambda clock, home, settings: ScriptedEngine(between=between)))
"""


@dataclass
class Desk:
    """Somebody with the runbook open: types the entry's lines, one after the other."""

    cli: Cli
    folder: Path
    lines: list[str]
    bucket: str = ""
    queue: str = ""
    address: str = ""
    typed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bucket = self.bucket or str(self.folder)

    def drop(self, key: str = KEY, body: bytes = b"somebody talks", **options: Any) -> None:
        path = self.folder / "input" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        if options:
            path.with_name(f"{path.name}.options.json").write_text(json.dumps(options))
        path.write_bytes(body)

    def type(self, wanted: str) -> Result | subprocess.CompletedProcess[str]:
        """The next line, which must be this one, with the blanks filled in. Its exit code is the caller's affair."""
        line = self.lines[len(self.typed)]
        assert line == wanted
        self.typed.append(line)
        blanks = {"BUCKET": self.bucket, "KEY": KEY, "QUEUE": self.queue, "HOST:PORT": self.address}
        filled = [re.sub("|".join(blanks), lambda found: blanks[found[0]], word) for word in shlex.split(line)]
        program, *words = filled
        if program == "dropscribe":
            return self.cli(*words)
        assert program == "curl"
        return subprocess.run(filled, capture_output=True, text=True, timeout=60)

    def well(self, wanted: str) -> str:
        """A line that must succeed. What it printed."""
        done = self.type(wanted)
        code = done.exit_code if isinstance(done, Result) else done.returncode
        assert code == 0, f"{wanted}: {done.stderr}"
        return done.stdout + done.stderr

    def manifest(self) -> Any:
        """A line that shows one recording's manifest."""
        done = self.type("dropscribe status BUCKET KEY --json")
        assert isinstance(done, Result)
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout)

    def drain(self) -> Any:
        """A worker that works as it should; not a line of the runbook."""
        self.cli.failures = ()
        return self.cli.json("work", self.bucket, "--drain")

    def exists(self, key: str) -> bool:
        return (self.folder / key).exists()


def holding(folder: Path, part: str) -> list[str]:
    """The files of the bucket in which a part of the transcript stands."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path.name for path in files if part.encode() in path.read_bytes()]


def start(how: str, desk: Desk, *words: str, **more: str) -> subprocess.Popen[str]:
    ours = {name: value for name, value in (desk.cli.env | more).items() if value is not None}
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, how, *words, desk.bucket],
        env=child_environment(os.environ, desk.folder) | ours,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def die(desk: Desk) -> None:
    """A worker begins the recording and is gone in the middle of it; nobody is told."""
    worker = start("die", desk, "work")
    worker.communicate(timeout=120)
    assert worker.returncode == 9
    store = FolderStore(desk.folder, SystemClock(), settle_seconds=0.0)
    assert load_settings().state_prefix == ".dropscribe/v1/"
    assert len(list(store.list(".dropscribe/v1/jobs/"))) == 1


def wait_until_ready(worker: subprocess.Popen[str], address: str) -> None:
    while True:
        assert worker.poll() is None, worker.communicate()[1]
        try:
            with urllib.request.urlopen(f"http://{address}/readyz", timeout=10):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
