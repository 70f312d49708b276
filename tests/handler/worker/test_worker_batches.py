"""Batches, with workers at work on them: members, outputs, ends, and what changes on the way."""

from __future__ import annotations

import json

import pytest
from batch_rig import NAME, batch_state, bodies, check_members, drop_all, ended, lines
from worker_rig import Crash, Died, Rig, at, drain, give_up, heard, text_of

from handler.errors import AccessDenied
from handler.fakes import ScriptedEngine
from handler.store.memory import Call, MemoryStore, Phase
from pipeline.errors import NoAudio

GERMAN = {"language": "de"}
HOPELESS = NoAudio("there is no sound in it").to_detail()


# ── members and outputs ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_batch_without_options(any_rig: Rig) -> None:
    """The members follow their ordinary jobs; the result names each with its status and where its transcript is."""
    recordings = bodies(3)
    drop_all(any_rig, recordings)
    any_rig.drop(NAME, lines("calls/00.wav", {"glob": "calls/*"}))
    engine = drain(any_rig)
    check_members(any_rig, recordings)
    assert engine.jobs == 3
    result = ended(any_rig)
    assert [member["result"] for member in result["members"]] == [f"results/{key}.json" for key in recordings]
    assert result["counts"] == {"total": 3, "completed": 3, "failed": 0, "cancelled": 0, "queued": 0}


def test_members_with_options(any_rig: Rig) -> None:
    """A line's options make an input of its own beside the ordinary one: its outputs lie under the batch's key."""
    recordings = bodies(2)
    drop_all(any_rig, recordings)
    any_rig.drop(NAME, lines("calls/00.wav", {"key": "calls/01.wav", "options": {"tag": ["b"], "utterances": False}}))
    engine = drain(any_rig)
    check_members(any_rig, recordings)
    assert engine.ran.count("transcribing") == 2  # the same words under other output options
    own = any_rig.result(f"{NAME}/calls/01.wav")
    assert own["metadata"]["tags"] == ["b"]
    assert "utterances" not in own["results"]
    assert "utterances" in any_rig.result("calls/01.wav")["results"]
    assert any_rig.manifest(f"{NAME}/calls/01.wav")["status"] == "completed"
    assert ended(any_rig)["members"][1]["options"] == {"tag": ["b"], "utterances": False}


def test_a_batchs_line_wins_over_all_other_options(rig: Rig, bucket: MemoryStore) -> None:
    """Options of the folder, the sidecar and the recording's metadata hold, name by name, unless the line says else."""
    rig.drop("calls/options.json", b'{"tag": ["folder"], "paragraphs": false, "utterances": false}')
    rig.drop("calls/00.wav.options.json", b'{"tag": ["sidecar"], "extra": {"from": "sidecar"}}')
    bucket.drop("input/calls/00.wav", b"recording 0", {"dropscribe": "tag=metadata&language=en"})
    rig.drop(NAME, lines({"key": "calls/00.wav", "options": {"tag": "line", "paragraphs": True}}))
    drain(rig)
    own, ordinary = rig.result(f"{NAME}/calls/00.wav"), rig.result("calls/00.wav")
    assert (own["metadata"]["tags"], ordinary["metadata"]["tags"]) == (["line"], ["metadata"])
    assert own["metadata"]["extra"] == ordinary["metadata"]["extra"] == {"from": "sidecar"}
    assert [("paragraphs" in result["results"]["channels"][0]["alternatives"][0]) for result in (own, ordinary)] == [
        True,
        False,
    ]
    assert not any("utterances" in result["results"] for result in (own, ordinary))
    assert {record.options["language"] for record in rig.records()} == {"en"}


def test_the_same_file_in_two_batches(rig: Rig) -> None:
    """Two batches that ask for one recording under the same options get a result each, from one job."""
    rig.drop("a.wav", b"talk")
    for name in ("one.batch.jsonl", "two.batch.jsonl"):
        rig.drop(name, lines({"key": "a.wav", "options": GERMAN}))
    engine = drain(rig)
    assert engine.jobs == 2  # the ordinary one, and this one
    results = [rig.result(f"{name}.batch.jsonl/a.wav") for name in ("one", "two")]
    assert results[0]["results"] == results[1]["results"]
    assert results[0]["metadata"]["request_id"] != results[1]["metadata"]["request_id"]
    for name in ("one.batch.jsonl", "two.batch.jsonl"):
        check_members(rig, {"a.wav": b"talk"}, name)


def test_what_is_settled_counts_at_once(rig: Rig) -> None:
    """A batch of recordings that are done already ends with the first scan, and nothing is run."""
    recordings = bodies(3)
    drop_all(rig, recordings)
    drain(rig)
    rig.drop(NAME, lines({"glob": "*.wav"}))
    worker = rig.worker(engine := ScriptedEngine())
    assert worker.sweep() == (False, False)
    check_members(rig, recordings)
    assert engine.jobs == 0


def test_equal_content_and_options_come_from_the_cache(rig: Rig) -> None:
    """A member whose content is known under these options costs no run, whatever asked for it first."""
    rig.drop("a.wav", b"talk")
    rig.drop("a.wav.options.json", json.dumps(GERMAN).encode())
    drain(rig)
    rig.drop("b.wav", b"talk")
    rig.drop("b.wav.options.json", json.dumps(GERMAN).encode())
    rig.drop(NAME, lines({"key": "b.wav", "options": GERMAN}))
    assert drain(rig).jobs == 0
    check_members(rig, {"b.wav": b"talk"})


def test_failed_members(rig: Rig) -> None:
    """A member that fails is told of with its error's key and reason; the batch is completed all the same."""
    drop_all(rig, bodies(3))
    rig.drop("calls/02.wav", b"")
    rig.drop(NAME, lines({"glob": "*.wav"}, {"key": "calls/01.wav", "options": {"model": "sphinx", "tag": "x"}}))
    drain(rig, ScriptedEngine(failures=[HOPELESS]))
    result = ended(rig)
    assert [member["status"] for member in result["members"]] == ["failed", "completed", "failed"]
    first, _, last = result["members"]
    assert (first["error"], first["message"]) == ("errors/calls/00.wav.json", HOPELESS.message)
    assert rig.json(first["error"])["err_msg"] == HOPELESS.message
    assert (last["result"], last["message"]) == (None, "calls/02.wav is empty")
    assert result["counts"] == {"total": 3, "completed": 1, "failed": 2, "cancelled": 0, "queued": 0}
    assert rig.manifest(NAME)["message"] == "1 of 3 completed, 2 failed"


def test_a_member_whose_options_cannot_be_together(rig: Rig) -> None:
    """Options that exclude others of the recording's own are that member's failure, not the batch's."""
    drop_all(rig, bodies(2))
    rig.drop("calls/00.wav.options.json", b'{"language": "en"}')
    rig.drop(NAME, lines({"glob": "*.wav", "options": {"detect_language": True, "model": "no-such-model"}}))
    drain(rig)
    result = ended(rig)
    assert {member["status"] for member in result["members"]} == {"failed"}
    assert rig.result("calls/00.wav") is not None
    assert rig.error(f"{NAME}/calls/00.wav")["key"] == f"{NAME}/calls/00.wav"


# ── batches that are wrong ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_wrong_batch_fails_as_a_whole(any_rig: Rig) -> None:
    """One wrong line, and nothing of it is begun: its error names the lines, and it is settled as failed."""
    any_rig.drop("a.wav", b"talk")
    any_rig.drop(NAME, lines({"key": "a.wav", "options": GERMAN}, "missing.wav") + b"{\n")
    drain(any_rig)
    told = any_rig.error(NAME)
    assert told["err_msg"].startswith(
        f"2 lines are wrong in {NAME}: line 2: there is no recording missing.wav; line 3:"
    )
    assert (told["class"], told["retryable"]) == ("BadBatch", False)
    assert any_rig.settled(NAME) == "failed"
    manifest = any_rig.manifest(NAME)
    assert (manifest["status"], manifest["counts"], manifest["error"]["message"]) == ("failed", None, told["err_msg"])
    assert any_rig.result(NAME) is None
    assert any_rig.keys(f"results/{NAME}/") == []
    assert any_rig.settled("a.wav") == "completed"


def test_a_mended_batch_takes_the_error_away(rig: Rig) -> None:
    """Uploaded again without the mistake, the batch runs, and no error is left."""
    rig.drop("a.wav", b"talk")
    rig.drop(NAME, lines("b.wav"))
    drain(rig)
    assert rig.error(NAME) is not None
    rig.drop(NAME, lines("a.wav"))
    drain(rig)
    check_members(rig, {"a.wav": b"talk"})


def test_the_failure_is_decided_once(rig: Rig, bucket: MemoryStore) -> None:
    """A batch that one worker found wrong stays so for all, though the recording that was missing is there by now."""

    def die_before_the_error(call: Call, phase: Phase) -> None:
        if call.method == "put" and call.key.startswith("errors/"):
            raise Died

    rig.drop(NAME, lines("a.wav"))
    with pytest.raises(Died):
        rig.worker(store=bucket.client(die_before_the_error)).sweep()
    rig.drop("a.wav", b"talk")
    drain(rig)
    assert rig.settled(NAME) == "failed"
    assert "there is no recording a.wav" in rig.error(NAME)["err_msg"]
    assert rig.settled("a.wav") == "completed"


def test_a_batch_that_nobody_may_read(rig: Rig, bucket: MemoryStore) -> None:
    """A batch file that may not be read fails after as many looks as a job has attempts, and a drain ends."""

    def deny(call: Call, phase: Phase) -> None:
        if call.key == f"input/{NAME}" and call.method in ("get", "head"):
            raise AccessDenied(f"s3:GetObject is not allowed on {call.key}")

    rig.drop(NAME, lines("a.wav"))
    rig.worker(store=bucket.client(deny)).run(drain=True)
    assert rig.settled(NAME) == "failed"
    assert "s3:GetObject" in rig.error(NAME)["err_msg"]


# ── what changes meanwhile ───────────────────────────────────────────────────────────────────────────────────────────


def test_an_overwritten_member(rig: Rig) -> None:
    """A member that is replaced while the batch is open counts in its present version: with options and without."""
    for options in (None, GERMAN):
        rig.drop("a.wav", b"first")
        rig.drop("b.wav", b"other")
        rig.drop(NAME, lines({"glob": "*.wav", "options": options}))
        drain(rig, at("transcribing", lambda: rig.drop("a.wav", b"second")))
        check_members(rig, {"a.wav": b"second", "b.wav": b"other"})
        rig.store.delete(f"input/{NAME}")


@pytest.mark.parametrize("options", [None, GERMAN])
def test_a_deleted_member_is_cancelled(rig: Rig, options: dict[str, str] | None) -> None:
    """A member whose recording is deleted counts as cancelled, before its job as during it; the batch ends."""
    drop_all(rig, bodies(3))
    rig.drop(NAME, lines({"glob": "*.wav", "options": options}))

    def delete() -> None:
        rig.store.delete("input/calls/00.wav")  # the one under way
        rig.store.delete("input/calls/02.wav")

    drain(rig, at("transcribing", delete))
    result = ended(rig)
    assert [member["status"] for member in result["members"]] == ["cancelled", "completed", "cancelled"]
    assert {member["message"] for member in result["members"][::2]} == {"the recording was deleted"}
    assert result["counts"]["cancelled"] == 2


def test_a_deleted_batch(rig: Rig) -> None:
    """Deleting the file cancels what is not done of its own members; ordinary recordings go on. The batch is settled as
    cancelled, and no result or open manifest of it is left.
    """
    recordings = bodies(3)
    drop_all(rig, recordings)
    rig.clock.sleep(1)
    rig.drop(NAME, lines({"glob": "*.wav", "options": GERMAN}))
    sid = rig.candidate(NAME).source.sid
    engine = ScriptedEngine(between=lambda stage: rig.store.delete(f"input/{NAME}") if engine.jobs == 5 else None)
    drain(rig, engine)
    assert engine.jobs == 5  # three ordinary ones, one done for the batch, one that came too late
    assert batch_state(rig, sid) == "cancelled"
    assert rig.manifest(NAME)["status"] == "cancelled"
    assert rig.result(NAME) is None
    assert rig.keys(f"results/{NAME}/") == [f"results/{NAME}/calls/00.wav.json"]
    cancelled = rig.manifest(f"{NAME}/calls/01.wav")
    assert (cancelled["status"], cancelled["partial"]) == ("cancelled", None)
    assert cancelled["updated_at"] == cancelled["finished_at"] is not None
    assert {rig.settled(key) for key in recordings} == {"completed"}


def test_a_batch_deleted_while_nobody_works(rig: Rig) -> None:
    """A worker that never saw the file finds the batch that was left open, ends it, and ends its members' manifests."""
    rig.drop("a.wav", b"talk")
    drain(rig)
    rig.drop(NAME, lines({"key": "a.wav", "options": GERMAN}))
    sid = rig.candidate(NAME).source.sid
    failing = rig.worker(ScriptedEngine(failures=[None]), backoff_seconds=1000)
    failing.sweep()
    assert rig.manifest(f"{NAME}/a.wav")["status"] == "queued"
    assert rig.manifest(NAME)["status"] == "processing"
    rig.store.delete(f"input/{NAME}")
    assert drain(rig).jobs == 0
    assert batch_state(rig, sid) == "cancelled"
    assert rig.manifest(NAME)["status"] == "cancelled"
    assert rig.manifest(f"{NAME}/a.wav")["status"] == "cancelled"
    assert rig.manifest("a.wav")["status"] == "completed"


def test_a_batch_deleted_after_its_worker_died(rig: Rig) -> None:
    """What a dead worker told of a member ends as any cancelled input's manifest: it says when, and no words so far."""
    rig.drop("a.wav", b"talk")
    drain(rig)
    rig.drop(NAME, lines({"key": "a.wav", "options": GERMAN}))
    with pytest.raises(Crash):
        rig.worker(at("generating_output", give_up)).sweep()
    began = rig.manifest(f"{NAME}/a.wav")
    assert began["partial"] is not None
    rig.clock.sleep(60)
    rig.store.delete(f"input/{NAME}")
    drain(rig)
    cancelled = rig.manifest(f"{NAME}/a.wav")
    assert (cancelled["status"], cancelled["partial"]) == ("cancelled", None)
    assert cancelled["finished_at"] == cancelled["updated_at"] > began["updated_at"]


def test_an_overwritten_batch(rig: Rig) -> None:
    """A batch that is replaced starts anew under its new lines; of the old ones nothing more is begun, and their
    results and manifests never take the place of the new.
    """
    recordings = bodies(2)
    drop_all(rig, recordings)
    drain(rig)
    rig.drop(NAME, lines({"glob": "*.wav", "options": GERMAN}))
    old = rig.candidate(NAME).source.sid
    new = lines({"glob": "*00.wav", "options": {"language": "fr"}})
    engine = drain(rig, at("transcribing", lambda: rig.drop(NAME, new)))
    assert batch_state(rig, old) == "cancelled"
    check_members(rig, {"calls/00.wav": recordings["calls/00.wav"]})
    assert engine.jobs == 2
    assert rig.keys(f"results/{NAME}/") == [f"results/{NAME}/calls/00.wav.json"]
    assert {record.options["language"] for record in rig.records() if record.state == "done"} >= {"fr"}


def test_a_batch_again(rig: Rig) -> None:
    """The same lines uploaded again are another batch: it ends with a result of its own, and nothing is run."""
    rig.drop("a.wav", b"talk")
    rig.drop(NAME, lines({"key": "a.wav", "options": GERMAN}))
    drain(rig)
    first = ended(rig)
    rig.clock.sleep(100)
    rig.drop(NAME, lines({"key": "a.wav", "options": GERMAN}) + b"\n")
    assert drain(rig).jobs == 0
    check_members(rig, {"a.wav": b"talk"})
    assert ended(rig)["source_id"] != first["source_id"]
    assert heard(rig.result(f"{NAME}/a.wav")) == text_of(b"talk")


def test_recordings_are_never_touched(rig: Rig) -> None:
    """A batch writes nothing under the input prefix, and deletes nothing there."""
    drop_all(rig, bodies(2))
    rig.drop(NAME, lines({"glob": "*.wav", "options": GERMAN}))
    before = {key: rig.body(key) for key in rig.keys("input/")}
    drain(rig)
    assert {key: rig.body(key) for key in rig.keys("input/")} == before
