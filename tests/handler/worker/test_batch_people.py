"""Batches and people: retried, cancelled, deleted, at any moment."""

from __future__ import annotations

from typing import Any

import pytest
from batch_rig import NAME, batch_state, bodies, check_members, drop_all, ended, lines
from cancel_rig import Turns, cancelling, single_threaded, slow
from worker_rig import Died, Mortal, Rig, at, drain

from handler.cancel import Cancel, Cancelled
from handler.dead import dead_letters, retry_dead
from handler.errors import Usage
from handler.fakes import OwnedClock, ScriptedEngine
from handler.job import Jobs
from handler.remove import Remove
from handler.retry import Retry
from handler.settings import Settings
from handler.store.memory import MemoryStore
from pipeline.errors import NoAudio

GERMAN = {"language": "de"}
HOPELESS = NoAudio("there is no sound in it").to_detail()
OWN = lines({"glob": "*.wav", "options": GERMAN})


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


# ── cancelling ───────────────────────────────────────────────────────────────────────────────────────────────────────


def agreed(rig: Rig) -> str:
    """Marker, manifest and result of the batch tell one story, and so do those of each member with options."""
    outcome = rig.settled(NAME)
    assert outcome in ("completed", "cancelled")
    assert rig.manifest(NAME)["kind"] == "batch"
    assert rig.manifest(NAME)["status"] == outcome
    assert (rig.result(NAME) is not None) == (outcome == "completed")
    assert all(record.state not in ("running", "waiting") for record in rig.records())
    for key in rig.keys(f"progress/{NAME}/"):
        manifest = rig.json(key)
        assert manifest["status"] in ("completed", "cancelled")
        assert (rig.result(manifest["key"]) is not None) == (manifest["status"] == "completed")
        assert rig.json(rig.layout.settled_key(manifest["source_id"]))["outcome"] == manifest["status"]
    return outcome


def test_a_cancelled_batch(rig: Rig, clock: OwnedClock) -> None:
    """A batch that somebody cancels ends: what runs for it is stopped at the next beat, nothing more of its own members
    is begun, and its manifest says how far it was, and why it ended.
    """
    drop_all(rig, bodies(3))
    drain(rig)
    rig.drop(NAME, OWN)
    seen: list[str] = []

    def between(stage: str) -> None:
        seen.append(stage)
        clock.sleep(3)
        if len(seen) == 3:  # the second member's first stage
            assert Cancel(rig.jobs()).key(NAME) == Cancelled(key=NAME, outcome="cancelled", was="processing")
            clock.sleep(rig.settings.beat_seconds)

    engine = ScriptedEngine(between=between)
    single_threaded(rig, rig.store, engine, "one").run(drain=True)  # type: ignore[arg-type]
    assert engine.ran == ["transcribing", "generating_output", "transcribing"]
    assert agreed(rig) == "cancelled"
    manifest = rig.manifest(NAME)
    assert manifest["counts"] == {"total": 3, "completed": 1, "failed": 0, "cancelled": 0, "queued": 2}
    assert manifest["message"] == "Cancelled: somebody asked for it."
    assert rig.keys(f"results/{NAME}") == [f"results/{NAME}/calls/00.wav.json"]
    assert Cancel(rig.jobs()).key(NAME) == Cancelled(key=NAME, outcome="settled", was="cancelled")


def test_a_batchs_marker_alone_stops_its_members(rig: Rig, clock: OwnedClock) -> None:
    """A cancel that got no further than the batch's marker, or that came before a member's first manifest: what runs
    for the batch finds the marker at its next beat, and ends.
    """
    rig.drop("a.wav", b"talk")
    drain(rig)
    rig.drop(NAME, OWN)

    def cancel() -> None:
        with pytest.raises(Died):
            Cancel(Jobs(Mortal(rig.store, 1, after=True), rig.layout, clock, rig.settings, "cancel")).key(NAME)
        clock.sleep(rig.settings.beat_seconds)

    engine = at("transcribing", cancel)
    single_threaded(rig, rig.store, engine, "one").run(drain=True)  # type: ignore[arg-type]
    assert engine.ran == ["transcribing"]
    assert agreed(rig) == "cancelled"
    assert rig.manifest(f"{NAME}/a.wav")["status"] == "cancelled"


def test_a_cancelled_batch_that_nobody_works_on(rig: Rig) -> None:
    """What waits for its next attempt is cancelled with the batch though no worker is there to do it; a batch that
    nobody has seen yet is never begun, and has a manifest that says why.
    """
    rig.drop("a.wav", b"talk")
    drain(rig)
    rig.drop(NAME, OWN)
    rig.worker(ScriptedEngine(failures=[None]), backoff_seconds=1000).sweep()
    assert rig.manifest(f"{NAME}/a.wav")["status"] == "queued"
    assert Cancel(rig.jobs()).key(NAME).outcome == "cancelled"
    assert agreed(rig) == "cancelled"
    rig.drop(NAME, OWN + b"\n")
    assert Cancel(rig.jobs()).key(NAME) == Cancelled(key=NAME, outcome="cancelled", was="queued")
    assert drain(rig).jobs == 0
    assert agreed(rig) == "cancelled"


def test_a_batch_that_has_ended_stays(rig: Rig) -> None:
    """A batch that has completed or failed before cannot be cancelled, and is as it was."""
    rig.drop("a.wav", b"talk")
    rig.drop(NAME, lines("a.wav"))
    rig.drop("wrong.batch.jsonl", lines("b.wav"))
    drain(rig)
    before = {key: rig.body(key) for key in rig.keys("")}
    for key, was in ((NAME, "completed"), ("wrong.batch.jsonl", "failed")):
        assert Cancel(rig.jobs()).key(key) == Cancelled(key=key, outcome="settled", was=was)
    assert {key: rig.body(key) for key in rig.keys("")} == before


def test_a_cancelled_batch_again(rig: Rig) -> None:
    """A retry takes the cancelling back, and has done what was cancelled with the batch."""
    drop_all(rig, bodies(3))
    drain(rig)
    rig.drop(NAME, OWN)
    drain(rig, at("transcribing", lambda: Cancel(rig.jobs()).key(NAME)))
    assert rig.settled(NAME) == "cancelled"
    assert Retry(rig.jobs()).key(NAME).was == "cancelled"
    drain(rig)
    check_members(rig, bodies(3))
    assert agreed(rig) == "completed"


def raced(settings: Settings, schedule: list[tuple[str, int]]) -> tuple[Rig, Turns, Any]:
    """A worker that sees a batch to its end, and a cancel of that, request by request as ``schedule`` says."""
    clock = OwnedClock()
    store = MemoryStore(clock)
    rig = Rig(store, clock, settings)
    rig.drop("a.wav", b"talk")
    drain(rig)
    rig.drop(NAME, OWN)
    turns = Turns(schedule)
    worker = single_threaded(rig, store.client(turns.hook("worker")), slow(rig), "one")
    cancel = cancelling(rig, store.client(turns.hook("cancel")))

    def work() -> None:
        for _ in range(2):
            worker.sweep()

    results = turns.run({"worker": work, "cancel": lambda: cancel.key(NAME)})
    for result in results.values():
        assert not isinstance(result, BaseException), (schedule, result)
    rig.clock.sleep(1000)
    drain(rig)
    return rig, turns, results["cancel"]


def test_a_cancel_at_any_moment_of_a_batch(worker_settings: Settings) -> None:
    """Wherever a cancel begins in a batch's course, and wherever that goes on in the cancel's: marker, manifest and
    result agree, of the batch and of its member; and what the cancel said is what came of it.
    """
    _, turns, _ = raced(worker_settings, [("worker", 1000)])
    outcomes = set()
    most = turns.made["worker"]
    for begins in range(most + 1):
        for within in (0, 1, 2, 3, 5, 8, 1000):
            schedule = [("worker", begins), ("cancel", within), ("worker", 1000), ("cancel", 1000)]
            rig, _, told = raced(worker_settings, schedule)
            said = "cancelled" if told.outcome == "cancelled" else told.was
            assert agreed(rig) == said, (begins, within, told)
            outcomes.add((told.outcome, said))
    assert outcomes == {("cancelled", "cancelled"), ("too_late", "completed"), ("settled", "completed")}


def test_a_cancel_of_a_batch_that_is_killed(worker_settings: Settings) -> None:
    """A cancel that dies at any of its writes, given again, ends the batch and its members."""
    for number in range(1, 30):
        clock = OwnedClock()
        rig = Rig(MemoryStore(clock), clock, worker_settings)
        rig.drop("a.wav", b"talk")
        drain(rig)
        rig.drop(NAME, OWN)
        rig.worker(ScriptedEngine(failures=[None]), backoff_seconds=1000).sweep()
        mortal = Mortal(rig.store, number, after=True)
        try:
            Cancel(Jobs(mortal, rig.layout, clock, rig.settings, "cancel")).key(NAME)
        except Died:
            Cancel(rig.jobs()).key(NAME)
            assert agreed(rig) == "cancelled"
            assert drain(rig).jobs == 0
        else:
            break
    assert number > 4


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
