"""An engine of the standard library alone, so that it starts in a moment: two stages of some tens of milliseconds.

    python soak_engine.py LOG --events-fd N

What it "hears" is the recording's SHA-256 and, as a GPU's output is not bit-stable either, some digits that are new at
every run: whoever publishes anything but the stored artifact is found out. Appends ``stage sha256`` to LOG when a stage
was really run. Imports nothing of dropscribe; knows the artifacts' names and the events.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

STAGE_SECONDS = (0.03, 0.12)


class Job:
    def __init__(self, request: dict[str, Any], log: int, events_fd: int) -> None:
        self._request = request
        self._work = Path(request["work"])
        self._log = log
        self._events_fd = events_fd

    def run(self) -> None:
        heard = self._transcribe()
        self._output(heard)
        self._emit(type="done")

    def _transcribe(self) -> dict[str, str]:
        artifact = self._work / "transcribing.json"
        if artifact.exists():
            return dict(json.loads(artifact.read_bytes()))
        self._emit(type="media", duration=1.0, channels=1)
        sha256 = hashlib.sha256((self._work / self._request["source"]).read_bytes()).hexdigest()
        self._emit(type="progress", stage="transcribing", percent=50.0, done=0.5, total=1.0)
        heard = {"sha256": sha256, "run": os.urandom(8).hex()}
        self._finish("transcribing", sha256, artifact, heard)
        self._emit(type="stage_done", stage="transcribing", artifact=artifact.name, seconds=0.1)
        return heard

    def _output(self, heard: dict[str, str]) -> None:
        artifact = self._work / "generating_output.json"
        said = f"{heard['sha256']} {heard['run']} {os.urandom(8).hex()}"
        results = {"channels": [{"alternatives": [{"transcript": said, "confidence": 1.0, "words": []}]}]}
        self._finish("generating_output", heard["sha256"], artifact, results)
        model = {name: self._request["model"][name] for name in ("name", "version", "arch", "revision")}
        facts = {"duration": 1.0, "channels": 1, "models": [model]}
        self._emit(type="stage_done", stage="generating_output", artifact=artifact.name, seconds=0.1, facts=facts)

    def _finish(self, stage: str, sha256: str, artifact: Path, content: object) -> None:
        time.sleep(random.uniform(*STAGE_SECONDS))
        artifact.write_text(json.dumps(content))
        os.write(self._log, f"{stage} {sha256}\n".encode())

    def _emit(self, **event: Any) -> None:
        os.write(self._events_fd, json.dumps(event).encode() + b"\n")


def main(log: str, events_fd: int) -> None:
    log_fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(events_fd, json.dumps({"type": "ready", "pid": os.getpid()}).encode() + b"\n")
    for line in sys.stdin.buffer:
        Job(json.loads(line), log_fd, events_fd).run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[3]))
