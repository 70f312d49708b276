"""Workers' statistics: summed while one works, one object when it ends, and read whatever else lies there."""

from __future__ import annotations

from protocol_rig import layout_of

from handler.stats import Snapshot, Stats, read_stats
from handler.store.memory import Call, MemoryStore, Phase

GONE = ".dropscribe/v1/stats/gone.json"


def test_a_workers_sums(memory_store: MemoryStore) -> None:
    """What a worker's jobs hit, missed, saved and took is summed; one that did nothing leaves nothing behind."""
    stats, layout = Stats(), layout_of(memory_store)
    stats.save(memory_store, layout, memory_store.clock, "idle")
    stats.job(hits=0, saved=0.0, stages={"transcribing": 1.25, "generating_output": 0.5})
    stats.job(hits=1, saved=1.25, stages={"generating_output": 0.25})
    stats.save(memory_store, layout, memory_store.clock, "one")
    assert read_stats(memory_store, layout) == [
        Snapshot(
            worker="one", at="2023-11-14T22:13:20.000Z", jobs=2, hits=1, misses=3, saved_seconds=1.25,
            stage_seconds={"generating_output": 0.75, "transcribing": 1.25},
        )
    ]  # fmt: skip


def test_what_cannot_be_read_is_left_out(memory_store: MemoryStore) -> None:
    """Garbage beside the statistics, or an object that goes while they are read, spoils no sum."""
    stats, layout = Stats(), layout_of(memory_store)
    stats.job(hits=1, saved=1.0, stages={})
    stats.save(memory_store, layout, memory_store.clock, "one")
    memory_store.drop(".dropscribe/v1/stats/garbage.json", b"not JSON")
    memory_store.drop(GONE, b"{}")

    def vanish(call: Call, phase: Phase) -> None:
        if (call.method, call.key, phase) == ("get", GONE, "before"):
            memory_store.delete(GONE)

    assert [one.worker for one in read_stats(memory_store.client(vanish), layout)] == ["one"]
