"""One job through the stages: what is skipped, what is told, what is left in the work directory."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media import beginning, write_audio

from pipeline.catalog import Model, resolve
from pipeline.errors import EmptyMedia, EngineFailure, ModelUnavailable, OptionsError, UnreadableMedia
from pipeline.models import Models
from pipeline.options import Options
from pipeline.plan import GENERATING_OUTPUT, TRANSCRIBING, artifact_name
from pipeline.rates import Rates
from pipeline.run import run_job
from pipeline.types import Event, JobRequest, Media, Progress, StageDone, Transcript

SEED = "5eed" * 16
TRANSCRIPT, RESULTS = artifact_name(TRANSCRIBING), artifact_name(GENERATING_OUTPUT)


@dataclass
class Job:
    """A work directory and what was told about it. ``look``: called with each event, while the job is at that point."""

    work: Path
    source: str
    models: Models
    events: list[Event] = field(default_factory=list)
    rates: Rates = field(default_factory=Rates)
    look: Callable[[Event], None] = lambda event: None

    def run(self, **options: Any) -> None:
        self.events = []
        request = JobRequest(
            work=str(self.work),
            source=self.source,
            options=Options(**options).model_dump(mode="json"),
            model=resolve("sphinx", None, self.work).model_dump(mode="json"),
            seed=SEED,
        )
        run_job(self.work, request, self.models, self._tell, rates=self.rates)

    def _tell(self, event: Event) -> None:
        self.events.append(event)
        self.look(event)

    @property
    def results(self) -> Any:
        return json.loads((self.work / RESULTS).read_bytes())

    @property
    def files(self) -> set[str]:
        return {path.name for path in self.work.iterdir()}

    def done(self) -> list[str]:
        return [event.stage for event in self.events if isinstance(event, StageDone)]


@pytest.fixture(scope="module")
def models() -> Models:
    """Warm: a recogniser takes most of a second to load."""
    return Models()


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds in which somebody says a few words."""
    return write_audio(tmp_path_factory.mktemp("speech") / "speech.wav", beginning(2.0))


@pytest.fixture
def job(tmp_path: Path, speech: Path, models: Models) -> Job:
    (tmp_path / "source.wav").symlink_to(speech)
    return Job(tmp_path, "source.wav", models)


class NoModels(Models):
    """For jobs that must not come to need one."""

    def get(self, model: Model) -> Any:
        raise ModelUnavailable("nothing may be loaded")


def words(job: Job) -> list[str]:
    return [word["word"] for channel in job.results["channels"] for word in channel["alternatives"][0]["words"]]


def test_a_job_tells_its_course(job: Job) -> None:
    """The media, then rising percents, then each stage once, the last one with the facts; `Done` is not its to say."""
    job.run()
    first = job.events[0]
    assert isinstance(first, Media)
    assert first.duration == pytest.approx(2.0, abs=0.01)
    assert first.channels == 1
    assert job.done() == [TRANSCRIBING, GENERATING_OUTPUT]
    for stage in job.done():
        percents = [event.percent for event in job.events if isinstance(event, Progress) and event.stage == stage]
        assert percents == sorted(percents)
        assert all(0 <= percent <= 100 for percent in percents)
    heard = [event for event in job.events if isinstance(event, Progress) and event.partial]
    assert heard[-1].percent == 100
    assert heard[-1].done == heard[-1].total
    order = [event.stage for event in job.events if isinstance(event, Progress | StageDone)]
    assert order == sorted(order, key=[TRANSCRIBING, GENERATING_OUTPUT].index)
    last = job.events[-1]
    assert isinstance(last, StageDone)
    assert last.facts is not None
    assert last.facts.duration == pytest.approx(2.0, abs=0.01)
    assert [model.name for model in last.facts.models] == ["sphinx"]


def test_only_the_artifacts_are_left(job: Job) -> None:
    """Afterwards the work directory holds the source and the artifacts: no decoded sound, nothing half-written."""
    there: set[str] = set()
    job.look = lambda event: there.update(job.files)
    job.run()
    assert "audio" in there  # it was needed in between
    assert job.files == {"source.wav", TRANSCRIPT, RESULTS}
    assert words(job)


def test_a_kept_transcript_needs_no_sound(job: Job) -> None:
    """With the transcript's artifact there, nothing is decoded or recognised, and the results are the same bytes."""
    job.run()
    before = (job.work / RESULTS).read_bytes()
    (job.work / RESULTS).unlink()
    (job.work / "source.wav").unlink()
    job.models, job.source = NoModels(), ""
    job.run()
    assert job.done() == [GENERATING_OUTPUT]
    assert not any(isinstance(event, Media) for event in job.events)
    assert (job.work / RESULTS).read_bytes() == before


def test_a_torn_transcript_is_an_error(job: Job) -> None:
    """An artifact that is there is believed, so one that is no transcript is said, not overwritten."""
    (job.work / TRANSCRIPT).write_bytes(b'{"format": 1, "media": ')
    with pytest.raises(EngineFailure, match="is no transcript"):
        job.run()


def test_artifacts_appear_whole(job: Job) -> None:
    """When a stage is said to be done its artifact is there, complete; before, there is nothing under its name."""

    def look(event: Event) -> None:
        if isinstance(event, StageDone):
            body = (job.work / event.artifact).read_bytes()
            assert json.loads(body)
            if event.stage == TRANSCRIBING:
                assert Transcript.model_validate_json(body).media.duration > 0
        else:
            assert RESULTS not in job.files

    job.look = look
    job.run()


def test_a_full_disk_leaves_no_half_artifact(job: Job) -> None:
    """An artifact that is there is believed: one that could not be written to its end is not there."""
    job.run()
    (job.work / RESULTS).unlink()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))  # bytes, of any file
    try:
        with pytest.raises(OSError, match="File too large"):
            job.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert RESULTS not in job.files
    job.run()
    assert words(job)


@pytest.mark.parametrize("broken", [b"", b"no recording at all"])
def test_a_failed_job_leaves_no_sound(job: Job, broken: bytes) -> None:
    """Whatever the recording is, the decoded sound goes, and no artifact claims that there is a transcript."""
    (job.work / "source.wav").unlink()
    (job.work / "source.wav").write_bytes(broken)
    with pytest.raises(UnreadableMedia if broken else EmptyMedia):
        job.run()
    assert job.files == {"source.wav"}


def test_what_a_killed_run_left_is_no_obstacle(job: Job) -> None:
    """A work directory in which a run was killed serves the next one."""
    (job.work / "audio").mkdir()
    (job.work / "audio" / "0.pcm").write_bytes(b"half")
    (job.work / f"{TRANSCRIPT}.tmp").write_bytes(b"half")
    job.run()
    assert words(job)
    assert "audio" not in job.files


def test_multichannel(tmp_path: Path, models: Models) -> None:
    """With multichannel each channel is transcribed by itself; without, they are one."""
    sound = beginning(2.0)
    write_audio(tmp_path / "source.wav", np.concatenate([sound, np.zeros_like(sound)]))
    job = Job(tmp_path, "source.wav", models)
    job.run(multichannel=True)
    channels = job.results["channels"]
    assert len(channels) == 2
    assert channels[0]["alternatives"][0]["words"]
    assert channels[1]["alternatives"][0]["words"] == []
    for name in (TRANSCRIPT, RESULTS):
        (tmp_path / name).unlink()
    job.run()
    assert len(job.results["channels"]) == 1


def test_the_same_job_gives_the_same_bytes(job: Job) -> None:
    """Run again from the sound, a job's results are the same bytes, whatever the engine did in between."""
    job.run()
    before = (job.work / RESULTS).read_bytes()
    for name in (TRANSCRIPT, RESULTS):
        (job.work / name).unlink()
    job.run()
    assert (job.work / RESULTS).read_bytes() == before


def test_an_impossible_request_is_said_before_decoding(job: Job) -> None:
    """What the model cannot do is said at once, not after minutes of decoding."""
    with pytest.raises(OptionsError, match="English only"):
        job.run(language="de")
    assert job.events == []


class Killed(BaseException):
    """Ends a run at one of its events, as a kill would."""


def test_a_run_that_was_cut_off_goes_on_where_it_was(tmp_path: Path, speech: Path, models: Models) -> None:
    """Cut off at an event of any kind, a job leaves what it had finished: the next run does the rest and no more, and
    gives the same bytes.
    """

    def job_in(folder: Path) -> Job:
        folder.mkdir()
        (folder / "source.wav").symlink_to(speech)
        return Job(folder, "source.wav", models)

    whole = job_in(tmp_path / "whole")
    whole.run()
    kinds = [(type(event), getattr(event, "stage", "")) for event in whole.events]
    for number in sorted({kinds.index(kind) for kind in kinds}):
        job = job_in(tmp_path / str(number))

        def cut_off(event: Event, job: Job = job, number: int = number) -> None:
            if len(job.events) > number:
                raise Killed

        job.look = cut_off
        with pytest.raises(Killed):
            job.run()
        finished = [name for name in (TRANSCRIPT, RESULTS) if name in job.files]
        job.look = lambda event: None
        job.run()
        assert (job.work / RESULTS).read_bytes() == (whole.work / RESULTS).read_bytes()
        assert job.done() == ([] if TRANSCRIPT in finished else [TRANSCRIBING]) + [GENERATING_OUTPUT]
        assert any(isinstance(event, Media) for event in job.events) == (TRANSCRIPT not in finished)
        assert job.files == {"source.wav", TRANSCRIPT, RESULTS}


def test_the_second_job_knows_how_long_it_takes(job: Job) -> None:
    """The first job of a model tells no time that it cannot know; the next one does, from its first percent on."""
    job.run()
    assert not any(event.eta for event in job.events if isinstance(event, Progress) and event.percent < 12)
    for name in (TRANSCRIPT, RESULTS):
        (job.work / name).unlink()
    job.run()
    told = [event for event in job.events if isinstance(event, Progress)]
    assert told[0].percent < 10
    assert all(event.eta is not None and event.job_eta is not None for event in told)
    assert told[0].job_eta >= told[0].eta > 0  # type: ignore[operator]
    assert told[-1].stage == GENERATING_OUTPUT
