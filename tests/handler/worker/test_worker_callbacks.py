"""Workers and callbacks: what is delivered, to whom and when; what a retry and a delete do to it."""

from __future__ import annotations

import json
import logging
from urllib.parse import quote

import pytest
from callback_rig import Receiver, Scripted, answer, die, moved, refused, reset
from courier_rig import HOOK, SPEECH, allow, ask, delivered, inline, pending
from pydantic import SecretStr
from worker_rig import Rig, at, check_right, text_of

from handler.callbacks.courier import Courier
from handler.callbacks.state import state_of
from handler.cancel import Cancel
from handler.fakes import ScriptedEngine
from handler.remove import Remove
from handler.retry import Retry
from handler.store.memory import MemoryStore
from pipeline.errors import NoAudio

HOPELESS = NoAudio("there is no sound in it").to_detail()


# ── what is delivered ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_bytes_of_the_result(any_rig: Rig) -> None:
    """On every store, over a real connection: a receiver that fails in several ways and then accepts gets the very
    bytes of the stored result; the drain waits for it, and leaves nothing to be delivered.
    """
    with Receiver(answer(503), reset, die, moved("/elsewhere", 302), moved("/hook?again")) as receiver:
        ask(any_rig, "a.wav", url=receiver.url("/hook?x=1"), callback_method="PUT")
        any_rig.worker(callback_seconds=0.05, callback_allow=allow(receiver)).run(drain=True)
        check_right(any_rig, "a.wav", SPEECH)
        result = any_rig.body("results/a.wav.json")
        assert [one.body for one in receiver.received] == [result] * 6
        assert [one.path for one in receiver.received] == ["/hook?x=1"] * 5 + ["/hook?again"]
        assert {one.method for one in receiver.received} == {"PUT"}
        assert {one.headers["dropscribe-request-id"] for one in receiver.received} == {
            any_rig.result("a.wav")["metadata"]["request_id"]
        }
    [done] = delivered(any_rig)
    assert (done["outcome"], done["attempts"], pending(any_rig)) == ("delivered", 5, [])
    assert [one["outcome"].split(":")[0] for one in done["tries"]] == [
        "503 Service Unavailable", "the connection was closed before an answer came", "the answer is no HTTP",
        "302 Found", "200 OK",
    ]  # fmt: skip


def test_metadata_asks_for_a_callback(rig: Rig, bucket: MemoryStore) -> None:
    """A callback in an object's own metadata is one, too."""
    bucket.drop("input/a.wav", SPEECH, {"dropscribe": f"callback={quote(HOOK, safe='')}"})
    rig.worker(courier=inline(network := Scripted())).run(drain=True)
    assert [(one.method, one.path, one.body) for one in network.sent] == [
        ("POST", HOOK, rig.body("results/a.wav.json"))
    ]


@pytest.mark.parametrize("body", [SPEECH, b""], ids=["a job that died", "never a job"])
def test_the_bytes_of_the_error(rig: Rig, body: bytes) -> None:
    """A failure is delivered as the very bytes of its error."""
    ask(rig, "a.wav", body)
    rig.worker(ScriptedEngine(failures=[HOPELESS]), courier=inline(network := Scripted())).run(drain=True)
    assert rig.settled("a.wav") == "failed"
    assert [one.body for one in network.sent] == [rig.body("errors/a.wav.json")]
    assert network.sent[0].headers["dropscribe-request-id"] == rig.error("a.wav")["request_id"]


def test_nothing_for_who_was_cancelled(rig: Rig) -> None:
    """A recording that is cancelled, or deleted, before its job ended is not called back for."""
    ask(rig, "a.wav")
    ask(rig, "b.wav", b"another")
    cancel = Cancel(rig.jobs())
    engine = at("transcribing", lambda: rig.store.delete("input/b.wav"))
    cancel.key("a.wav")
    rig.worker(engine, courier=inline(network := Scripted())).run(drain=True)
    assert network.sent == []
    assert rig.keys(f"{rig.layout.state}callbacks/") == []


def test_each_input_has_its_own(rig: Rig) -> None:
    """A callback is no part of a job: the same bytes are transcribed once, and each input's own result goes to its own
    address, of those who joined and of those who came later, too.
    """
    for key in ("a.wav", "b.wav"):
        ask(rig, key, url=f"{HOOK}/{key}")
    joins, network = rig.worker(courier=inline(Scripted())), Scripted()
    engine = at("transcribing", lambda: joins.sweep() and None)
    rig.worker(engine, courier=inline(network)).run(drain=True)
    ask(rig, "c.wav", url=f"{HOOK}/c.wav")
    rig.worker(engine, courier=inline(network)).run(drain=True)
    assert engine.jobs == 1
    assert {one.path: one.body for one in network.sent} == {
        f"{HOOK}/{key}": rig.body(f"results/{key}.json") for key in ("a.wav", "b.wav", "c.wav")
    }
    assert len({one.body for one in network.sent}) == 3


def test_the_newest_result_alone(rig: Rig) -> None:
    """A recording that is replaced while its result waits to be delivered: the old one is given up, which is said, and
    the new one delivered.
    """
    ask(rig, "a.wav")
    network = Scripted(refused(1))
    worker = rig.worker(courier=inline(network))
    worker.sweep()
    ask(rig, "a.wav", b"replaced")
    worker.run(drain=True)
    assert [one.body for one in network.sent][1:] == [rig.body("results/a.wav.json")]
    assert text_of(b"replaced").split()[0].encode() in network.sent[1].body.lower()
    by = {done["outcome"]: done for done in delivered(rig)}
    assert "replaced" in by["given_up"]["reason"]
    assert by["delivered"]["attempts"] == 1


# ── retry, delete, status ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_retry_delivers_again(rig: Rig) -> None:
    """A retried recording's result is delivered again, even if it has the same bytes; one that failed and now does not
    is delivered under another id, because it is another message.
    """
    ask(rig, "a.wav")
    network = Scripted()
    rig.worker(ScriptedEngine(failures=[HOPELESS]), courier=inline(network)).run(drain=True)
    Retry(rig.jobs()).key("a.wav")
    rig.worker(courier=inline(network)).run(drain=True)
    list(Retry(rig.jobs()).all())
    rig.worker(courier=inline(network)).run(drain=True)
    first, second, third = network.sent
    assert b"err_code" in first.body
    assert second.body == third.body == rig.body("results/a.wav.json")
    ids = [one.headers["webhook-id"] for one in network.sent]
    assert ids[0] != ids[1] == ids[2]
    assert len({one.headers["dropscribe-request-id"] for one in network.sent}) == 1


def test_a_deleted_result_is_not_delivered(rig: Rig) -> None:
    """With a result's deletion go its deliveries, those that wait and those that are over."""
    ask(rig, "a.wav")
    ask(rig, "b.wav", b"another")
    network = Scripted(refused(1))
    worker = rig.worker(courier=inline(network))
    worker.sweep()
    for key in ("a.wav", "b.wav"):
        gone = Remove(rig.jobs()).key(key, purge=False).removed
        assert len([key for key in gone if "/callbacks/" in key]) == 1
    worker.run(drain=True)
    assert len(network.sent) == 2
    assert rig.keys(f"{rig.layout.state}callbacks/") == []


def test_status_tells(rig: Rig) -> None:
    """What a person sees of a callback: that it waits and why, that it went well, that it was given up."""
    ask(rig, "a.wav", url="https://me:secret@hooks.example/x?token=secret")
    network = Scripted(refused(1))
    worker = rig.worker(courier=inline(network))
    sid = rig.candidate("a.wav").source.sid
    assert state_of(rig.store, rig.layout, sid) is None
    worker.sweep()
    state = state_of(rig.store, rig.layout, sid)
    assert state is not None
    assert (state.status, state.attempts, state.message) == ("pending", 1, "503 Service Unavailable")
    assert state.url == "https://hooks.example/…"
    worker.run(drain=True)
    state = state_of(rig.store, rig.layout, sid)
    assert state is not None
    assert (state.status, state.attempts, state.message) == ("delivered", 2, "200 OK")


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────────────────────────


MARKS = ("hunter2", "s3cret", "fr4gment", "whsec_c2VjcmV0")
SECRET_URL = "https://me:hunter2@hooks.example/path?token=s3cret#fr4gment"
SIGNED_WITH = "whsec_" + "c2VjcmV0" * 4


@pytest.mark.parametrize("course", ["delivered", "given up", "failed", "refused"])
def test_no_secret_anywhere(rig: Rig, bucket: MemoryStore, caplog: pytest.LogCaptureFixture, course: str) -> None:
    """User, password and query of a callback, and what it is signed with, are in no log, output, error, manifest, key,
    dead record or finished delivery: only in the options they came from, in the job's record, and in the delivery while
    it waits.
    """
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="handler")
    ask(rig, "a.wav", url=SECRET_URL)
    rig.drop("m.batch.jsonl", json.dumps({"key": "a.wav", "options": {"callback": SECRET_URL, "tag": "m"}}).encode())
    network = Scripted(refused(100) if course == "given up" else [])
    engine = ScriptedEngine(failures=[HOPELESS] * 9 if course == "failed" else [])
    courier = Courier if course == "refused" else inline(network)
    settings = {"callback_secret": SecretStr(SIGNED_WITH), "callback_seconds": 0.01, "callback_retries": 2}
    if course == "refused":  # by the real guard: its name is not even asked for
        ask(rig, "a.wav", url=SECRET_URL.replace("hooks.example", "127.0.0.1"))
        rig.drop("m.batch.jsonl", b'{"key": "a.wav"}')
    rig.worker(engine, courier=courier, **settings).run(drain=True)
    assert len(delivered(rig)) == (1 if course == "refused" else 2)
    assert pending(rig) == []
    allowed = ("input/", f"{rig.layout.state}jobs/", f"{rig.layout.state}batches/")
    seen = 0
    for key in rig.keys(""):
        text = key + (bucket.peek(key) or b"").decode()
        assert not any(mark in key for mark in MARKS)
        if not key.startswith(allowed):
            assert not [mark for mark in MARKS if mark in text], key
            seen += 1
    assert seen > 5
    logged = "\n".join(f"{record.getMessage()} {record.exc_text or ''}" for record in caplog.records)
    assert "hooks.example" in logged or "127.0.0.1" in logged
    assert not [mark for mark in MARKS if mark in logged]
