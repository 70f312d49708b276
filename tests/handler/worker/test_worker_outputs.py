"""The option `outputs`: captions and text beside a result, for everybody who asked, without a stage run for them."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from batch_rig import lines
from outputs_rig import ALL, TwoVoices, ask, forms, name_speakers, shown
from worker_rig import Mortal, Rig, at, check_right, drain, text_of

from handler.fakes import OwnedClock, ScriptedEngine
from handler.job import Jobs
from handler.remove import Remove
from handler.retry import Retry
from handler.store.memory import Call, MemoryStore, Phase
from handler.sweep import Limits, Sweep
from pipeline.errors import EngineFailure, NotAResult
from pipeline.formats.captions import render

SPEECH = b"somebody talks"
DAY = 24 * 3600.0


def warnings(rig: Rig, key: str) -> dict[str, str]:
    """Parameter → message."""
    return {one["parameter"]: one["message"] for one in rig.result(key)["metadata"].get("warnings", ())}


# ── who gets what ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_form(any_rig: Rig) -> None:
    """On every store all that was asked for lies beside the JSON, made of the same words; the manifest names it."""
    ask(any_rig, "calls/a.wav", *ALL)
    any_rig.drop("calls/a.wav", SPEECH)
    any_rig.worker(engine := ScriptedEngine()).run(drain=True)
    check_right(any_rig, "calls/a.wav", SPEECH)
    assert any_rig.manifest("calls/a.wav")["outputs"] == {kind: f"results/calls/a.wav.{kind}" for kind in ALL}
    result = any_rig.result("calls/a.wav")
    for kind in ALL:
        expected = render(result, kind, file="a.wav").encode()
        assert any_rig.body(f"results/calls/a.wav.{kind}") == expected != b""
    assert engine.exported == list(ALL)
    assert shown(any_rig, "calls/a.wav") == text_of(SPEECH)


def test_forms_go_before_the_json(rig: Rig) -> None:
    """Whoever sees the JSON sees all forms; whoever sees the marker sees the manifest that names them."""
    ask(rig, "a.wav", "vtt", "srt")
    rig.drop("a.wav", SPEECH)
    watched = Mortal(rig.store)
    rig.worker(store=watched).run(drain=True)
    written = [one.removeprefix("put ") for one in watched.mutations if one.startswith("put ")]
    tail = [key for key in written if key.startswith(("results/", "progress/", ".dropscribe/v1/settled"))][-5:]
    assert tail[:3] == ["results/a.wav.srt", "results/a.wav.vtt", "results/a.wav.json"]
    assert tail[3] == "progress/a.wav.json"
    assert tail[4].startswith(".dropscribe/v1/settled/")


def test_nobody_asked(rig: Rig) -> None:
    """Without the option nothing is made, and the engine is not asked."""
    rig.drop("a.wav", SPEECH)
    engine = drain(rig)
    assert (engine.exported, forms(rig, "a.wav")) == ([], [])
    assert rig.manifest("a.wav")["outputs"] == {}


def test_each_gets_its_own(rig: Rig) -> None:
    """Inputs that share a job get what each of them asked for, by whichever worker publishes."""
    ask(rig, "a.wav", "srt")
    ask(rig, "b.wav", "txt", "rttm")
    for key in ("a.wav", "b.wav", "c.wav"):
        rig.drop(key, SPEECH)
    joins = rig.worker()
    rig.worker(engine := ScriptedEngine(between=lambda stage: joins.sweep() and None)).run(drain=True)
    assert [forms(rig, key) for key in ("a.wav", "b.wav", "c.wav")] == [["srt"], ["txt", "rttm"], []]
    assert (
        rig.body(
            "results/b.wav.rttm",
        ).split()[1]
        == b"b.wav"
    )  # type: ignore[union-attr]
    assert engine.jobs == 1
    assert len(rig.records()) == 1


def test_asked_for_afterwards(rig: Rig) -> None:
    """A finished job that is asked again with outputs publishes them without a stage being run, under the same id."""
    rig.drop("a.wav", SPEECH)
    drain(rig)
    before = rig.result("a.wav")
    ask(rig, "a.wav", "srt", "vtt")
    Retry(rig.jobs()).key("a.wav")
    rig.clock.sleep(5)
    engine = drain(rig)
    assert (engine.jobs, engine.ran, engine.exported) == (0, [], ["srt", "vtt"])
    assert forms(rig, "a.wav") == ["srt", "vtt"]
    assert rig.result("a.wav") == before
    assert len(rig.records()) == 1


def test_the_same_bytes_with_outputs(rig: Rig) -> None:
    """The same bytes under another key with outputs are the same job: outputs are no part of what a job is."""
    rig.drop("a.wav", SPEECH)
    drain(rig)
    ask(rig, "b.wav", "txt")
    rig.drop("b.wav", SPEECH)
    engine = drain(rig)
    assert (engine.jobs, engine.exported) == (0, ["txt"])
    assert "outputs" not in rig.record().options
    assert rig.words("a.wav") == rig.words("b.wav")


def test_members_of_a_batch(rig: Rig) -> None:
    """A batch's members get their outputs where their results lie, named after the recording."""
    rig.drop("calls/0.wav", SPEECH)
    rig.drop("calls/1.wav", b"another")
    rig.drop("all.batch.jsonl", lines({"key": "calls/0.wav", "options": {"outputs": "srt,rttm"}}, "calls/1.wav"))
    name_speakers(rig, "calls/speakers.json", {"0": "Alice"})
    drain(rig, TwoVoices())
    member = "all.batch.jsonl/calls/0.wav"
    assert forms(rig, member) == ["srt", "rttm"]
    turn = (rig.body(f"results/{member}.rttm") or b"").split()
    assert (turn[1], turn[7]) == (b"0.wav", b"Alice")
    assert forms(rig, "calls/1.wav") == []


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("place", ["calls/a.wav.speakers.json", "calls/speakers.json", "speakers.json"])
def test_names_of_speakers(rig: Rig, place: str) -> None:
    """Names come from the recording's own file, or the nearest in its folder or above."""
    name_speakers(rig, place, {"0": "Alice", "1": "Bob"})
    ask(rig, "calls/a.wav", "txt")
    rig.drop("calls/a.wav", SPEECH)
    drain(rig, TwoVoices())
    said = (rig.body("results/calls/a.wav.txt") or b"").decode()
    assert said.startswith("[00:00] Alice: ")
    assert "Bob: " in said
    assert "Alice" not in json.dumps(rig.result("calls/a.wav"))  # the JSON is Deepgram's


@pytest.mark.parametrize("body", [b"Alice", b'{"0": 7}', b'{"0": "' + b"a" * 70_000 + b'"}'])
def test_names_that_cannot_be_read(rig: Rig, body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A bad file of names costs the names: the job ends well; the log and the result's metadata say what is wrong."""
    rig.drop("speakers.json", body)
    ask(rig, "a.wav", "txt")
    rig.drop("a.wav", SPEECH)
    with caplog.at_level(logging.WARNING):
        drain(rig, TwoVoices())
    check_right(rig, "a.wav", SPEECH)
    assert "Speaker 0: " in (rig.body("results/a.wav.txt") or b"").decode()
    assert "speakers.json" in warnings(rig, "a.wav")["speakers.json"]
    assert "speakers.json" in caplog.text


def test_names_are_no_part_of_a_job(rig: Rig) -> None:
    """Other names, and the job is the same: it is published again without being run."""
    ask(rig, "a.wav", "txt")
    rig.drop("a.wav", SPEECH)
    drain(rig, TwoVoices())
    name_speakers(rig, "speakers.json", {"0": "Alice"})
    Retry(rig.jobs()).key("a.wav")
    rig.clock.sleep(5)
    engine = drain(rig)
    assert engine.jobs == 0
    assert "Alice: " in (rig.body("results/a.wav.txt") or b"").decode()


# ── trouble ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_engine_that_dies_once(rig: Rig) -> None:
    """An engine that was killed while it made them is asked once more, and nothing is charged."""
    ask(rig, "a.wav", "srt")
    rig.drop("a.wav", SPEECH)
    drain(rig, ScriptedEngine(export_failures=[None]))
    assert forms(rig, "a.wav") == ["srt"]
    assert rig.record().attempts == 0


@pytest.mark.parametrize(
    "failures", [[None, None], [EngineFailure("no").to_detail()] * 2, [NotAResult("it is none").to_detail()]]
)
def test_forms_that_cannot_be_made(rig: Rig, failures: list[Any]) -> None:
    """What cannot be made does not keep the transcript back; a warning says so, and a retry makes it good."""
    ask(rig, "a.wav", "srt")
    rig.drop("a.wav", SPEECH)
    drain(rig, ScriptedEngine(export_failures=failures))
    check_right(rig, "a.wav", SPEECH)
    assert forms(rig, "a.wav") == []
    assert rig.manifest("a.wav")["outputs"] == {}
    assert "srt could not be made" in warnings(rig, "a.wav")["outputs"]
    Retry(rig.jobs()).key("a.wav")
    rig.clock.sleep(5)
    drain(rig)
    assert forms(rig, "a.wav") == ["srt"]
    assert warnings(rig, "a.wav") == {}


def test_nothing_is_left_on_the_disk(rig: Rig) -> None:
    """The worker's folder is empty between two inputs: captions are as private as recordings."""
    ask(rig, "a.wav", "srt")
    rig.drop("a.wav", SPEECH)
    worker = rig.worker(engine := ScriptedEngine())
    worker.sweep()
    assert engine.exported == ["srt"]
    assert not any(path.is_file() for path in rig.settings.work_dir.rglob("export*"))
    assert not list(rig.settings.work_dir.glob("*/export-*"))


# ── what is not asked for any more ───────────────────────────────────────────────────────────────────────────────────


def test_forms_that_nobody_wants_any_more(rig: Rig) -> None:
    """A result without outputs leaves none of an earlier one's beside it, after a retry as after a new recording."""
    ask(rig, "a.wav", "srt", "vtt")
    rig.drop("a.wav", SPEECH)
    rig.drop("a.wav.srt", b"a recording of that name")
    drain(rig)
    ask(rig, "a.wav", "vtt")
    Retry(rig.jobs()).key("a.wav")
    rig.clock.sleep(5)
    drain(rig)
    assert forms(rig, "a.wav") == ["vtt"]
    rig.store.delete("input/a.wav.options.json")
    rig.drop("a.wav", b"replaced")
    rig.clock.sleep(5)
    drain(rig)
    assert forms(rig, "a.wav") == []
    check_right(rig, "a.wav", b"replaced")
    check_right(rig, "a.wav.srt", b"a recording of that name")


def test_an_old_worker_does_not_take_a_new_result_along(rig: Rig, bucket: MemoryStore) -> None:
    """A worker that removes forms of an old version while a new one's are published has them published again."""
    ask(rig, "a.wav", "srt")
    rig.drop("a.wav", b"first")
    drain(rig)
    rig.store.delete("input/a.wav.options.json")
    rig.drop("a.wav", b"second")
    rig.clock.sleep(5)
    replaced: list[str] = []

    def replace(call: Call, phase: Phase) -> None:
        if call.verb == "DELETE" and call.key == "results/a.wav.srt" and not replaced:
            replaced.append(call.key)
            ask(rig, "a.wav", "srt")
            rig.drop("a.wav", b"third")
            rig.clock.sleep(5)
            rig.worker().sweep()

    rig.worker(store=bucket.client(replace)).sweep()
    assert replaced
    rig.clock.sleep(10)
    drain(rig)
    check_right(rig, "a.wav", b"third")
    assert forms(rig, "a.wav") == ["srt"]
    assert shown(rig, "a.wav") == text_of(b"third")


def test_a_recording_replaced_before_it_is_published(rig: Rig) -> None:
    """No form of a version that is gone by then is written."""
    ask(rig, "a.wav", "srt")
    rig.drop("a.wav", SPEECH)
    candidate = rig.candidate("a.wav")
    rig.worker(at("exporting", lambda: rig.drop("a.wav", b"new"))).inputs.handle(candidate)
    assert rig.keys("results/") == []


# ── the others who know of results ───────────────────────────────────────────────────────────────────────────────────


def test_delete_and_retention_know_all_forms(rig: Rig, clock: OwnedClock) -> None:
    """`delete` and the time-to-live remove a result in all its forms."""
    for key in ("a.wav", "b.wav"):
        ask(rig, key, *ALL)
        rig.drop(key, key.encode())
    drain(rig)
    jobs = Jobs(rig.store, rig.layout, rig.clock, rig.settings, "delete")
    assert len(Remove(jobs).key("a.wav", purge=False).removed) == 2 + len(ALL)
    assert (forms(rig, "a.wav"), forms(rig, "b.wav")) == ([], list(ALL))
    clock.advance(10 * DAY)
    assert Sweep(rig.store, rig.layout).run(Limits(results_ttl=5 * DAY)).outputs == 2 + len(ALL)
    assert rig.keys("results/") == []


def test_files_of_names_are_no_recordings(rig: Rig) -> None:
    """Neither kind of speakers.json is taken for a recording."""
    name_speakers(rig, "a.wav.speakers.json", {})
    name_speakers(rig, "calls/speakers.json", {})
    assert drain(rig).jobs == 0
    assert rig.keys("errors/") == []
