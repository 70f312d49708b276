"""A worker that dies at any of the requests of a job: the next one gives the one right result and redoes no finished
stage.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from worker_rig import Rig, check_right, dies, heard, points, text_of

from handler.fakes import ScriptedEngine
from pipeline.errors import NoAudio
from pipeline.plan import GENERATING_OUTPUT, TRANSCRIBING

SCRIPT = Path(__file__).with_name("crash_points.py")
SPEECH = b"somebody talks"
HOPELESS = NoAudio("there is no sound in it").to_detail()


# ── real processes, real kills ───────────────────────────────────────────────────────────────────────────────────────


def killed_at(tmp_path: Path, url: str, *points: int) -> list[dict[str, Any]]:
    """What crash_points.py tells of each point."""
    command = [sys.executable, str(SCRIPT), str(tmp_path / "work"), url, *(str(point) for point in points)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    for point in found:
        assert point["lived"] == 0, f"{point}\n{done.stderr}"
    return found


def check_points(points: list[dict[str, Any]]) -> None:
    for point in points:
        assert point["died"] == signal.SIGKILL, point
        assert point["results"] == ["results/a.wav.json"], point
        assert sorted(point["kept"] + point["ran"]) == [GENERATING_OUTPUT, TRANSCRIBING], point  # nothing twice
        assert point["attempts"] == 0, point
        assert point["litter"] == [], point
    assert len({point["words"] for point in points}) == 1


def test_killed_at_every_request_on_a_folder(tmp_path: Path) -> None:
    """SIGKILL before and after each mutating request on a folder: one right result, the same bytes as undisturbed, no
    stage redone whose artifact was stored, no attempt charged, nothing left on the disk.
    """
    (tmp_path / "buckets").mkdir()
    *points, undisturbed = killed_at(tmp_path, f"file://{tmp_path}/buckets")
    assert undisturbed["died"] == 0
    check_points(points)
    assert points[0]["words"] == undisturbed["words"]
    prefixes = [point["mutation"].split("/")[-2].removeprefix("put ") for point in points[::2]]
    for prefix in ("sources", "jobs", "progress", "stages", "results", "settled"):
        assert prefix in prefixes


def test_killed_on_s3(s3_bucket: str, tmp_path: Path) -> None:
    """The same on S3, at the requests that matter: the claim, both stages' references, the commit."""
    points = killed_at(tmp_path, f"s3://{s3_bucket}", 2, 5, 6, 7)
    assert len(points) == 8
    check_points(points)
    assert [point["mutation"].split("/")[-2] for point in points[2::2]] == ["stages", "stages", "jobs"]


# ── every point of other courses, in one process ─────────────────────────────────────────────────────────────────────


def test_dying_with_a_known_result(fresh: Callable[[], Rig]) -> None:
    """Whoever dies while a known result is published under a new key is replaced without a stage being run."""
    for at, after in points():
        rig = fresh()
        rig.drop("a.wav", SPEECH)
        rig.worker().run(drain=True)
        rig.drop("b.wav", SPEECH)
        died = dies(rig, at, after, engine := ScriptedEngine())
        rig.worker(engine).run(drain=True)
        assert engine.jobs == 0, (at, after)
        check_right(rig, "b.wav", SPEECH)
        assert rig.words("a.wav") == rig.words("b.wav")
        if not died:
            break
    assert at > 4


def test_dying_with_subscribers(fresh: Callable[[], Rig]) -> None:
    """Whoever dies with others waiting for the job leaves none of them without a result."""
    for at, after in points():
        rig = fresh()
        for key in ("a.wav", "b.wav", "c.wav"):
            rig.drop(key, SPEECH)
        joins = rig.worker()
        engine = ScriptedEngine(between=lambda stage, joins=joins: joins.sweep() and None)  # type: ignore[misc]
        died = dies(rig, at, after, engine)
        kept = rig.kept_stages()
        rig.worker(heir := ScriptedEngine()).run(drain=True)
        assert not set(kept) & set(heir.ran), (at, after)
        for key in ("a.wav", "b.wav", "c.wav"):
            check_right(rig, key, SPEECH)
        assert len(rig.records()) == 1
        if not died:
            break
    assert at > 10


def test_dying_with_a_failure(fresh: Callable[[], Rig]) -> None:
    """Whoever dies while a hopeless job is buried: in the end there is the error, once, and no result."""
    for at, after in points():
        rig = fresh()
        rig.drop("a.wav", SPEECH)
        died = dies(rig, at, after, ScriptedEngine(failures=[HOPELESS]))
        rig.worker(ScriptedEngine(failures=[HOPELESS])).run(drain=True)
        assert rig.settled("a.wav") == "failed", (at, after)
        assert rig.error("a.wav")["err_msg"].startswith(HOPELESS.message)
        assert rig.result("a.wav") is None
        assert rig.manifest("a.wav")["status"] == "failed"
        assert (rig.record().state, rig.record().attempts) == ("dead", 1)
        assert len(rig.keys(".dropscribe/v1/dead/")) == 1
        if not died:
            break
    assert at > 5


def test_dying_with_an_overwritten_recording(fresh: Callable[[], Rig]) -> None:
    """Whoever dies while the recording is replaced: in the end there is the new one's result, whatever was written."""
    for at, after in points():
        rig = fresh()
        rig.drop("a.wav", SPEECH)
        engine = ScriptedEngine(between=lambda stage, rig=rig: rig.drop("a.wav", b"replaced"))  # type: ignore[misc]
        died = dies(rig, at, after, engine)
        rig.drop("a.wav", b"replaced")
        rig.worker().run(drain=True)
        check_right(rig, "a.wav", b"replaced")
        if not died:
            break
    assert at > 5


def test_two_deaths(fresh: Callable[[], Rig], long: bool) -> None:
    """Two workers in a row that die: the third gives the right result. Every pair of points with --long."""
    step = 1 if long else 7
    pairs = list(itertools.product(itertools.product(range(1, 13), (False, True)), repeat=2))[::step]
    for first, second in pairs:
        rig = fresh()
        rig.drop("a.wav", SPEECH)
        ran: list[str] = []
        for at, after in (first, second):
            kept = rig.kept_stages()
            dies(rig, at, after, engine := ScriptedEngine())
            assert not set(kept) & set(engine.ran), (first, second)
        kept = rig.kept_stages()
        rig.worker(last := ScriptedEngine()).run(drain=True)
        assert not set(kept) & set(last.ran), (first, second)
        ran += last.ran
        check_right(rig, "a.wav", SPEECH)
        assert heard(rig.result("a.wav")) == text_of(SPEECH)
        assert rig.record().takeovers <= 2
        assert rig.record().attempts == 0
