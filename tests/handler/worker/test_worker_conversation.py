"""Jobs with the stages beside the recogniser, seen from the worker: what is kept of them and for whom, what an attempt
finds again, what a retry runs.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from conversing import STEM_BYTES, ConversingEngine
from worker_rig import Rig

from handler.cache import Reference
from handler.remove import Remove
from handler.retry import Retry
from handler.store.memory import MemoryStore
from pipeline.plan import ALIGNING, DIARIZING, GENERATING_OUTPUT, SEPARATING, TRANSCRIBING
from tests.pipeline import companion_rig

SPEECH = b"two people talk over music"
ALL = {"dropscribe": "stemming=true&diarize=true"}
EVERY = [SEPARATING, TRANSCRIBING, ALIGNING, DIARIZING, GENERATING_OUTPUT]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """The worker's models: one of each kind."""
    return companion_rig.stock(tmp_path / "home")


def worked(rig: Rig, engine: ConversingEngine | None = None) -> ConversingEngine:
    engine = engine or ConversingEngine()
    rig.worker(engine).run(drain=True)
    return engine


def references(rig: Rig) -> dict[str, Reference]:
    """By stage."""
    found = [Reference.model_validate(rig.json(key)) for key in rig.keys(".dropscribe/v1/stages/")]
    return {one.stage: one for one in found}


def test_every_stage_is_kept(rig: Rig, bucket: MemoryStore, models: Path) -> None:
    """Each stage's artifact is in the cache under its recipe's digest, the stem as a blob that is the sound to the bit;
    the record names them all, and the models that the job was planned with.
    """
    bucket.drop("input/a.wav", SPEECH, ALL)
    assert worked(rig).ran == EVERY
    record, kept = rig.record(), references(rig)
    assert set(record.stages) == set(kept) == set(EVERY)
    stem = kept[SEPARATING]
    assert (stem.size, stem.inline) == (STEM_BYTES, None)
    body = rig.body(f".dropscribe/v1/blobs/{stem.sha256}")
    assert body is not None
    assert hashlib.sha256(body).hexdigest() == stem.sha256
    assert set(record.companions) == {"separator", "aligners", "few", "many"}
    assert set(rig.manifest("a.wav")["timings"]) == set(EVERY)


def test_another_option_finds_what_it_need_not_make(rig: Rig, bucket: MemoryStore, models: Path) -> None:
    """What the results are made of is laid into the work directory: the recording is not even downloaded. Where one
    stage has to run, what it is made of is there: the voices without music.
    """
    bucket.drop("input/a.wav", SPEECH, ALL)
    worked(rig)
    bucket.drop("input/b.wav", SPEECH, {"dropscribe": f"{ALL['dropscribe']}&utt_split=2"})
    shown = worked(rig)
    assert (shown.ran, shown.seen) == ([GENERATING_OUTPUT], [{"aligning.json", "diarizing.json"}])
    assert set(rig.manifest("b.wav")["cached_stages"]) == {ALIGNING, DIARIZING}
    bucket.drop("input/c.wav", SPEECH, {"dropscribe": f"{ALL['dropscribe']}&speakers=2"})
    hinted = worked(rig)
    assert (hinted.ran, hinted.seen) == (
        [DIARIZING, GENERATING_OUTPUT], [{"aligning.json", "separating_vocals.flac"}],
    )  # fmt: skip


@pytest.mark.parametrize("stage", [SEPARATING, TRANSCRIBING, ALIGNING, DIARIZING])
def test_an_engine_that_dies_after_a_stage_leaves_it(rig: Rig, bucket: MemoryStore, models: Path, stage: str) -> None:
    """The next attempt finds every stage that was done, and runs the others."""
    bucket.drop("input/a.wav", SPEECH, ALL)
    engine = worked(rig, ConversingEngine(dies_after=stage))
    assert engine.jobs == 2
    assert engine.ran == EVERY
    assert rig.settled("a.wav") == "completed"
    assert len(rig.record().failures) == 1


def test_only_what_reads_a_poor_stage_is_poor(rig: Rig, bucket: MemoryStore, models: Path) -> None:
    """Without speakers the transcript and its times are as good as ever, and everybody's; only the results are not. A
    job without diarize, or a retry, takes them from the cache.
    """
    bucket.drop("input/a.wav", SPEECH, ALL)
    worked(rig, ConversingEngine(poor=(DIARIZING,)))
    first = rig.record()
    assert first.degraded == {DIARIZING: "no model for diarizing"}
    assert set(references(rig)) == {SEPARATING, TRANSCRIBING, ALIGNING, GENERATING_OUTPUT}
    bucket.drop("input/plain.wav", SPEECH, {"dropscribe": "stemming=true"})
    assert worked(rig).ran == [GENERATING_OUTPUT]
    rig.clock.sleep(10)
    assert Retry(rig.jobs("retry")).key("a.wav").outcome == "retried"
    assert worked(rig).ran == [DIARIZING, GENERATING_OUTPUT]
    assert rig.result("a.wav")["metadata"].get("warnings") is None


def test_what_is_made_of_poor_sound_is_poor(rig: Rig, bucket: MemoryStore, models: Path) -> None:
    """Without separated voices everything behind is poorer, and nobody else's."""
    bucket.drop("input/a.wav", SPEECH, ALL)
    worked(rig, ConversingEngine(poor=(SEPARATING,)))
    bucket.drop("input/b.wav", SPEECH, {"dropscribe": f"{ALL['dropscribe']}&utt_split=2"})
    assert worked(rig).ran == EVERY


def test_a_retry_once_the_model_is_there(rig: Rig, bucket: MemoryStore, models: Path, tmp_path: Path) -> None:
    """A diarizer that is brought later is another job's: retry runs it and what follows, the poor result is replaced,
    and another retry runs nothing.
    """
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    for name in ("sortformer", "titanet"):
        (models / name).rename(hidden / name)
    bucket.drop("input/a.wav", SPEECH, ALL)
    worked(rig)
    poor = rig.result("a.wav")
    assert [one["parameter"] for one in poor["metadata"]["warnings"]] == [DIARIZING]
    for name in ("sortformer", "titanet"):
        (hidden / name).rename(models / name)
    for ran in ([DIARIZING, GENERATING_OUTPUT], []):
        rig.clock.sleep(10)
        assert Retry(rig.jobs("retry")).key("a.wav").outcome == "retried"
        assert worked(rig).ran == ran
        assert rig.settled("a.wav") == "completed"
        assert "warnings" not in rig.result("a.wav")["metadata"]
    assert rig.result("a.wav")["results"]["channels"] == poor["results"]["channels"]


def test_a_retry_that_is_less_poor_keeps_its_own(rig: Rig, bucket: MemoryStore, models: Path) -> None:
    """What a retry makes is told and kept as it is, even if something is lacking still: the poorer result of the first
    time is not taken for it.
    """
    bucket.drop("input/a.wav", SPEECH, ALL)
    for poor in ((ALIGNING, DIARIZING), (DIARIZING,)):
        worked(rig, ConversingEngine(poor=poor))
        told = rig.result("a.wav")["metadata"]["warnings"]
        assert [one["parameter"] for one in told] == list(poor)
        assert set(rig.record().degraded) == set(poor)
        rig.clock.sleep(10)
        Retry(rig.jobs("retry")).key("a.wav")


def test_a_purge_takes_every_stage_along(rig: Rig, bucket: MemoryStore, models: Path) -> None:
    """Nothing of a purged recording stays: neither stages, the poor ones included, nor the voices."""
    bucket.drop("input/a.wav", SPEECH, ALL)
    worked(rig, ConversingEngine(poor=(DIARIZING,)))
    assert rig.keys(".dropscribe/v1/blobs/")
    Remove(rig.jobs()).key("a.wav", purge=True)
    assert rig.keys(".dropscribe/v1/stages/") == rig.keys(".dropscribe/v1/blobs/") == []
