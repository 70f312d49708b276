"""Promises of the bucket's format that hold over a worker's whole life: recordings are left alone, and what ran poorly
stays with the job that it ran poorly for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from worker_rig import Rig

from handler.fakes import ScriptedEngine
from handler.retry import Retry
from handler.store.memory import MemoryStore
from pipeline.catalog import Model
from pipeline.errors import NoAudio
from pipeline.options import Options
from pipeline.plan import GENERATING_OUTPUT, TRANSCRIBING, stage_plans
from pipeline.types import Event, JobRequest, StageDone

SPEECH = b"somebody talks"


class PoorEngine(ScriptedEngine):
    """Transcribes, but says that it could not do it as well as was asked for."""

    def run(
        self, request: JobRequest, *, time_limit: Callable[[float | None], float], poll: float
    ) -> Iterator[Event | None]:
        for event in super().run(request, time_limit=time_limit, poll=poll):
            if isinstance(event, StageDone) and event.stage == TRANSCRIBING:
                yield event.model_copy(update={"degraded": "there is no aligner"})
            else:
                yield event


def test_recordings_are_never_touched(rig: Rig, bucket: MemoryStore) -> None:
    """Whether a job succeeds, fails, is refused or comes from the cache: a worker only reads under the input prefix."""
    bucket.drop("input/a.wav", SPEECH)
    bucket.drop("input/0.wav", b"no sound")
    bucket.drop("input/c.wav", b"words", {"dropscribe": "no_such_option=1"})
    bucket.drop("input/again.wav", SPEECH)
    bucket.drop("input/options.json", b'{"tag": "x"}')
    before = {key: bucket.peek(key) for key in bucket.keys("input/")}
    client = bucket.client()
    failing = ScriptedEngine(failures=[NoAudio("there is no sound in it").to_detail()])
    tally = rig.worker(failing, store=client).run(drain=True)
    assert (tally.completed, tally.cached, tally.failed) == (2, 1, 2)
    assert {key: bucket.peek(key) for key in bucket.keys("input/")} == before
    touched = {call.verb for call in client.calls if call.key.startswith("input/")}
    assert touched == {"LIST", "HEAD", "GET"}


def test_degraded_artifacts_stay_with_their_job(rig: Rig, bucket: MemoryStore) -> None:
    """What ran poorly is published, but lies where no other job looks: one with other options runs the stage itself."""
    bucket.drop("input/a.wav", SPEECH)
    assert rig.worker(PoorEngine()).run(drain=True).completed == 1
    poor = rig.record()
    assert poor.degraded == {TRANSCRIBING: "there is no aligner"}
    plans = stage_plans(poor.content.sha256, Options(), Model.model_validate(poor.model))
    for plan in plans:
        assert bucket.peek(rig.layout.stage_key(plan.digest)) is None
        assert bucket.peek(rig.layout.stage_key(poor.stages[plan.name])) is not None
    bucket.drop("input/b.wav", SPEECH, {"dropscribe": "utt_split=2"})
    engine = ScriptedEngine()
    assert rig.worker(engine).run(drain=True).completed == 1
    assert engine.ran == [TRANSCRIBING, GENERATING_OUTPUT]


def test_poor_jobs_of_one_second_share_nothing(rig: Rig, bucket: MemoryStore) -> None:
    """Two jobs that ran poorly on the same recording, claimed in the same second: neither has an artifact of the
    other's.
    """
    bucket.drop("input/a.wav", SPEECH)
    bucket.drop("input/b.wav", SPEECH, {"dropscribe": "utt_split=2"})
    assert rig.worker(PoorEngine()).run(drain=True).completed == 2
    one, other = rig.records()
    assert one.token == other.token
    assert set(one.stages) == set(other.stages) == {TRANSCRIBING, GENERATING_OUTPUT}
    assert set(one.stages.values()).isdisjoint(other.stages.values())


def test_a_retry_mends_what_ran_poorly(rig: Rig, bucket: MemoryStore) -> None:
    """`retry` of a job that ran poorly runs it again, and then nothing is degraded; a good one is not run again."""
    bucket.drop("input/a.wav", SPEECH)
    rig.worker(PoorEngine()).run(drain=True)
    for ran in ([TRANSCRIBING, GENERATING_OUTPUT], []):
        rig.clock.sleep(10)
        assert Retry(rig.jobs("retry")).key("a.wav").outcome == "retried"
        engine = ScriptedEngine()
        assert rig.worker(engine).run(drain=True).completed == 1
        assert engine.ran == ran
        assert (rig.record().state, rig.record().degraded) == ("done", {})
