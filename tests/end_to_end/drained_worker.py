"""A worker's whole life in a process of its own: ``python -m tests.end_to_end.drained_worker BUCKET [RESULTS]``.

Runs ``dropscribe work BUCKET --drain`` and then writes one line of JSON to stdout: what was imported, and the process's
memory in MB. With RESULTS the engine is one that gives that file's bytes as every job's results, whatever they are.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from handler.cli import main
from handler.cli.runtime import Runtime
from pipeline.plan import GENERATING_OUTPUT, TRANSCRIBING, artifact_name
from pipeline.types import Done, Event, Facts, JobRequest, ModelInfo, PrepareRequest, StageDone


class CopyingEngine:
    """Gives the bytes of ``results`` as the results part of every job."""

    def __init__(self, results: Path) -> None:
        self._results = results

    def run(
        self, request: JobRequest, *, time_limit: Callable[[float | None], float], poll: float
    ) -> Iterator[Event | None]:
        work = Path(request.work)
        (work / artifact_name(TRANSCRIBING)).write_bytes(b"a transcript that nobody here reads")
        yield StageDone(stage=TRANSCRIBING, artifact=artifact_name(TRANSCRIBING), seconds=1.0)
        shutil.copyfile(self._results, work / artifact_name(GENERATING_OUTPUT))
        model = ModelInfo(name="copied", version="1", arch="none", revision="0")
        facts = Facts(duration=1.0, channels=1, models=(model,))
        yield StageDone(stage=GENERATING_OUTPUT, artifact=artifact_name(GENERATING_OUTPUT), seconds=1.0, facts=facts)
        yield Done()

    def prepare(self, request: PrepareRequest) -> None:
        pass

    def close(self) -> None:
        pass


def memory(name: str) -> float:
    """VmRSS or VmHWM of this process, in MB."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def live(bucket: str, results: Path | None) -> None:
    runtime = Runtime() if results is None else Runtime(engine=lambda clock, home, settings: CopyingEngine(results))
    try:
        main(["work", bucket, "--drain"], obj=runtime)
    except SystemExit as ended:
        if ended.code:
            raise
    print(json.dumps({"modules": sorted(sys.modules), "rss": memory("VmRSS"), "peak": memory("VmHWM")}))


if __name__ == "__main__":
    live(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else None)
