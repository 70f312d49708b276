"""A worker plans its jobs with the models beside the recogniser, and the engine gets just those."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from worker_rig import Rig

from handler.fakes import ScriptedEngine
from handler.models.companions import LOOK_SECONDS, ChosenUnavailable
from handler.purge import Purge
from handler.retry import Retry
from handler.store.memory import MemoryStore
from pipeline.catalog import Model
from pipeline.companions import Companions, companions_in
from pipeline.options import Options
from pipeline.plan import job_digest, stage_plans
from pipeline.types import Event, JobRequest
from tests.pipeline.companion_rig import cut, nemo, stock

SPEECH = b"somebody talks"


class Asked(ScriptedEngine):
    """Takes note of what it is asked to use."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.requests: list[JobRequest] = []

    def run(
        self, request: JobRequest, *, time_limit: Callable[[float | None], float], poll: float
    ) -> Iterator[Event | None]:
        self.requests.append(request)
        return super().run(request, time_limit=time_limit, poll=poll)

    def companions(self) -> Companions:
        return Companions.model_validate(self.requests[-1].companions)


@pytest.fixture
def home(rig: Rig) -> Path:
    return stock(rig.settings.home)


def test_the_plan_and_the_request_are_of_the_same_models(rig: Rig, bucket: MemoryStore, home: Path) -> None:
    """What the engine is given is what the job's identity and the recipes of its stages were made with."""
    bucket.drop("input/a.wav", SPEECH)
    engine = Asked()
    assert rig.worker(engine).run(drain=True).completed == 1
    here, record = companions_in(None, home), rig.record()
    assert engine.companions() == here
    model = Model.model_validate(record.model)
    assert record.jid == job_digest(record.content.sha256, Options(), model, None, here)
    plans = stage_plans(record.content.sha256, Options(), model, record.jid, here)
    assert engine.requests[-1].seed == plans[-1].digest
    again = Companions.model_validate(record.companions)
    assert stage_plans(record.content.sha256, Options(), model, record.jid, again) == plans


def test_nothing_here_is_nothing_on_record(rig: Rig, bucket: MemoryStore) -> None:
    """Without models the record keeps none, and a job is what it always was."""
    bucket.drop("input/a.wav", SPEECH)
    engine = Asked()
    rig.worker(engine).run(drain=True)
    record = rig.record()
    assert (engine.companions(), record.companions) == (Companions(), {})
    assert record.jid == job_digest(record.content.sha256, Options(), Model.model_validate(record.model))


def test_a_new_model_makes_another_job_where_it_has_a_part(rig: Rig, bucket: MemoryStore, home: Path) -> None:
    """After `retry` a job that diarizes is another one once there is another diarizer; one that does not, is not."""
    bucket.drop("input/talk.wav", SPEECH, {"dropscribe": "diarize=true"})
    bucket.drop("input/alone.wav", b"somebody else talks")
    rig.worker(Asked()).run(drain=True)
    before = {record.jid for record in rig.records()}
    nemo(home / "sortformer" / "diar_streaming_sortformer_4spk-v2.nemo", "sortformer", b"better")
    rig.clock.sleep(LOOK_SECONDS * 5)
    for key in ("talk.wav", "alone.wav"):
        Retry(rig.jobs("retry")).key(key)
    engine = Asked()
    rig.worker(engine).run(drain=True)
    new = [record for record in rig.records() if record.jid not in before]
    assert [record.subscribers[0].key for record in new] == ["talk.wav"]
    assert len(engine.requests) == 1


def test_what_is_broken_is_told_to_the_engine(rig: Rig, bucket: MemoryStore, home: Path) -> None:
    """A model that is passed over comes with its reason, so that the result can say why it is poorer."""
    cut(home / "titanet" / "speakerverification_en_titanet_large.nemo")
    shutil.rmtree(home / "sortformer")
    bucket.drop("input/a.wav", SPEECH, {"dropscribe": "diarize=true"})
    engine = Asked()
    rig.worker(engine).run(drain=True)
    found = engine.companions()
    assert (found.few, found.many) == (None, None)
    assert "damaged" in found.why_not("diarizer")[0]


def test_settings_choose(rig: Rig, bucket: MemoryStore, home: Path) -> None:
    """A part that is switched off is not the job's, and a name is the only one that is."""
    bucket.drop("input/a.wav", SPEECH)
    engine = Asked()
    rig.worker(engine, separator="none", aligner="none", diarizer="titanet").run(drain=True)
    found = engine.companions()
    assert (found.separator, found.aligners, found.few) == (None, (), None)
    assert found.many is not None
    assert found.off == ("separator", "aligner")


@pytest.mark.parametrize("named", ["", "model=sphinx"])
def test_a_chosen_model_that_goes_stops_the_worker(named: str, rig: Rig, bucket: MemoryStore, home: Path) -> None:
    """Jobs wait for a model that the operator named, whatever recogniser they ask for: none fails, and none is done
    without it.
    """
    bucket.drop("input/a.wav", SPEECH, {"dropscribe": named} if named else {})
    with pytest.raises(ChosenUnavailable, match="DROPSCRIBE_DIARIZER names 'gone'"):
        rig.worker(Asked(), diarizer="gone").run(drain=True)
    assert rig.records() == []
    assert rig.error("a.wav") is None
    assert rig.worker(Asked(), diarizer="titanet").run(drain=True).completed == 1


def test_a_purge_knows_what_was_made_with_them(rig: Rig, bucket: MemoryStore, home: Path) -> None:
    """Artifacts of attempts that never committed follow from the record, the models beside the recogniser included."""
    bucket.drop("input/a.wav", SPEECH)
    died = Asked(failures=[None])
    worker = rig.worker(died, max_attempts=1)
    worker.run(drain=True)
    record = rig.record()
    assert record.stages == {}
    plans = stage_plans(
        record.content.sha256, Options(), Model.model_validate(record.model), record.jid, companions_in(None, home)
    )
    (transcribed,) = [plan for plan in plans if plan.name == "transcribing"]
    aligned = plans[-1]
    for plan in (transcribed, aligned):
        bucket.put(rig.layout.stage_key(plan.digest), b"{}")
    purge = Purge(rig.jobs("purge"))
    removed = purge.clear(purge.sids_of("a.wav"), {record.jid}).removed
    assert {rig.layout.stage_key(plan.digest) for plan in (transcribed, aligned)} <= set(removed)
