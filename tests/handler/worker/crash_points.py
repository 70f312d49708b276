"""Kill a worker with SIGKILL at chosen mutating requests of a job, let another one go on, and tell how that ended.

    python crash_points.py WORK_DIR BUCKET_URL [POINT …]

Each point gets a bucket of its own below the URL and two processes of its own, forked from this one, which has no
threads: the victim dies just before or just after the request is applied, the second worker comes when the lease has
run out. Without points, all there are. Writes one JSON object a line.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from worker_rig import Later, Mortal, Rig, check_right

from handler.clock import SystemClock
from handler.fakes import ScriptedEngine
from handler.settings import Settings
from handler.store.base import Store
from handler.store.opening import open_store

SPEECH = b"somebody talks"
LATER = 1000.0  # seconds after which the second worker comes: any lease has run out


def rig_at(work_dir: Path, url: str, name: str) -> Rig:
    settings = Settings(model="sphinx", work_dir=work_dir / name, home=work_dir, settle_seconds=0)
    clock = SystemClock()
    return Rig(open_store(f"{url}/{name}", clock, settle_seconds=0), clock, settings)


def victim(rig: Rig, at: int, after: bool, report: Callable[[Any], None]) -> None:
    """Works until it dies; or to the end, when it has fewer than ``at`` mutations to make."""

    def die() -> None:
        report(store.mutations[-1])
        os.kill(os.getpid(), signal.SIGKILL)

    store = Mortal(rig.store, at, after, die)
    rig.drop("a.wav", SPEECH)
    rig.worker(store=store).run(drain=True)


def heir(rig: Rig, report: Callable[[Any], None]) -> None:
    """Goes on, and checks what is there in the end."""
    kept = rig.kept_stages()
    engine = ScriptedEngine()
    late: Store = Later(rig.store, LATER)  # type: ignore[assignment]
    rig.made = 1  # another name than the victim's
    rig.worker(engine, store=late).run(drain=True)
    check_right(rig, "a.wav", SPEECH)
    report(
        {
            "kept": kept,
            "ran": engine.ran,
            "words": rig.words("a.wav").decode(),
            "results": rig.keys("results/"),
            "attempts": rig.record().attempts,
            "litter": sorted(path.name for path in rig.settings.work_dir.glob("*")),
        }
    )


def forked(act: Callable[[Callable[[Any], None]], None]) -> tuple[int, Any]:
    """(wait status, what it reported) of ``act`` in a process of its own."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(read_fd)
            act(lambda value: os.write(write_fd, json.dumps(value).encode()) and None)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(write_fd)
    with os.fdopen(read_fd) as pipe:
        told = pipe.read()
    return os.waitpid(pid, 0)[1], json.loads(told) if told else None


def main(work_dir: Path, url: str, points: list[int]) -> None:
    at = 0
    while True:
        at += 1
        if points and at > max(points):
            return
        if points and at not in points:
            continue
        for after in (False, True):
            name = f"{at}-{'after' if after else 'before'}"
            died, mutation = forked(lambda report: victim(rig_at(work_dir, url, name), at, after, report))  # noqa: B023
            lived, found = forked(lambda report: heir(rig_at(work_dir, url, name), report))  # noqa: B023
            print(json.dumps({"point": name, "mutation": mutation, "died": died, "lived": lived, **(found or {})}))
            if died != signal.SIGKILL:
                return


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], [int(point) for point in sys.argv[3:]])
