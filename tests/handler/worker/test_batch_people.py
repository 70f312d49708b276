"""Batches and people: retried and deleted, at any moment."""

from __future__ import annotations

import pytest
from batch_rig import GERMAN, NAME, OWN, batch_state, bodies, check_members, drop_all, ended, lines
from worker_rig import Died, Mortal, Rig, drain

from handler.dead import dead_letters, retry_dead
from handler.errors import Usage
from handler.fakes import OwnedClock, ScriptedEngine
from handler.job import Jobs
from handler.remove import Remove
from handler.retry import Retry
from handler.store.memory import MemoryStore
from pipeline.errors import NoAudio

HOPELESS = NoAudio("there is no sound in it").to_detail()


# ── retrying ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_retried_batch(rig: Rig) -> None:
    """A retry of a batch has its failed members done again, with options and without, and nothing else."""
    drop_all(rig, bodies(4))
    odd = {"glob": "*[13].wav", "options": GERMAN}
    rig.drop(NAME, lines({"glob": "*.wav"}, odd))
    drain(rig, ScriptedEngine(failures=[HOPELESS] * 6))  # the members, and the ordinary jobs of two of them
    assert ended(rig)["counts"]["failed"] == 4
    retried = Retry(rig.jobs()).key(NAME)
    assert (retried.outcome, retried.was) == ("retried", "completed")
    engine = drain(rig)
    check_members(rig, bodies(4))
    assert engine.jobs == 4
    assert rig.keys("errors/") == ["errors/calls/01.wav.json", "errors/calls/03.wav.json"]


def test_a_retry_of_a_wrong_batch_reads_it_again(rig: Rig) -> None:
    """A batch that failed for a recording that was not there runs, once that is, after a retry."""
    rig.drop(NAME, lines("a.wav"))
    drain(rig)
    rig.drop("a.wav", b"talk")
    Retry(rig.jobs()).key(NAME)
    drain(rig)
    check_members(rig, {"a.wav": b"talk"})


def test_a_retry_that_dies(rig: Rig) -> None:
    """A retry of a batch that dies at any request, given again, does what it would have done."""
    for number in range(1, 30):
        clock = OwnedClock()
        one = Rig(MemoryStore(clock), clock, rig.settings)
        drop_all(one, bodies(2))
        one.drop(NAME, lines("calls/00.wav", {"key": "calls/01.wav", "options": GERMAN}))
        drain(one, ScriptedEngine(failures=[HOPELESS] * 3))
        assert ended(one)["counts"]["failed"] == 2
        mortal = Mortal(one.store, number, after=True)
        try:
            Retry(Jobs(mortal, one.layout, clock, one.settings, "retry")).key(NAME)
        except Died:
            Retry(one.jobs()).key(NAME)
            drain(one)
            check_members(one, bodies(2))
        else:
            break
    assert number > 6


def test_a_retry_of_everything(rig: Rig) -> None:
    """`retry --all` has batches' members with options done again, too; with only the failed, those of them that failed,
    and the batches that say so.
    """
    drop_all(rig, bodies(2))
    drain(rig)
    rig.drop(NAME, OWN)
    rig.drop("plain.batch.jsonl", lines("calls/00.wav"))
    drain(rig, ScriptedEngine(failures=[HOPELESS]))
    assert ended(rig)["counts"]["failed"] == 1
    assert [one.key for one in Retry(rig.jobs()).all(failed_only=True)] == [NAME]
    assert drain(rig).jobs == 1
    check_members(rig, bodies(2))
    before = {key: rig.settled(key) for key in (*bodies(2), NAME, "plain.batch.jsonl")}
    assert sorted(one.key for one in Retry(rig.jobs()).all()) == sorted(before)
    assert drain(rig).jobs == 0
    assert {key: rig.settled(key) for key in before} == before
    check_members(rig, bodies(2))


def test_a_members_dead_letter(rig: Rig) -> None:
    """The job of a member with options that died can be retried by its letter: its batch is open again until it is
    done. Not once the batch was replaced.
    """
    drop_all(rig, bodies(2))
    drain(rig)
    rig.drop(NAME, OWN)
    drain(rig, ScriptedEngine(failures=[HOPELESS, HOPELESS]))
    assert ended(rig)["counts"]["failed"] == 2
    own = f"{NAME}/calls/01.wav"
    done = list(retry_dead(dead_letters(rig.store, rig.layout), Retry(rig.jobs()), {own}))
    assert [(one.key, one.was) for one in done] == [(own, "failed")]
    assert drain(rig).jobs == 1
    assert [member["status"] for member in ended(rig)["members"]] == ["failed", "completed"]
    rig.drop(NAME, lines("calls/00.wav"))
    assert list(retry_dead(dead_letters(rig.store, rig.layout), Retry(rig.jobs()))) == []


# ── deleting ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("purge", [False, True])
def test_what_was_made_for_a_batch_goes(rig: Rig, purge: bool) -> None:
    """Deleting a batch's outputs takes those of its members with options along, and nothing that belongs to their
    recordings; nothing is done again by itself, and a retry makes all of it anew.
    """
    recordings = bodies(2)
    drop_all(rig, recordings)
    rig.drop(NAME, lines("calls/00.wav", {"key": "calls/01.wav", "options": GERMAN}))
    drain(rig)
    removed = Remove(rig.jobs()).key(NAME, purge=purge)
    assert (removed.recording, removed.settled) == (True, True)
    assert [key for prefix in ("results", "progress", "errors") for key in rig.keys(f"{prefix}/{NAME}")] == []
    assert rig.keys("results/") == [f"results/{key}.json" for key in recordings]
    assert len(rig.kept_stages()) == (4 if purge else 6)
    assert drain(rig).jobs == 0
    assert rig.result(NAME) is None
    Retry(rig.jobs()).key(NAME)
    assert drain(rig).jobs == int(purge)
    check_members(rig, recordings)


def test_a_deleted_batch_leaves_nothing(rig: Rig) -> None:
    """Of a batch whose file is gone nothing is left after a purge: no plan, no marker, no output."""
    rig.drop("a.wav", b"talk")
    drain(rig)
    before = rig.keys("")
    rig.drop(NAME, OWN)
    sid = rig.candidate(NAME).source.sid
    drain(rig)
    rig.store.delete(f"input/{NAME}")
    removed = Remove(rig.jobs()).key(NAME, purge=True)
    assert not removed.recording
    assert rig.layout.plan_key(sid) in removed.removed
    left = set(rig.keys("")) - set(before)
    assert {key.split("/")[2] for key in left} <= {"jobs", "stats"}
    drain(rig)
    assert batch_state(rig, sid) is None


def test_an_open_batch_is_not_deleted(rig: Rig) -> None:
    """While workers are at a batch neither its outputs nor a member's can be deleted: cancel it first."""
    drop_all(rig, bodies(2))
    drain(rig)
    rig.drop(NAME, OWN)
    refused: list[str] = []

    def between(stage: str) -> None:
        for key in (NAME, f"{NAME}/calls/00.wav"):
            with pytest.raises(Usage, match="worked on") as caught:
                Remove(rig.jobs()).key(key, purge=True)
            refused.append(caught.value.hint)

    drain(rig, ScriptedEngine(between=between))
    assert set(refused) == {f"Run `dropscribe cancel BUCKET {NAME}` first."}
    check_members(rig, bodies(2))
    assert Remove(rig.jobs()).key(f"{NAME}/calls/00.wav", purge=False).removed
    assert rig.result(f"{NAME}/calls/00.wav") is None
