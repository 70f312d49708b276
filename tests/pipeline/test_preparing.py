"""Work ahead of a job: whose turn it is, what a job takes from it, and that it never changes or costs a job."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest
from media import beginning, write_audio
from preparing_rig import PATIENCE, asking, downloaded, job_in, results, until

from pipeline.models import Models
from pipeline.plan import GENERATING_OUTPUT, TRANSCRIBING
from pipeline.preparing import Ahead, Preparing
from pipeline.run import run_job
from pipeline.types import Event, Media, Progress, StageDone


@pytest.fixture(scope="module")
def models() -> Models:
    return Models()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return downloaded(tmp_path)


def decoded(ahead: Ahead | None) -> bool:
    return ahead is not None and ahead.audio is not None


class Gate:
    """Preparations that begin when they are let, one after the other; ``begun``: their folders."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self._let = threading.Semaphore(0)
        self.niceness: int | None = None

    def __call__(self, ahead: Ahead) -> None:
        self.begun.append(Path(ahead.request.folder).name)
        if sys.platform == "linux":
            self.niceness = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        assert self._let.acquire(timeout=PATIENCE)
        ahead.run()
        self.ended.append(Path(ahead.request.folder).name)

    def let(self) -> None:
        self._let.release()


def find(preparing: Preparing, folder: Path, per_channel: bool = False, longest: float | None = None) -> Ahead | None:
    return preparing.find(str(folder), per_channel=per_channel, max_duration=longest)


# ── whose turn it is ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_one_takes_the_place_of_what_nobody_asked_for(tmp_path: Path, source: Path) -> None:
    """Under way or waiting, an unasked preparation is stopped and forgotten; only the last one is finished."""
    gate = Gate()
    preparing = Preparing(gate)
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder in folders:
        preparing.ask(asking(folder, source))
    assert find(preparing, folders[0]) is find(preparing, folders[1]) is None
    last = find(preparing, folders[2])
    assert last is not None
    for _ in folders:
        gate.let()
    assert last.over.wait(PATIENCE)
    assert last.ready
    assert [list(folder.iterdir()) for folder in folders[:2]] == [[], []]
    assert [path.name for path in folders[2].iterdir()] == ["track-0.s16"]


def test_a_new_one_waits_for_what_a_job_asked_for(tmp_path: Path, source: Path) -> None:
    """Once its job has come, a preparation is finished, and the next one after it."""
    gate = Gate()
    preparing = Preparing(gate)
    preparing.ask(asking(tmp_path / "a", source))
    preparing.claim(str(tmp_path / "a"))
    preparing.ask(asking(tmp_path / "b", source))
    first, second = find(preparing, tmp_path / "a"), find(preparing, tmp_path / "b")
    assert first is not None
    assert second is not None
    gate.let()
    gate.let()
    assert second.over.wait(PATIENCE)
    assert (first.ready, second.ready, gate.begun) == (True, True, ["a", "b"])


def test_a_job_that_is_over_needs_no_preparation(tmp_path: Path, source: Path) -> None:
    """What its job did not wait for is stopped, and the folder is left as it was found."""
    gate = Gate()
    preparing = Preparing(gate)
    preparing.ask(asking(tmp_path / "a", source))
    ahead = find(preparing, tmp_path / "a")
    preparing.claim(str(tmp_path / "a"))
    preparing.forget(str(tmp_path / "a"))
    gate.let()
    assert ahead is not None
    assert ahead.over.wait(PATIENCE)
    assert not ahead.ready
    assert find(preparing, tmp_path / "a") is None
    assert list((tmp_path / "a").iterdir()) == []


def test_only_the_same_work_is_used(tmp_path: Path, source: Path) -> None:
    """A job that wants other tracks or another limit, or names a folder that is not known, finds nothing."""
    gate = Gate()
    preparing = Preparing(gate)
    preparing.ask(asking(tmp_path / "a", source, max_duration=60.0))
    assert find(preparing, tmp_path / "a", longest=60.0) is not None
    assert find(preparing, tmp_path / "a", longest=None) is None
    assert find(preparing, tmp_path / "a", per_channel=True, longest=60.0) is None
    assert find(preparing, tmp_path / "b", longest=60.0) is None
    gate.let()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads have no niceness of their own")
def test_preparing_steps_back(tmp_path: Path, source: Path) -> None:
    """The thread that prepares leaves the processor to the job's; the rest of the process is as it was."""
    gate, before = Gate(), os.getpriority(os.PRIO_PROCESS, 0)
    preparing = Preparing(gate)
    preparing.ask(asking(tmp_path / "a", source))
    until(lambda: gate.niceness is not None)
    assert gate.niceness is not None
    assert gate.niceness > before
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
    gate.let()


@pytest.mark.parametrize("broken", ["missing", "garbage", "too long", "no folder"])
def test_what_goes_wrong_is_the_jobs_to_meet(tmp_path: Path, source: Path, broken: str) -> None:
    """A preparation that fails says nothing, leaves nothing, and the next one is done."""
    preparing = Preparing()
    if broken == "garbage":
        source.write_bytes(b"no recording at all")
    bad = asking(
        tmp_path / "a", tmp_path / "none" if broken == "missing" else source,
        max_duration=0.5 if broken == "too long" else None,
    )  # fmt: skip
    if broken == "no folder":
        (tmp_path / "a").rmdir()
    preparing.ask(bad)
    ahead = find(preparing, tmp_path / "a", longest=bad.max_duration)
    assert ahead is not None
    assert ahead.over.wait(PATIENCE)
    assert ahead.audio is None
    assert ahead.wait(lambda done, total, partial=None: None, lambda claimed, channels: None) is None
    assert broken == "no folder" or list((tmp_path / "a").iterdir()) == []
    good = write_audio(tmp_path / "good.wav", beginning(0.5))
    preparing.ask(asking(tmp_path / "b", good))
    until(lambda: decoded(find(preparing, tmp_path / "b")))


# ── what a job takes from it ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_job_waits_for_what_is_under_way(tmp_path: Path, source: Path, models: Models) -> None:
    """The recording is not decoded twice: the job takes what comes, as if it had decoded it itself; its stage's percent
    and the recording's length are told meanwhile.
    """
    run_job(tmp_path / "own", job_in(tmp_path / "own", source), models, lambda event: None)
    gate = Gate()
    preparing = Preparing(gate)
    preparing.ask(asking(tmp_path / "ahead", source))
    source.unlink()  # a second name of it is in the folder
    ahead = find(preparing, tmp_path / "ahead")
    events: list[Event] = []
    job = job_in(tmp_path / "job", None, tmp_path / "ahead")
    thread = threading.Thread(
        target=run_job, args=(tmp_path / "job", job, models, events.append), kwargs={"ahead": ahead}, daemon=True
    )
    thread.start()
    try:
        until(lambda: events)
        assert [type(event) for event in events] == [Progress]
    finally:
        gate.let()
    thread.join(PATIENCE)
    assert results(tmp_path / "job") == results(tmp_path / "own")
    lengths = [event.duration for event in events if isinstance(event, Media)]  # as claimed, and as decoded
    assert lengths == [pytest.approx(1.0, abs=0.01)] * 2
    assert [event.stage for event in events if isinstance(event, StageDone)] == [TRANSCRIBING, GENERATING_OUTPUT]
    assert [path.name for path in (tmp_path / "ahead").iterdir()] == [
        "track-0.s16"
    ]  # whoever made the folder removes it


def test_a_job_does_what_could_not_be_prepared(tmp_path: Path, source: Path, models: Models) -> None:
    """The preparation fails while its job waits: the job decodes for itself."""
    gate = Gate()
    preparing = Preparing(gate)
    preparing.ask(asking(tmp_path / "ahead", tmp_path / "none.wav"))
    gate.let()
    job = job_in(tmp_path / "job", source, tmp_path / "ahead")
    run_job(tmp_path / "job", job, models, lambda event: None, ahead=find(preparing, tmp_path / "ahead"))
    run_job(tmp_path / "own", job_in(tmp_path / "own", source), models, lambda event: None)
    assert results(tmp_path / "job") == results(tmp_path / "own")
