"""A worker and its jobs: what is transcribed once and reused, and who gets the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest
from worker_rig import Rig, at, check_right, drain, heard, text_of

from handler.fakes import OwnedClock, ScriptedEngine
from handler.job import MAX_SUBSCRIBERS
from handler.settled import settle
from handler.store.memory import Call, MemoryStore
from handler.types import SettledMarker
from handler.worker import Worker
from pipeline.errors import EngineFailure, ErrorDetail, NoAudio
from pipeline.plan import GENERATING_OUTPUT, TRANSCRIBING
from pipeline.types import Event, JobRequest

SPEECH = b"somebody talks"
TRANSIENT = EngineFailure("the decoder stumbled").to_detail()
HOPELESS = NoAudio("there is no sound in it").to_detail()


# ── what is reused ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_recording_is_transcribed(any_rig: Rig) -> None:
    """On every store: a dropped recording gets its result, its manifest and its marker, by one run of each stage."""
    any_rig.drop("calls/a b.wav", SPEECH)
    engine = drain(any_rig)
    check_right(any_rig, "calls/a b.wav", SPEECH)
    assert engine.ran == [TRANSCRIBING, GENERATING_OUTPUT]
    assert engine.closed
    record = any_rig.record()
    assert (record.state, record.attempts, record.takeovers) == ("done", 0, 0)
    assert set(record.stages) == {TRANSCRIBING, GENERATING_OUTPUT}


def test_the_same_bytes_start_no_engine(any_rig: Rig) -> None:
    """The same bytes under a new key are published from the bucket: no engine, no stage."""
    any_rig.drop("a.wav", SPEECH)
    drain(any_rig)
    any_rig.drop("b.wav", SPEECH)
    worker = any_rig.worker(engine := ScriptedEngine())
    tally = worker.run(drain=True)
    assert engine.jobs == 0
    assert (tally.completed, tally.cached) == (1, 1)
    check_right(any_rig, "b.wav", SPEECH)
    first, second = any_rig.result("a.wav"), any_rig.result("b.wav")
    assert first["results"] == second["results"]
    assert first["metadata"]["request_id"] != second["metadata"]["request_id"]


def test_other_output_options_redo_no_transcript(rig: Rig) -> None:
    """An option of the last stage runs the last stage alone."""
    rig.drop("a.wav", SPEECH)
    drain(rig)
    rig.drop("b.wav.options.json", b'{"utt_split": 3}')
    rig.drop("b.wav", SPEECH)
    assert drain(rig).ran == [GENERATING_OUTPUT]
    check_right(rig, "b.wav", SPEECH)


def test_an_evicted_result_is_made_again(rig: Rig) -> None:
    """A done job whose artifacts are gone from the cache costs a run, not the result."""
    rig.drop("a.wav", SPEECH)
    drain(rig)
    for key in rig.keys(".dropscribe/v1/stages/"):
        rig.store.delete(key)
    rig.drop("b.wav", SPEECH)
    assert drain(rig).ran == [TRANSCRIBING, GENERATING_OUTPUT]
    check_right(rig, "a.wav", SPEECH)
    check_right(rig, "b.wav", SPEECH)


@pytest.mark.parametrize("inline", [True, False])
def test_a_damaged_artifact_is_made_again(rig: Rig, inline: bool) -> None:
    """Bytes that are not what the reference says are a miss: the stage runs again, and the cache is mended."""
    inline_bytes = rig.settings.inline_bytes if inline else 0
    rig.drop("a.wav", SPEECH)
    rig.worker(inline_bytes=inline_bytes).run(drain=True)
    damaged = rig.keys(".dropscribe/v1/stages/") if inline else rig.keys(".dropscribe/v1/blobs/")
    assert len(damaged) == 2
    for key in damaged:
        body = rig.store.get(key).body
        rig.store.put(key, body.replace(text_of(SPEECH)[:8].encode(), b"nonsense"))
    for name, runs in (("b.wav", 1), ("c.wav", 0)):
        rig.drop(name, SPEECH)
        rig.worker(engine := ScriptedEngine(), inline_bytes=inline_bytes).run(drain=True)
        assert engine.jobs == runs
        check_right(rig, name, SPEECH)


# ── who gets the result ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_second_worker_joins(rig: Rig) -> None:
    """Inputs of the same bytes wait for the one who has the job, who publishes for all of them."""
    rig.drop("a.wav", SPEECH)
    rig.drop("b.wav", SPEECH)
    idle = ScriptedEngine()
    other = rig.worker(idle)
    first = rig.worker(engine := at(TRANSCRIBING, other.sweep))
    first.inputs.handle(rig.candidate("a.wav"))
    assert (engine.jobs, idle.jobs) == (1, 0)
    assert [subscriber.key for subscriber in rig.record().subscribers] == ["a.wav", "b.wav"]
    for key in ("a.wav", "b.wav"):
        check_right(rig, key, SPEECH)
        assert rig.manifest(key)["worker"] == first.name
    assert other.sweep() == (False, False)


class Joined(ScriptedEngine):
    """Another worker sees the bucket before each job gets its answer."""

    def __init__(self, other: Worker, failures: Sequence[ErrorDetail]) -> None:
        super().__init__(failures=failures)
        self._other = other

    def run(
        self, request: JobRequest, *, time_limit: Callable[[float | None], float], poll: float
    ) -> Iterator[Event | None]:
        self._other.sweep()
        yield from super().run(request, time_limit=time_limit, poll=poll)


def test_a_dead_job_tells_everybody(rig: Rig) -> None:
    """Whoever joined a job that fails gets the error."""
    rig.drop("a.wav", SPEECH)
    rig.drop("b.wav", SPEECH)
    worker = rig.worker(Joined(rig.worker(), [HOPELESS]))
    worker.inputs.handle(rig.candidate("a.wav"))
    assert worker.tally.failed == 2
    for key in ("a.wav", "b.wav"):
        assert rig.error(key)["err_msg"].startswith(HOPELESS.message)
        assert rig.settled(key) == "failed"
        assert rig.manifest(key)["status"] == "failed"


def test_the_sixty_fifth_waits_for_the_scan(rig: Rig) -> None:
    """A job's record takes so many subscribers; the others are found unsettled, and published from the cache."""
    keys = [f"{number:02}.wav" for number in range(MAX_SUBSCRIBERS + 3)]
    for key in keys:
        rig.drop(key, SPEECH)
    other = rig.worker(idle := ScriptedEngine())
    worker = rig.worker(engine := at(TRANSCRIBING, other.sweep))
    worker.inputs.handle(rig.candidate(keys[0]))
    assert len(rig.record().subscribers) == MAX_SUBSCRIBERS
    assert [rig.settled(key) for key in keys].count("completed") == MAX_SUBSCRIBERS
    worker.run(drain=True)
    assert (engine.jobs, idle.jobs) == (1, 0)
    for key in keys:
        check_right(rig, key, SPEECH)


@pytest.mark.parametrize("failures", [[], [HOPELESS]])
def test_a_settled_input_keeps_its_result(rig: Rig, clock: OwnedClock, failures: list[ErrorDetail]) -> None:
    """An input whose options changed between two attempts has its result from another job: the first job, which the
    same bytes bring to its end later, is not published for it.
    """
    rig.drop("a.wav", SPEECH)
    rig.worker(ScriptedEngine(failures=[TRANSIENT])).sweep()
    rig.drop("a.wav.options.json", b'{"smart_format": true}')
    drain(rig)
    kept = [rig.body(f"{folder}/a.wav.json") for folder in ("results", "progress")]
    clock.advance(100)
    rig.drop("b.wav", SPEECH)
    drain(rig, ScriptedEngine(failures=failures))
    assert sorted([subscriber.key for subscriber in record.subscribers] for record in rig.records()) == [
        ["a.wav"],
        ["b.wav"],
    ]
    assert [rig.body(f"{folder}/a.wav.json") for folder in ("results", "progress")] == kept
    check_right(rig, "a.wav", SPEECH)
    assert rig.settled("b.wav") == ("failed" if failures else "completed")


@pytest.mark.parametrize("alone", [True, False])
def test_a_cancelled_input_whose_manifest_was_written_over(
    rig: Rig, bucket: MemoryStore, clock: OwnedClock, alone: bool
) -> None:
    """An attempt that began before a cancel may write its progress after it: whoever takes the job up says once more
    that the input is cancelled, before it forgets about it.
    """
    rig.drop("a.wav", SPEECH)
    rig.worker(ScriptedEngine(failures=[TRANSIENT])).sweep()
    clock.advance(100)
    candidate = rig.candidate("a.wav")

    def hook(call: Call, phase: str) -> None:
        if (call.method, phase) == ("put", "before") and call.key.startswith(".dropscribe/v1/jobs/"):
            settle(rig.store, rig.layout, clock, marker)  # its manifest says that it is queued

    marker = SettledMarker(
        key="a.wav", sid=candidate.sid, outcome="cancelled", job_id="", settled_at="2026-01-01T00:00:00Z"
    )
    if not alone:
        rig.drop("b.wav", SPEECH)
    rig.worker(store=bucket.client(hook)).inputs.handle(candidate if alone else rig.candidate("b.wav"))
    if not alone:
        check_right(rig, "b.wav", SPEECH)
    assert rig.json("progress/a.wav.json")["status"] == "cancelled"
    assert rig.settled("a.wav") == "cancelled"
    assert rig.body("results/a.wav.json") is None


def test_who_joins_a_job_that_is_let_go_of(rig: Rig, bucket: MemoryStore, clock: OwnedClock) -> None:
    """A job that is claimed for a settled input is let go of, unless another input has come to wait for it by then."""
    rig.drop("a.wav", SPEECH)
    rig.worker(ScriptedEngine(failures=[TRANSIENT])).sweep()
    clock.advance(100)
    candidate, other = rig.candidate("a.wav"), rig.worker()
    marker = rig.layout.settled_key(candidate.sid)

    def hook(call: Call, phase: str) -> None:
        if (call.method, phase) == ("put", "before") and call.key.startswith(".dropscribe/v1/jobs/"):
            rig.store.put(marker, b"{}")  # by somebody who was faster
        elif (call.method, call.key, phase) == ("head", marker, "after") and rig.body(marker) is not None:
            rig.drop("b.wav", SPEECH)
            other.inputs.see(rig.candidate("b.wav"), frozenset())

    rig.worker(engine := ScriptedEngine(), store=bucket.client(hook)).inputs.handle(candidate)
    assert (engine.jobs, rig.record().state) == (1, "done")
    check_right(rig, "b.wav", SPEECH)


@pytest.mark.parametrize("meanwhile", [True, False])
def test_an_overwritten_recording(rig: Rig, bucket: MemoryStore, meanwhile: bool) -> None:
    """A recording replaced while it is worked on gets the new one's result, and the old one's is never to be seen;
    whether another worker is done with the new one ``meanwhile``, or this one finds it afterwards.
    """
    seen: list[str] = []

    def watch(call: Call, phase: str) -> None:
        if phase == "after" and call.key.startswith("results/"):
            seen.append(heard(rig.result("a.wav")))

    def replace() -> None:
        rig.drop("a.wav", b"somebody else talks")
        if meanwhile:
            rig.worker().run(drain=True)

    rig.drop("a.wav", SPEECH)
    old = rig.candidate("a.wav").source.sid
    worker = rig.worker(at(GENERATING_OUTPUT, replace), store=bucket.client(watch))
    worker.run(drain=True)
    check_right(rig, "a.wav", b"somebody else talks")
    assert set(seen) <= {text_of(b"somebody else talks")}
    assert rig.json(rig.layout.settled_key(old))["outcome"] == "cancelled"
    assert len(rig.records()) == 2


def test_a_deleted_recording(rig: Rig) -> None:
    """A recording deleted while it is worked on is settled without a result, and its manifest says why."""
    rig.drop("a.wav", SPEECH)
    old = rig.candidate("a.wav").source.sid
    drain(rig, at(TRANSCRIBING, lambda: rig.store.delete("input/a.wav")))
    assert rig.json(rig.layout.settled_key(old))["outcome"] == "cancelled"
    assert rig.result("a.wav") is None
    assert rig.error("a.wav") is None
    manifest = rig.manifest("a.wav")
    assert manifest["status"] == "cancelled"
    assert "deleted" in manifest["message"]


def test_deleted_before_its_download(rig: Rig) -> None:
    """A subscriber whose claimer's recording is gone before it was fetched gets its result all the same."""
    rig.drop("a.wav", SPEECH)
    rig.drop("b.wav", SPEECH)
    worker = rig.worker(failing := ScriptedEngine(failures=[TRANSIENT]))
    worker.sweep()
    assert [subscriber.key for subscriber in rig.record().subscribers] == ["a.wav", "b.wav"]
    rig.store.delete("input/a.wav")
    worker.run(drain=True)
    assert failing.ran == [TRANSCRIBING, GENERATING_OUTPUT]
    check_right(rig, "b.wav", SPEECH)
    assert rig.result("a.wav") is None
