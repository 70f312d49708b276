"""`handler.shelf`: what the cache holds and saved, and how it is emptied without touching anything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from handler.clock import VirtualClock
from handler.fakes import ScriptedEngine
from handler.layout import Layout
from handler.settings import Settings, load_settings
from handler.shelf import clear, survey
from handler.store.memory import MemoryStore
from handler.worker import Worker


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Small artifacts lie inside their references, larger ones are blobs."""
    return load_settings(work_dir=tmp_path / "work", model="sphinx", inline_bytes=1500)


def work(store: MemoryStore, settings: Settings, clock: VirtualClock, name: str) -> None:
    clock.advance(10)
    Worker(store, settings, clock, ScriptedEngine(), name=name).run(drain=True)


@pytest.fixture
def worked(memory_store: MemoryStore, settings: Settings, virtual_clock: VirtualClock) -> MemoryStore:
    """Two recordings, and a copy of one of them that a second worker found in the cache."""
    memory_store.drop("input/a.wav", b"somebody talks")
    memory_store.drop("input/b.wav", b"somebody else talks")
    work(memory_store, settings, virtual_clock, "one")
    memory_store.drop("input/copy.wav", b"somebody talks")
    work(memory_store, settings, virtual_clock, "two")
    return memory_store


def test_survey(worked: MemoryStore, settings: Settings) -> None:
    """Entries and bytes by stage are those of the artifacts; hits and misses are summed over the workers."""
    found = survey(worked, Layout.of(worked.url, settings))
    assert {stage: share.entries for stage, share in found.stages.items()} == {
        "transcribing": 2,
        "generating_output": 2,
    }
    assert found.entries == len(worked.keys(".dropscribe/v1/stages/")) == 4
    blobs = worked.keys(".dropscribe/v1/blobs/")
    assert found.blobs == len(blobs) > 0
    assert found.blob_bytes == sum(len(worked.peek(key) or b"") for key in blobs)
    assert found.bytes == sum(share.bytes for share in found.stages.values()) >= found.blob_bytes
    assert (found.jobs, found.hits, found.misses) == (3, 2, 4)
    assert found.hit_rate == round(2 / 6, 4)


def test_an_unreadable_reference_is_counted(worked: MemoryStore, settings: Settings) -> None:
    """A damaged reference is shown as such; it does not stop the survey."""
    worked.drop(".dropscribe/v1/stages/" + "0" * 64 + ".json", b"not JSON")
    assert survey(worked, Layout.of(worked.url, settings)).stages["unreadable"].entries == 1


def test_an_empty_bucket(memory_store: MemoryStore, settings: Settings) -> None:
    """No cache yet: zeros, and no rate rather than one of nothing."""
    found = survey(memory_store, Layout.of(memory_store.url, settings))
    assert (found.entries, found.blobs, found.jobs, found.hit_rate) == (0, 0, 0, None)


def test_clear_touches_nothing_else(worked: MemoryStore, settings: Settings) -> None:
    """Clearing takes exactly the references and the blobs, references first; inputs, results, markers and jobs stay."""
    before = set(worked.keys())
    worked.calls.clear()
    done = clear(worked, Layout.of(worked.url, settings))
    gone = before - set(worked.keys())
    assert gone == {key for key in before if key.startswith((".dropscribe/v1/stages/", ".dropscribe/v1/blobs/"))}
    assert done.references + done.blobs == len(gone)
    deleted = [call.key.split("/")[2] for call in worked.calls if call.verb == "DELETE"]
    assert deleted == sorted(deleted, reverse=True)
    assert set(deleted) == {"stages", "blobs"}


def test_after_clearing_it_is_computed_again(
    worked: MemoryStore, settings: Settings, virtual_clock: VirtualClock
) -> None:
    """A cleared cache costs a rerun, never a job: the recording dropped again completes."""
    clear(worked, Layout.of(worked.url, settings))
    worked.drop("input/again.wav", b"somebody talks")
    work(worked, settings, virtual_clock, "three")
    assert worked.peek("results/again.wav.json")
