"""What becomes of a job when the engine, the store, the model or the worker's lease fails: in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from worker_rig import Crash, Rig, at, check_right, drain, give_up

from handler.clock import VirtualClock
from handler.errors import AccessDenied, Unavailable
from handler.fakes import OwnedClock, ScriptedEngine
from handler.retry import Retry
from handler.store.memory import Call, MemoryStore
from pipeline.errors import EngineFailure, ErrorDetail, ModelUnavailable, NoAudio
from pipeline.plan import GENERATING_OUTPUT, TRANSCRIBING
from pipeline.types import Event, JobRequest, StageDone

SPEECH = b"somebody talks"
TRANSIENT = EngineFailure("the decoder stumbled").to_detail()
HOPELESS = NoAudio("there is no sound in it").to_detail()
NO_MODEL = ModelUnavailable("the weights are torn").to_detail()


def test_a_failure_is_tried_again(rig: Rig, clock: VirtualClock) -> None:
    """A failure that may pass is charged, and the next attempt follows when the manifest says, not before."""
    started: list[float] = []

    class Timed(ScriptedEngine):
        def run(self, *args: object, **kwargs: object) -> Iterator[Event | None]:
            started.append(clock.time())
            return super().run(*args, **kwargs)  # type: ignore[arg-type]

    rig.drop("a.wav", SPEECH)
    worker = rig.worker(Timed(failures=[TRANSIENT, TRANSIENT]))
    worker.sweep()
    record = rig.record()
    assert (record.state, record.attempts) == ("waiting", 1)
    manifest = rig.manifest("a.wav")
    assert manifest["status"] == "queued"
    assert TRANSIENT.message in manifest["message"]
    worker.run(drain=True)
    check_right(rig, "a.wav", SPEECH)
    assert rig.record().attempts == 2
    assert [failure.error for failure in rig.record().failures] == [TRANSIENT, TRANSIENT]
    assert record.not_before is not None
    assert started[1] >= record.not_before
    assert started[2] - started[1] >= rig.settings.backoff_seconds  # the second wait is at least half of twice that


@pytest.mark.parametrize(
    ("failures", "attempts", "error_class"),
    [([HOPELESS], 1, "NoAudio"), ([TRANSIENT] * 3, 3, "EngineFailure"), ([None] * 3, 3, "EngineDied")],
)
def test_a_dead_job(rig: Rig, failures: list[ErrorDetail | None], attempts: int, error_class: str) -> None:
    """What cannot pass is an error at once, what may pass after three attempts; the worker goes on with the next."""
    rig.drop("a.wav", SPEECH)
    worker = rig.worker(engine := ScriptedEngine(failures=failures))
    while rig.settled("a.wav") is None:
        worker.inputs.handle(rig.candidate("a.wav"))
        rig.clock.sleep(60)
    assert engine.jobs == attempts
    rig.drop("b.wav", b"the next one")
    worker.run(drain=True)
    record = next(record for record in rig.records() if record.state == "dead")
    assert record.attempts == attempts
    assert record.error is not None
    assert record.error.error_class == error_class
    assert rig.json(rig.layout.dead_key(record.jid))["attempts"] == attempts
    assert rig.error("a.wav")["err_msg"].startswith(record.error.message)
    assert rig.settled("a.wav") == "failed"
    assert rig.manifest("a.wav")["status"] == "failed"
    assert rig.result("a.wav") is None
    check_right(rig, "b.wav", b"the next one")
    assert worker.tally.failed == 1


class Scribbling(ScriptedEngine):
    """Tells nonsense about its first job."""

    def run(
        self, request: JobRequest, *, time_limit: Callable[[float | None], float], poll: float
    ) -> Iterator[Event | None]:
        for event in super().run(request, time_limit=time_limit, poll=poll):
            if isinstance(event, StageDone) and event.facts is not None and self.jobs == 1:
                yield event.model_copy(update={"facts": event.facts.model_copy(update={"duration": float("nan")})})
            else:
                yield event


def test_nonsense_costs_an_attempt(rig: Rig) -> None:
    """What an engine tells is not believed: a length that is no number is an attempt, not a crash, and is not kept."""
    rig.drop("a.wav", SPEECH)
    drain(rig, Scribbling())
    [failure] = rig.record().failures
    assert "cannot be kept" in failure.error.message
    check_right(rig, "a.wav", SPEECH)


def test_a_store_that_refuses_artifacts_is_tried_ever_more_rarely(rig: Rig, bucket: MemoryStore) -> None:
    """No attempt is charged for what the store does, but the engine does not run for nothing every few seconds; the
    manifest says why it waits."""

    def refuse(call: Call, phase: str) -> None:
        if call.verb == "PUT" and "/stages/" in call.key:
            raise AccessDenied("no permission to write stages/")

    rig.drop("a.wav", SPEECH)
    engine = ScriptedEngine()
    worker = rig.worker(engine, store=bucket.client(refuse))
    for _ in range(240):
        worker.sweep()
        rig.clock.sleep(1.0)
    assert 3 <= engine.jobs <= 7
    assert rig.record().attempts == 0
    assert rig.manifest("a.wav")["status"] == "queued"
    assert "no permission to write stages/" in rig.manifest("a.wav")["message"]
    assert rig.settled("a.wav") is None


def test_a_refusal_is_told_once(rig: Rig, bucket: MemoryStore) -> None:
    """An input that another worker settled as wrong meanwhile is not counted and published again."""
    rig.drop("a.wav", b"")
    candidate = rig.candidate("a.wav")
    drain(rig)
    client = bucket.client()
    late = rig.worker(store=client)
    assert late.inputs.handle(candidate)
    assert late.tally.failed == 0
    assert client.counts()["PUT"] == 0


def test_an_error_of_ours_costs_attempts(rig: Rig) -> None:
    """A recording that makes the worker itself stumble ends as an error like any other, and the worker goes on."""

    class Stumbling(ScriptedEngine):
        def run(self, *args: object, **kwargs: object) -> Iterator[Event | None]:
            raise KeyError("nobody thought of this")

    rig.drop("a.wav", SPEECH)
    drain(rig, Stumbling())
    assert rig.error("a.wav")["attempts"] == 3
    assert "nobody thought of this" in rig.error("a.wav")["err_msg"]


def test_a_long_download_shortens_no_wait(rig: Rig, bucket: MemoryStore, clock: OwnedClock) -> None:
    """The store's time of a claim is that of the claim: the wait after a failure begins at the failure."""

    def slow(call: Call, phase: str) -> None:
        if call.method == "download" and phase == "before":
            clock.advance(500)

    rig.drop("a.wav", SPEECH)
    rig.worker(ScriptedEngine(failures=[TRANSIENT]), store=bucket.client(slow)).sweep()
    record = rig.record()
    assert record.token >= int(clock.time()) - 1
    assert record.not_before is not None
    assert record.not_before > clock.time()


def test_a_download_that_is_of_no_use_goes(rig: Rig, bucket: MemoryStore) -> None:
    """A recording that was downloaded, but whose hash could not be stored, does not stay on the worker's disk."""
    left: list[list[Path]] = []

    def fail(call: Call, phase: str) -> None:
        if call.verb == "PUT" and "sources/" in call.key:
            raise Unavailable("no answer")

    rig.drop("a.wav", SPEECH)
    worker = rig.worker(store=bucket.client(fail))
    worker.sweep()
    left.append([path for path in rig.settings.work_dir.rglob("*.wav") if path.is_file()])
    assert left == [[]]
    assert rig.keys(".dropscribe/v1/jobs/") == []


def test_a_success_takes_the_error_away(rig: Rig) -> None:
    """After a retry that succeeds, nothing says any more that it failed."""
    rig.drop("a.wav", SPEECH)
    drain(rig, ScriptedEngine(failures=[HOPELESS]))
    assert rig.error("a.wav") is not None
    Retry(rig.jobs()).key("a.wav")
    drain(rig)
    check_right(rig, "a.wav", SPEECH)
    assert rig.keys(".dropscribe/v1/dead/") == []


def test_a_refusal_is_forgotten_even_after_a_crash(rig: Rig) -> None:
    """An input once refused for its options, then retried by a worker that is lost: the next success removes the
    error.
    """
    rig.drop("a.wav.options.json", b'{"no_such_option": 1}')
    rig.drop("a.wav", SPEECH)
    drain(rig)
    assert rig.error("a.wav") is not None
    rig.store.delete("input/a.wav.options.json")
    Retry(rig.jobs()).key("a.wav")

    with pytest.raises(Crash):
        rig.worker(at(TRANSCRIBING, give_up)).inputs.handle(rig.candidate("a.wav"))
    drain(rig)
    check_right(rig, "a.wav", SPEECH)


def test_a_lost_lease_commits_nothing(rig: Rig, bucket: MemoryStore, clock: OwnedClock) -> None:
    """A worker that was away for longer than its lease kills its engine and writes nothing more."""
    other = ScriptedEngine()
    requests: list[int] = []
    store = bucket.client()

    def stall() -> None:
        clock.advance(rig.settings.lease_seconds + 10)
        rig.worker(other).run(drain=True)
        requests.append(len(store.calls))

    class Watched(ScriptedEngine):
        killed = False

        def run(self, *args: object, **kwargs: object) -> Iterator[Event | None]:
            try:
                yield from super().run(*args, **kwargs)  # type: ignore[arg-type]
            except GeneratorExit:
                self.killed = True
                raise

    rig.drop("a.wav", SPEECH)
    engine = Watched(between=lambda stage: stall() if not requests else None)
    loser = rig.worker(engine, store=store)
    loser.run(drain=True)
    assert engine.killed
    assert loser.tally.completed == 0
    written = [call.key for call in store.calls[requests[0] :] if call.verb in ("PUT", "DELETE")]
    assert written == []
    assert other.ran == [TRANSCRIBING, GENERATING_OUTPUT]
    record = rig.record()
    assert (record.state, record.takeovers, record.attempts) == ("done", 1, 0)
    check_right(rig, "a.wav", SPEECH)


@pytest.mark.parametrize("key", ["stages/", "jobs/", "results/", "settled/", "sources/", "progress/"])
@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_silent_store_costs_no_attempt(rig: Rig, bucket: MemoryStore, key: str, phase: str) -> None:
    """While the store gives no answer to one kind of write, nothing is charged; then the job goes on."""
    outage = [40]

    def fail(call: Call, when: str) -> None:
        if call.verb == "PUT" and key in call.key and when == phase and outage[0] > 0:
            outage[0] -= 1
            raise Unavailable("no answer")

    rig.drop("a.wav", SPEECH)
    rig.worker(engine := ScriptedEngine(), store=bucket.client(fail)).run(drain=True)
    record = rig.record()
    assert (record.state, record.attempts, record.failures) == ("done", 0, ())
    assert outage[0] <= 0 or phase == "after"
    assert engine.ran.count(GENERATING_OUTPUT) >= 1
    check_right(rig, "a.wav", SPEECH)


def test_a_worker_without_its_model_ends(rig: Rig) -> None:
    """A worker's own model that does not load ends the worker and charges nobody; the manifest says queued."""
    rig.drop("a.wav", SPEECH)
    with pytest.raises(ModelUnavailable, match="torn"):
        drain(rig, ScriptedEngine(failures=[NO_MODEL]))
    record = rig.record()
    assert (record.state, record.attempts) == ("waiting", 0)
    assert rig.manifest("a.wav")["status"] == "queued"
    drain(rig)
    check_right(rig, "a.wav", SPEECH)


def test_a_named_model_that_does_not_load_costs_attempts(rig: Rig) -> None:
    """A model that a job names is the job's affair."""
    rig.drop("a.wav.options.json", b'{"model": "sphinx"}')
    rig.drop("a.wav", SPEECH)
    drain(rig, ScriptedEngine(failures=[NO_MODEL] * 3))
    record = rig.record()
    assert (record.state, record.attempts) == ("dead", 3)
    assert rig.settled("a.wav") == "failed"


def test_a_named_model_that_is_not_here(rig: Rig) -> None:
    """A model that a job names and the catalog does not have is tried again, then said; no engine is started."""
    rig.drop("a.wav.options.json", b'{"model": "large-v3"}')
    rig.drop("a.wav", SPEECH)
    engine = drain(rig)
    assert engine.jobs == 0
    assert "large-v3" in rig.error("a.wav")["err_msg"]
    assert rig.manifest("a.wav")["attempt"] == 3
