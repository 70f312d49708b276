"""What the tests of the engine process share: a running one, requests, and the quickest recording there is."""

from __future__ import annotations

import json
import os
import subprocess
import wave
from pathlib import Path
from typing import Any

from pipeline.catalog import resolve
from pipeline.options import Options
from pipeline.types import JobRequest


class Running:
    """An engine process; `ask` sends a line and gives the events up to `Done` or `Failed`."""

    def __init__(self, command: list[str]) -> None:
        read_fd, write_fd = os.pipe()
        self.process = subprocess.Popen(
            [*command, "--events-fd", str(write_fd)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[write_fd],
        )
        os.close(write_fd)
        self.events = os.fdopen(read_fd, "rb")
        self.ready = json.loads(self.events.readline())

    def ask(self, line: bytes) -> list[dict[str, Any]]:
        self.say(line)
        return self.hear()

    def say(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def hear(self) -> list[dict[str, Any]]:
        """The events up to the next `Done` or `Failed`."""
        found: list[dict[str, Any]] = []
        while not found or found[-1]["type"] not in ("done", "failed"):
            found.append(json.loads(self.events.readline()))
        return found

    def end(self) -> tuple[bytes, bytes]:
        """What came on stdout and stderr until the engine ended, because its stdin did."""
        said = self.process.communicate(timeout=30)
        self.events.close()
        return said


def request(work: Path, recording: Path | None = None) -> JobRequest:
    """A job on ``recording``; by default on one that is not there."""
    if recording is not None:
        (work / "source").symlink_to(recording)
    return JobRequest(
        work=str(work),
        source="source",
        options=Options().model_dump(mode="json"),
        model=resolve("sphinx", None, work).model_dump(mode="json"),
        seed="0" * 64,
    )


def line_of(job: JobRequest) -> bytes:
    return job.model_dump_json().encode()


def quiet(folder: Path) -> Path:
    """Half a second in which nobody speaks: the quickest recording there is."""
    path = folder / "quiet.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(16_000))
    return path
