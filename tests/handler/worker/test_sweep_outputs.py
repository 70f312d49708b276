"""The sweep of outputs: results, errors and manifests go with time; that their recordings are done stays known."""

from __future__ import annotations

import json

import pytest
from batch_rig import NAME, ended, lines
from worker_rig import Rig, check_right, drain, heard, text_of

from handler.fakes import OwnedClock, ScriptedEngine
from handler.retry import Retry
from handler.store.memory import Call, MemoryStore
from handler.sweep import Limits, Sweep, Swept
from pipeline.errors import NoAudio

DAY = 24 * 3600.0
SPEECH = b"somebody talks"


def sweep(rig: Rig, days: float, *, dry_run: bool = False) -> Swept:
    return Sweep(rig.store, rig.layout).run(Limits(results_ttl=days * DAY), dry_run=dry_run)


def outputs(rig: Rig) -> list[str]:
    return [key for prefix in ("results/", "progress/", "errors/") for key in rig.keys(prefix)]


@pytest.fixture
def worked(rig: Rig, clock: OwnedClock) -> Rig:
    """One recording that was completed and one that failed, ten days ago; and one from now."""
    rig.drop("0.wav", b"no sound")
    rig.worker(ScriptedEngine(failures=[NoAudio("there is no sound in it").to_detail()])).run(drain=True)
    rig.drop("old.wav", SPEECH)
    rig.worker().run(drain=True)
    clock.advance(10 * DAY)
    rig.drop("new.wav", b"somebody else")
    rig.worker().run(drain=True)
    return rig


def test_old_outputs_go(worked: Rig) -> None:
    """Results, errors and manifests past their time go; younger ones, recordings, markers and all records stay."""
    before = worked.keys("")
    swept = sweep(worked, 5)
    gone = {"results/old.wav.json", "progress/old.wav.json", "progress/0.wav.json", "errors/0.wav.json"}
    assert set(before) - set(worked.keys("")) == gone
    assert (swept.outputs, swept.references, swept.blobs) == (4, 0, 0)
    assert swept.output_bytes > 0


def test_nothing_is_done_again(worked: Rig, bucket: MemoryStore) -> None:
    """A worker that comes after the sweep finds nothing to do, and writes nothing but what it would have anyway."""
    sweep(worked, 5)
    client = bucket.client()
    worked.worker(engine := ScriptedEngine(), store=client).run(drain=True)
    assert engine.jobs == 0
    assert set(client.counts()) == {"LIST"}
    assert (worked.settled("old.wav"), worked.settled("0.wav")) == ("completed", "failed")


def test_a_retry_brings_a_result_back(worked: Rig) -> None:
    """What was removed is published again on request, from the cache; and then stays for its time, though its bytes
    are the old ones.
    """
    before = worked.body("results/old.wav.json")
    sweep(worked, 5)
    worked.clock.sleep(10)
    Retry(worked.jobs("retry")).key("old.wav")
    worked.worker(engine := ScriptedEngine()).run(drain=True)
    assert (engine.jobs, worked.body("results/old.wav.json")) == (0, before)
    check_right(worked, "old.wav", SPEECH)


def test_a_retried_result_counts_from_its_retry(worked: Rig) -> None:
    """A result that a retry found in place was not written again; it is as young as its marker all the same."""
    Retry(worked.jobs("retry")).key("old.wav")
    worked.worker().run(drain=True)
    assert sweep(worked, 5).outputs == 2  # those of 0.wav
    check_right(worked, "old.wav", SPEECH)


def test_what_is_not_settled_keeps_its_outputs(worked: Rig) -> None:
    """While a new version of a recording, or a retry, waits to be done, the old outputs stay where they are."""
    worked.drop("old.wav", b"replaced")
    Retry(worked.jobs("retry")).key("0.wav")
    assert sweep(worked, 5).outputs == 0


def test_outputs_of_recordings_that_are_gone(worked: Rig, bucket: MemoryStore) -> None:
    """The outputs of recordings that were moved away go, too: their manifests tell whose they are."""
    bucket.delete("input/old.wav")
    bucket.delete("input/0.wav")
    assert sweep(worked, 5).outputs == 4
    assert outputs(worked) == ["results/new.wav.json", "progress/new.wav.json"]


def test_what_is_not_ours_stays(worked: Rig, bucket: MemoryStore, clock: OwnedClock) -> None:
    """Files that somebody put under the prefixes of outputs, of which nothing tells that they are a recording's."""
    foreign = ["results/README", "results/notes.json", "results/old.wav/", "progress/x/y.json", "errors/list.txt"]
    for key in foreign:
        bucket.drop(key, b"mine")
    bucket.drop("progress/forged.wav.json", b"{}")
    clock.advance(100 * DAY)
    sweep(worked, 1)
    assert sorted(outputs(worked)) == sorted([*foreign, "progress/forged.wav.json"])


def test_nothing_younger_than_a_day_goes(rig: Rig, clock: OwnedClock) -> None:
    """A limit below a day is one of a day."""
    rig.drop("a.wav", SPEECH)
    rig.worker().run(drain=True)
    clock.advance(DAY - 1)
    assert sweep(rig, 0.001).outputs == 0
    clock.advance(10)
    assert sweep(rig, 0.001).outputs == 2


def test_a_dry_run_tells_the_same(worked: Rig, bucket: MemoryStore) -> None:
    """It removes nothing, and counts what the sweep after it removes."""
    bucket.calls.clear()
    told = sweep(worked, 5, dry_run=True)
    assert not {"PUT", "DELETE"} & set(bucket.counts())
    done = sweep(worked, 5)
    assert done == told.model_copy(update={"dry_run": False})
    assert done.outputs == 4


def test_nothing_old_costs_four_listings_more(rig: Rig, bucket: MemoryStore) -> None:
    """Where no output is past its time, neither recordings nor markers are listed."""
    rig.drop("a.wav", SPEECH)
    rig.worker().run(drain=True)
    bucket.calls.clear()
    sweep(rig, 5)
    listed = [call.key for call in bucket.calls if call.verb == "LIST"]
    assert listed[2:] == ["results/", "errors/", "progress/", ".dropscribe/v1/callbacks/done/"]


def test_manifests_go_last(worked: Rig, bucket: MemoryStore) -> None:
    """A sweep that dies leaves the manifest, which tells the next one whose the other outputs are."""
    bucket.calls.clear()
    Sweep(bucket, worked.layout, side_by_side=1).run(Limits(results_ttl=5 * DAY))
    deleted = [call.key for call in bucket.calls if call.verb == "DELETE"]
    assert len(deleted) == 4
    for first, last in (
        ("results/old.wav.json", "progress/old.wav.json"),
        ("errors/0.wav.json", "progress/0.wav.json"),
    ):
        assert deleted.index(first) < deleted.index(last)


# ── batches ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def member(worked: Rig, bucket: MemoryStore, clock: OwnedClock) -> Rig:
    """The outputs of a batch's member, settled ten days ago; the batch itself is open."""
    manifest = json.loads(bucket.peek("progress/old.wav.json") or b"")
    key, sid = "calls.batch.jsonl/old.wav", "e" * 64
    bucket.drop("input/calls.batch.jsonl", b'{"key": "old.wav"}')
    bucket.drop(f"progress/{key}.json", json.dumps({**manifest, "key": key, "source_id": sid}).encode())
    bucket.drop(f"results/{key}.json", bucket.peek("results/old.wav.json") or b"")
    bucket.drop(worked.layout.settled_key(sid), b"{}")
    clock.advance(10 * DAY)
    return worked


def test_a_batchs_members_stay_while_it_is_open(member: Rig, bucket: MemoryStore) -> None:
    """An open batch counts its members by their outputs: these stay until it, too, was settled long enough ago."""
    sweep(member, 5)
    assert [key for key in outputs(member) if "batch" in key] == [
        "results/calls.batch.jsonl/old.wav.json", "progress/calls.batch.jsonl/old.wav.json",
    ]  # fmt: skip
    batch = member.layout.source(bucket.head("input/calls.batch.jsonl"))
    bucket.drop(member.layout.settled_key(batch.sid), b"{}")
    sweep(member, 5)
    assert len([key for key in outputs(member) if "batch" in key]) == 2
    member.clock.sleep(6 * DAY)
    sweep(member, 5)
    assert [key for key in outputs(member) if "batch" in key] == []


def test_a_member_without_a_manifest_is_its_batchs(member: Rig, bucket: MemoryStore) -> None:
    """Where nothing tells of a member, its batch does."""
    bucket.delete("progress/calls.batch.jsonl/old.wav.json")
    batch = member.layout.source(bucket.head("input/calls.batch.jsonl"))
    sweep(member, 5)
    assert bucket.peek("results/calls.batch.jsonl/old.wav.json") is not None
    bucket.drop(member.layout.settled_key(batch.sid), b"{}")
    member.clock.sleep(6 * DAY)
    sweep(member, 5)
    assert bucket.peek("results/calls.batch.jsonl/old.wav.json") is None


def test_a_batch_that_is_gone(rig: Rig, bucket: MemoryStore, clock: OwnedClock) -> None:
    """Of a batch whose file was moved away all outputs go, its own and its members': its manifest tells whose it is."""
    rig.drop("a.wav", SPEECH)
    rig.drop(NAME, lines({"key": "a.wav", "options": {"utt_split": 2}}))
    drain(rig)
    ended(rig)
    bucket.delete(f"input/{NAME}")
    clock.advance(10 * DAY)
    assert [key for key in outputs(rig) if NAME in key] != []
    sweep(rig, 5)
    assert [key for key in outputs(rig) if NAME in key] == []


@pytest.mark.parametrize("again", ["retried", "dropped again", "replaced"])
def test_a_member_that_is_done_again_meanwhile(rig: Rig, bucket: MemoryStore, clock: OwnedClock, again: str) -> None:
    """A batch's member whose new result goes with the old one, because its batch was done again while the sweep was at
    it, is published again: its batch and itself lose their markers.
    """
    entry = {"key": "a.wav", "options": {"utt_split": 2}}
    key, body = f"results/{NAME}/a.wav.json", SPEECH
    rig.drop("a.wav", SPEECH)
    rig.drop(NAME, lines(entry))
    drain(rig)
    clock.advance(10 * DAY)
    done: list[str] = []

    def meanwhile(call: Call, phase: str) -> None:
        """Between the sweep's look at the result and its going."""
        nonlocal body
        if call.verb != "DELETE" or call.key != key or phase != "before" or done:
            return
        done.append(again)
        if again == "retried":
            list(Retry(rig.jobs()).all())
        elif again == "dropped again":
            rig.drop(NAME, lines({**entry, "options": {"utt_split": 3}}))
        else:
            body = b"somebody else talks"
            rig.drop("a.wav", body)
            rig.drop(NAME, lines(entry) + b"\n")
        drain(rig)
        ended(rig)

    Sweep(bucket.client(meanwhile), rig.layout, side_by_side=1).run(Limits(results_ttl=5 * DAY))
    assert done == [again]
    assert rig.body(key) is None
    drain(rig)
    ended(rig)
    assert heard(rig.json(key)) == text_of(body)
