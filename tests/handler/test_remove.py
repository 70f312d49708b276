"""`handler.remove`: what was made of a recording goes, and nothing that anybody else needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from handler.clock import VirtualClock
from handler.errors import Usage
from handler.fakes import ScriptedEngine
from handler.job import Jobs
from handler.layout import Layout
from handler.remove import Remove
from handler.settings import Settings, load_settings
from handler.store.memory import Call, MemoryStore
from handler.worker import Worker
from pipeline.errors import EngineFailure, NoAudio

STATE = ".dropscribe/v1/"
SPEECH = b"somebody talks"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(work_dir=tmp_path / "work", model="sphinx", inline_bytes=0)  # so that every artifact is a blob


def drain(store: MemoryStore, settings: Settings, engine: ScriptedEngine | None = None) -> ScriptedEngine:
    store.clock.sleep(5)
    engine = engine or ScriptedEngine()
    Worker(store, settings, store.clock, engine, name=f"worker-{store.clock.new_id()[:8]}").run(drain=True)
    return engine


def removing(store: MemoryStore, settings: Settings) -> Remove:
    return Remove(Jobs(store, Layout.of(store.url, settings), store.clock, settings, "delete"))


def done(store: MemoryStore, settings: Settings, **recordings: bytes) -> Remove:
    for name, body in recordings.items():
        store.drop(f"input/{name}.wav", body)
    drain(store, settings)
    return removing(store, settings)


def test_the_outputs_go(memory_store: MemoryStore, settings: Settings) -> None:
    """Result, captions, progress: all forms of this key's and none of another's; the recording stays, and is not
    transcribed again."""
    remove = done(memory_store, settings, a=SPEECH, b=b"another")
    memory_store.drop("results/a.wav.srt", b"1")
    memory_store.drop("results/a.wav.extra.json", b"of a recording called a.wav.extra")
    before = set(memory_store.keys(""))
    removed = remove.key("a.wav", purge=False)
    assert removed.removed == ("progress/a.wav.json", "results/a.wav.json", "results/a.wav.srt")
    assert (removed.recording, removed.settled) == (True, True)
    assert before - set(memory_store.keys("")) == set(removed.removed)
    assert drain(memory_store, settings).jobs == 0
    assert "results/a.wav.json" not in memory_store.keys("")


def test_an_error_goes(memory_store: MemoryStore, settings: Settings) -> None:
    """What a failure left goes, too."""
    memory_store.drop("input/a.wav", SPEECH)
    drain(memory_store, settings, ScriptedEngine(failures=[NoAudio("no sound").to_detail()]))
    assert "errors/a.wav.json" in removing(memory_store, settings).key("a.wav", purge=False).removed
    assert memory_store.keys("errors/") == ()


@pytest.mark.parametrize("purge", [False, True])
def test_twice_is_once(memory_store: MemoryStore, settings: Settings, purge: bool) -> None:
    """A second time there is nothing left to delete, which is no error."""
    remove = done(memory_store, settings, a=SPEECH)
    assert remove.key("a.wav", purge=purge).removed
    assert remove.key("a.wav", purge=purge).removed == ()


def test_a_purge_takes_the_artifacts(memory_store: MemoryStore, settings: Settings) -> None:
    """With purge nothing of the transcript is left anywhere; references go before their blobs."""
    remove = done(memory_store, settings, a=SPEECH)
    removed = remove.key("a.wav", purge=True)
    assert memory_store.keys(f"{STATE}stages/") == memory_store.keys(f"{STATE}blobs/") == ()
    kinds = [key.split("/")[-2] for key in removed.removed if key.startswith(STATE)]
    assert kinds == ["stages", "stages", "blobs", "blobs"]
    assert memory_store.keys(f"{STATE}settled/") != ()
    assert drain(memory_store, settings).jobs == 0


def test_what_others_use_stays(memory_store: MemoryStore, settings: Settings) -> None:
    """Artifacts of another recording with the same bytes stay while that is there, whatever became of its result."""
    remove = done(memory_store, settings, a=SPEECH, b=SPEECH)
    removed = remove.key("a.wav", purge=True)
    assert removed.shared == 2
    assert len(memory_store.keys(f"{STATE}stages/")) == 2
    memory_store.delete("input/b.wav")
    assert remove.key("b.wav", purge=True).shared == 2
    memory_store.delete("input/a.wav")
    assert remove.key("a.wav", purge=True).removed
    assert memory_store.keys(f"{STATE}stages/") == memory_store.keys(f"{STATE}blobs/") == ()


def test_what_another_job_uses_stays(memory_store: MemoryStore, settings: Settings) -> None:
    """A transcript that another job used, under other options for the output, stays, with its blob; the rest goes."""
    memory_store.drop("input/options.json", b"{}")
    memory_store.drop("input/b.wav.options.json", b'{"utt_split": 1.5}')
    remove = done(memory_store, settings, a=SPEECH, b=SPEECH)
    removed = remove.key("a.wav", purge=True)
    assert removed.shared == 1
    memory_store.drop("input/again.wav", SPEECH)
    memory_store.drop("input/again.wav.options.json", b'{"utt_split": 1.5}')
    assert drain(memory_store, settings).jobs == 0
    memory_store.drop("input/once.wav", SPEECH)
    assert drain(memory_store, settings).ran == ["generating_output"]


def test_a_recording_that_is_gone(memory_store: MemoryStore, settings: Settings) -> None:
    """Of a deleted recording a purge leaves nothing but its job's record, which says nothing of what was heard."""
    remove = done(memory_store, settings, a=SPEECH)
    memory_store.delete("input/a.wav")
    removed = remove.key("a.wav", purge=True)
    assert not removed.recording
    left = [key for key in memory_store.keys("") if "/stats/" not in key]
    assert [key.split("/")[2] for key in left] == ["jobs"]


def test_what_is_being_worked_on_is_refused(memory_store: MemoryStore, settings: Settings) -> None:
    """Running, or waiting for its next attempt: cancel it first."""
    remove = removing(memory_store, settings)
    refused: list[str] = []

    def between(stage: str) -> None:
        before = memory_store.keys("")
        with pytest.raises(Usage, match="worked on") as caught:
            remove.key("a.wav", purge=True)
        assert "cancel" in caught.value.hint
        assert memory_store.keys("") == before
        refused.append(stage)

    memory_store.drop("input/a.wav", SPEECH)
    engine = ScriptedEngine(failures=[EngineFailure("it broke").to_detail()], between=between)
    worker = Worker(memory_store, settings, memory_store.clock, engine, name="one")
    worker.sweep()
    between("waiting")
    memory_store.clock.sleep(1000)
    worker.sweep()
    assert refused[0] == "waiting"
    assert len(refused) == 3
    worker.close()


@pytest.mark.parametrize("dies", range(12))
def test_killed_in_between(virtual_clock: VirtualClock, settings: Settings, dies: int) -> None:
    """Killed before any of its deletions, a purge leaves no reference without its blob, and can be given again."""
    store = MemoryStore(virtual_clock)
    done(store, settings, a=SPEECH)
    store.delete("input/a.wav")
    deleted: list[str] = []

    def die(call: Call, phase: str) -> None:
        if call.verb == "DELETE" and phase == "before":
            deleted.append(call.key)
            if len(deleted) > dies:
                raise KeyboardInterrupt

    try:
        removing(store.client(die), settings).key("a.wav", purge=True)
    except KeyboardInterrupt:
        store.drop("input/b.wav", SPEECH)
        drain(store, settings)
        assert "results/b.wav.json" in store.keys("")
        removing(store, settings).key("a.wav", purge=True)
    assert not [key for key in store.keys("") if "a.wav" in key]
