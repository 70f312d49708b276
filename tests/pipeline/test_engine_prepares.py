"""Work ahead of a job in the engine's process: beside other jobs, in turn with them, and after a kill."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_rig import Running, line_of, request
from media import beginning, write_audio
from preparing_rig import asking, downloaded, job_in, results, until

from pipeline.types import JobRequest, PrepareRequest


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return downloaded(tmp_path)


@pytest.fixture
def start() -> Iterator[Callable[[], Running]]:
    made: list[Running] = []

    def run() -> Running:
        made.append(Running([sys.executable, "-m", "pipeline", "engine"]))
        return made[-1]

    yield run
    for engine in made:
        engine.process.kill()
        engine.end()


def line(message: PrepareRequest | JobRequest) -> bytes:
    return message.model_dump_json().encode()


def is_prepared(folder: Path) -> bool:
    """Decoded and listened to: the recording's second name is gone again."""
    return [path.name for path in folder.iterdir()] == ["track-0.s16"]


def test_the_engine_prepares_beside_a_job(start: Any, tmp_path: Path, source: Path) -> None:
    """What was decoded beside one job is the next one's sound: its own recording is gone, and the results are the same
    bytes. The job beside which it was done has the same results, too, and the engine answers jobs alone.
    """
    engine = start()
    engine.ask(line(job_in(tmp_path / "own", source)))
    engine.say(line(job_in(tmp_path / "beside", source)))
    engine.say(line(asking(tmp_path / "ahead", source)))
    assert engine.hear()[-1]["type"] == "done"
    until(lambda: is_prepared(tmp_path / "ahead"))
    source.unlink()
    events = engine.ask(line(job_in(tmp_path / "job", None, tmp_path / "ahead")))
    assert events[-1]["type"] == "done"
    assert events[0]["type"] == "media"
    first = next(event for event in events if event["type"] == "progress")
    assert first["eta"] is not None
    assert results(tmp_path / "job") == results(tmp_path / "own") == results(tmp_path / "beside")
    assert b'"word"' in results(tmp_path / "job")
    assert not (tmp_path / "job" / "audio").exists()
    failed = engine.ask(line(job_in(tmp_path / "again", None, tmp_path / "ahead")))
    assert failed[-1]["type"] == "failed"  # it was that job's, and is forgotten


def test_a_later_preparation_does_not_take_a_waiting_jobs(start: Any, tmp_path: Path, source: Path) -> None:
    """A job that has been sent keeps its preparation, though it has to wait for another job, and the one after it is
    prepared already.
    """
    engine = start()
    engine.say(line(job_in(tmp_path / "long", source)))
    engine.say(line(asking(tmp_path / "a", source)))
    engine.say(line(job_in(tmp_path / "job", None, tmp_path / "a")))
    engine.say(line(asking(tmp_path / "b", source)))
    assert [engine.hear()[-1]["type"] for _ in range(2)] == ["done", "done"]
    until(lambda: is_prepared(tmp_path / "b"))
    assert results(tmp_path / "job") == results(tmp_path / "long")


def test_an_engine_that_was_killed_meanwhile_loses_time_only(start: Any, tmp_path: Path, source: Path) -> None:
    """The next engine does not know what the dead one prepared, whole or half: it does the job from the recording."""
    engine = start()
    engine.say(line(asking(tmp_path / "ahead", source)))
    until(lambda: list((tmp_path / "ahead").iterdir()))
    engine.process.kill()
    track = tmp_path / "ahead" / "track-0.s16"
    track.write_bytes(bytes(32_000))  # silence of the same length: not to be taken for the recording
    engine = start()
    engine.ask(line(job_in(tmp_path / "own", source)))
    assert engine.ask(line(job_in(tmp_path / "job", source, tmp_path / "ahead")))[-1]["type"] == "done"
    assert results(tmp_path / "job") == results(tmp_path / "own")


def test_a_preparation_for_another_job_is_not_used(start: Any, tmp_path: Path, source: Path) -> None:
    """Decoded as one track, it is no use to a job that wants each channel: that job decodes for itself."""
    sound = beginning(1.0)
    both = write_audio(tmp_path / "both.wav", sound[[0, 0]])
    engine = start()
    engine.say(line(asking(tmp_path / "ahead", both)))
    until(lambda: is_prepared(tmp_path / "ahead"))
    assert engine.ask(line(job_in(tmp_path / "job", both, tmp_path / "ahead", multichannel=True)))[-1]["type"] == "done"
    assert results(tmp_path / "job").count(b'"alternatives"') == 2


def test_an_impossible_preparation_harms_nobody(start: Any, tmp_path: Path, source: Path) -> None:
    """One that cannot even begin is answered by nothing, and the next job is done."""
    engine = start()
    engine.say(line(PrepareRequest(folder="\0", source="\0", per_channel=False)))
    engine.say(line(PrepareRequest(folder="", source="", per_channel=True)))
    assert engine.ask(line_of(request(tmp_path, source)))[-1]["type"] == "done"
