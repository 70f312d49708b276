"""`handler.purge`: with ``delete --purge`` nothing stays of what was said, however its jobs ended, and nothing goes
that an input needs which is still there.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from batch_rig import NAME, lines
from worker_rig import Died, Rig, at, drain

from handler.cancel import Cancel
from handler.dead import dead_letters
from handler.errors import EngineDied, Usage
from handler.fakes import OwnedClock, ScriptedEngine
from handler.remove import Remove, Removed
from handler.retry import Retry
from handler.settings import Settings
from handler.store.memory import MemoryStore
from pipeline.plan import GENERATING_OUTPUT, TRANSCRIBING

SPEECH = b"somebody talks"
OTHER = {"key": "a.wav", "options": {"utt_split": 1.5}}


@pytest.fixture
def rig(bucket: MemoryStore, clock: OwnedClock, worker_settings: Settings) -> Rig:
    """Every artifact is a blob."""
    return Rig(bucket, clock, worker_settings.model_copy(update={"inline_bytes": 0}))


def purge(rig: Rig, key: str = "a.wav") -> Removed:
    return Remove(rig.jobs()).key(key, purge=True)


def artifacts(rig: Rig) -> list[str]:
    """What is left of what was said."""
    return [*rig.keys(".dropscribe/v1/stages/"), *rig.keys(".dropscribe/v1/blobs/"), *rig.keys("results/")]


class Degrading(ScriptedEngine):
    """Its transcripts are made with less than what was asked for; then it dies, each time."""

    def run(self, *args: object, **kwargs: object) -> object:  # type: ignore[override]
        for event in super().run(*args, **kwargs):  # type: ignore[arg-type]
            if getattr(event, "stage", None) == TRANSCRIBING and hasattr(event, "degraded"):
                yield event.model_copy(update={"degraded": "on the CPU"})
            else:
                yield event


def broken(stage: str) -> None:
    if stage == GENERATING_OUTPUT:
        raise EngineDied("the engine ended by signal SIGKILL")


@pytest.mark.parametrize("query", ["", "cache=false"])
@pytest.mark.parametrize("engine", [ScriptedEngine, Degrading])
@pytest.mark.parametrize("gone", [False, True])
def test_a_job_that_never_committed(
    rig: Rig, bucket: MemoryStore, query: str, engine: Callable[..., ScriptedEngine], gone: bool
) -> None:
    """A job that died after its transcript was kept has named nothing; its transcript goes all the same, with its blob,
    each attempt's, whether the recording is still there or not, and so does its dead letter.
    """
    bucket.drop("input/a.wav", SPEECH, {"dropscribe": query} if query else {})
    drain(rig, engine(between=broken))
    assert rig.record().state == "dead"
    assert rig.record().stages == {}
    assert rig.kept_stages() == [TRANSCRIBING] * (1 if engine is ScriptedEngine else 3)
    if gone:
        bucket.delete("input/a.wav")
    purge(rig)
    assert artifacts(rig) == rig.keys(".dropscribe/v1/dead/") == []


def test_artifacts_that_do_not_say_whose_they_are(rig: Rig, bucket: MemoryStore) -> None:
    """What an older version left of a job that never committed is found by its recipe."""
    rig.drop("a.wav", SPEECH)
    drain(rig, ScriptedEngine(between=broken))
    for key in rig.keys(".dropscribe/v1/stages/"):
        bucket.drop(key, json.dumps({**rig.json(key), "jid": None}).encode())
    purge(rig)
    assert artifacts(rig) == []


def test_a_job_that_was_cancelled(rig: Rig, bucket: MemoryStore) -> None:
    """What a cancelled job had finished goes."""
    bucket.drop("input/a.wav", SPEECH)
    drain(rig, at(GENERATING_OUTPUT, lambda: (Cancel(rig.jobs()).key("a.wav"), rig.clock.sleep(60))))
    assert rig.settled("a.wav") == "cancelled"
    assert rig.kept_stages() != []
    purge(rig)
    assert artifacts(rig) == []


@pytest.mark.parametrize("query", ["language=de", "utt_split=2", "cache=false"])
def test_a_job_from_before_a_retry(rig: Rig, bucket: MemoryStore, query: str) -> None:
    """After a retry under other options the marker names the new job alone; what the one before it made goes, too."""
    bucket.drop("input/a.wav", SPEECH)
    drain(rig)
    bucket.drop("input/options.json", b'{"%s": %s}' % tuple(_json(query)))
    rig.clock.sleep(100)
    Retry(rig.jobs()).key("a.wav")
    drain(rig)
    assert len(rig.records()) == 2
    bucket.delete("input/a.wav")
    purge(rig)
    assert artifacts(rig) == []


def _json(query: str) -> list[bytes]:
    name, value = query.split("=")
    return [name.encode(), value.encode() if value in ("2", "false") else f'"{value}"'.encode()]


@pytest.mark.parametrize("first", ["a.wav", NAME])
def test_shared_with_a_batchs_member(rig: Rig, bucket: MemoryStore, first: str) -> None:
    """An ordinary job and a batch's share a transcript: it stays as long as the batch and the recording lie there, and
    goes once they have gone, whichever is purged first.
    """
    bucket.drop("input/a.wav", SPEECH)
    drain(rig)
    rig.drop(NAME, lines(OTHER))
    drain(rig)
    assert rig.kept_stages() == [GENERATING_OUTPUT, GENERATING_OUTPUT, TRANSCRIBING]
    assert purge(rig, first).shared == 1
    assert rig.kept_stages() == [GENERATING_OUTPUT, TRANSCRIBING]
    bucket.delete("input/a.wav")
    bucket.delete(f"input/{NAME}")
    for key in ("a.wav", NAME):
        assert purge(rig, key).shared == 0
    assert artifacts(rig) == []


@pytest.mark.parametrize("gone", ["a.wav", NAME])
def test_half_of_a_batchs_member(rig: Rig, bucket: MemoryStore, gone: str) -> None:
    """A batch's member of which the recording or the batch has gone needs nothing any more."""
    rig.drop("a.wav", SPEECH)
    drain(rig)
    rig.drop(NAME, lines(OTHER))
    drain(rig)
    bucket.delete(f"input/{gone}")
    assert purge(rig).shared == 0
    assert rig.kept_stages() == []


def test_a_recording_that_waits_to_be_done_again(rig: Rig) -> None:
    """A recording with the same bytes that a retry made queued keeps what its job made."""
    rig.drop("b.wav", SPEECH)
    drain(rig)
    rig.drop("a.wav", SPEECH)
    drain(rig)
    Retry(rig.jobs()).key("b.wav")
    assert purge(rig).shared == 2
    assert drain(rig).jobs == 0


def test_one_blob_of_two_references(rig: Rig, bucket: MemoryStore) -> None:
    """A blob that another artifact names, which happens to be the same bytes, stays."""
    bucket.drop("input/a.wav", SPEECH, {"dropscribe": "cache=false"})
    rig.drop("b.wav", SPEECH)
    drain(rig)
    purge(rig)
    assert {rig.json(key)["sha256"] for key in rig.keys(".dropscribe/v1/stages/")} == {
        key.rsplit("/", 1)[1] for key in rig.keys(".dropscribe/v1/blobs/")
    }
    assert rig.kept_stages() == [GENERATING_OUTPUT, TRANSCRIBING]


@pytest.mark.parametrize("query", ["", "utt_split=2"])
def test_the_same_bytes_elsewhere(rig: Rig, bucket: MemoryStore, query: str) -> None:
    """As long as a recording with the same bytes lies there, all that its job uses stays, though it was answered from
    the cache and no record names it; then nothing.
    """
    bucket.drop("input/a.wav", SPEECH)
    drain(rig)
    bucket.drop("input/b.wav", SPEECH, {"dropscribe": query} if query else {})
    drain(rig)
    assert all(len(record.subscribers) == 1 for record in rig.records())
    own = [GENERATING_OUTPUT, TRANSCRIBING]
    assert purge(rig).shared == (1 if query else 2)
    assert rig.kept_stages() == own
    bucket.delete("input/a.wav")
    purge(rig)
    assert rig.kept_stages() == own
    bucket.delete("input/b.wav")
    purge(rig, "b.wav")
    assert artifacts(rig) == []


def test_a_member_that_was_answered_from_the_cache(rig: Rig, bucket: MemoryStore) -> None:
    """A batch's member that no record names, because its job was done before, keeps what that job made."""
    bucket.drop("input/a.wav", SPEECH)
    bucket.drop("input/b.wav", SPEECH, {"dropscribe": "utt_split=1.5"})
    drain(rig)
    rig.drop(NAME, lines(OTHER))
    assert drain(rig).jobs == 0
    bucket.delete("input/b.wav")
    assert purge(rig, "b.wav").shared == 2
    rig.drop(NAME, lines({**OTHER, "options": {"utt_split": 3}}))
    drain(rig)
    purge(rig, "b.wav")
    assert rig.kept_stages() == [GENERATING_OUTPUT, GENERATING_OUTPUT, TRANSCRIBING]  # a.wav's, and the new member's


def test_other_contents_stay(rig: Rig, bucket: MemoryStore) -> None:
    """Nothing of another recording goes, be it there or not: only what was said in this one is purged."""
    bucket.drop("input/a.wav", SPEECH)
    bucket.drop("input/b.wav", b"another")
    drain(rig)
    bucket.delete("input/b.wav")
    purge(rig)
    assert rig.kept_stages() == [GENERATING_OUTPUT, TRANSCRIBING]
    purge(rig, "b.wav")
    assert artifacts(rig) == []


def test_deleted_first_and_purged_later(rig: Rig, bucket: MemoryStore) -> None:
    """A delete without --purge, even of a recording that has gone, leaves enough for a purge to find the rest, of an
    input that no record names, too.
    """
    bucket.drop("input/a.wav", SPEECH)
    drain(rig)
    bucket.drop("input/b.wav", SPEECH)
    drain(rig)
    for key in ("a.wav", "b.wav"):
        bucket.delete(f"input/{key}")
        Remove(rig.jobs()).key(key, purge=False)
    remove = Remove(rig.jobs())
    assert not remove.exists("b.wav")
    assert remove.exists("b.wav", purge=True)
    assert not remove.exists("c.wav", purge=True)
    purge(rig, "b.wav")
    assert artifacts(rig) == []
    assert [key for key in rig.keys(".dropscribe/v1/sources/") if rig.json(key)["key"] == "b.wav"] == []


def test_nobody_comes_back_to_it(rig: Rig, bucket: MemoryStore) -> None:
    """A job that waits for its next attempt is refused while its recording lies there; without it nobody would ever go
    on with it, nor could cancel it: it is purged.
    """
    bucket.drop("input/a.wav", SPEECH)
    rig.worker(ScriptedEngine(between=broken)).sweep()
    assert rig.record().state == "waiting"
    with pytest.raises(Usage, match="worked on"):
        purge(rig)
    bucket.delete("input/a.wav")
    purge(rig)
    assert artifacts(rig) == []


def test_a_worker_at_the_same_bytes(rig: Rig, bucket: MemoryStore) -> None:
    """What a running job makes stays, though the only input that is known to need it has gone."""
    bucket.drop("input/a.wav", SPEECH)
    drain(rig)

    def look() -> None:
        bucket.delete("input/b.wav")
        assert purge(rig).shared == 1
        assert TRANSCRIBING in rig.kept_stages()
        raise Died

    bucket.drop("input/b.wav", SPEECH, {"dropscribe": "utt_split=2"})
    with pytest.raises(Died):
        drain(rig, at(GENERATING_OUTPUT, look))


# ── dead letters ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_deleted_recording_is_no_dead_letter(rig: Rig) -> None:
    """What was deleted is not listed among the dead any more; who died of the same job is, until he was, too."""
    joined: list[str] = []

    def between(stage: str) -> None:
        if not joined:
            rig.drop("b.wav", SPEECH)
            rig.worker().sweep()
            joined.append("b.wav")
        broken(GENERATING_OUTPUT)

    rig.drop("a.wav", SPEECH)
    drain(rig, ScriptedEngine(between=between))
    [letter] = dead_letters(rig.store, rig.layout)
    assert sorted(letter.keys) == ["a.wav", "b.wav"]
    Remove(rig.jobs()).key("a.wav", purge=False)
    assert [one.keys for one in dead_letters(rig.store, rig.layout)] == [("b.wav",)]
    removed = Remove(rig.jobs()).key("b.wav", purge=False).removed
    assert rig.layout.dead_key(letter.jid) in removed
    assert rig.keys(".dropscribe/v1/dead/") == []
