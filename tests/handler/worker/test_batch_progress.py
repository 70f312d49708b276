"""What a batch tells while it is open, and what that costs in requests and memory."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from pathlib import Path

from batch_rig import NAME, bodies, drop_all, ended, lines, settle, watcher
from worker_rig import Rig, drain

from handler.batches import Batches
from handler.batches.plan import Plan
from handler.batches.standing import Standing
from handler.batches.watcher import WINDOW
from handler.fakes import ScriptedEngine
from handler.store.folder import FolderStore
from handler.store.memory import Call, MemoryStore, Phase
from handler.types import Source
from handler.watch import SettledIds

GERMAN = {"language": "de"}


# ── progress ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_counts_percent_and_eta(rig: Rig, bucket: MemoryStore) -> None:
    """The manifest counts the members by how they ended, and reckons from the rate when all will be."""
    drop_all(rig, bodies(10))
    rig.drop(NAME, lines({"glob": "*.wav"}))
    settle(rig, bucket, "calls/00.wav")
    batches = watcher(rig, bucket)
    batches.scan()
    first = rig.manifest(NAME)
    assert (first["status"], first["percent"], first["eta_seconds"]) == ("processing", 10.0, None)
    assert first["counts"] == {"total": 10, "completed": 1, "failed": 0, "cancelled": 0, "queued": 9}
    rig.clock.sleep(60)
    settle(rig, bucket, "calls/01.wav")
    settle(rig, bucket, "calls/02.wav", "failed")
    settle(rig, bucket, "calls/03.wav", "cancelled")
    bucket.delete("input/calls/04.wav")
    batches.scan()
    then = rig.manifest(NAME)
    assert then["counts"] == {"total": 10, "completed": 2, "failed": 1, "cancelled": 2, "queued": 5}
    assert (then["percent"], then["eta_seconds"]) == (50.0, 75.0)  # four in 60 s: five in 75 s
    assert then["message"] == "5 of 10 done, 1 failed, 2 cancelled"
    assert then["started_at"] == first["started_at"] == "2023-11-14T22:13:20.000Z"
    assert then["updated_at"] == "2023-11-14T22:14:20.000Z"


def test_manifests_are_written_seldom(rig: Rig, bucket: MemoryStore) -> None:
    """A manifest is written when something changed, and not more often than the setting says."""
    drop_all(rig, bodies(10))
    rig.drop(NAME, lines({"glob": "*.wav"}))
    batches = watcher(rig, client := bucket.client())

    def writes() -> int:
        return sum(call.method == "put" and call.key == f"progress/{NAME}.json" for call in client.calls)

    for _ in range(5):
        batches.scan()
        rig.clock.sleep(10)
    assert writes() == 1
    for number in range(4):
        settle(rig, bucket, f"calls/{number:02}.wav")
        batches.scan()
        rig.clock.sleep(0.5)
    assert writes() == 2
    rig.clock.sleep(2)
    batches.scan()
    assert writes() == 3
    assert rig.manifest(NAME)["counts"]["completed"] == 4


def test_a_later_look_stays(rig: Rig, bucket: MemoryStore) -> None:
    """A worker whose scan began earlier does not write its counts over those of a later one."""
    drop_all(rig, bodies(4))
    rig.drop(NAME, lines({"glob": "*.wav"}))
    other = watcher(rig, bucket.client())

    def meanwhile(call: Call, phase: Phase) -> None:
        if phase == "before" and call.method == "put" and call.key == f"progress/{NAME}.json":
            slow.hook = None
            rig.clock.sleep(10)
            settle(rig, bucket, "calls/00.wav")
            other.scan()

    slow = bucket.client(meanwhile)
    watcher(rig, slow).scan()
    assert rig.manifest(NAME)["counts"]["completed"] == 1


def test_progress_while_one_worker_is_busy(rig: Rig) -> None:
    """A single worker tells how far a batch is between two recordings, not only when it has been through them all."""
    drop_all(rig, bodies(6))
    rig.drop(NAME, lines({"glob": "*.wav"}))
    told: list[float] = []

    def between(stage: str) -> None:
        rig.clock.sleep(3)
        if rig.manifest(NAME) is not None:
            told.append(rig.manifest(NAME)["counts"]["completed"])

    rig.worker(ScriptedEngine(between=between)).sweep()
    assert told[::2] == [0, 1, 2, 3, 4, 5]


def test_a_batch_that_comes_late_is_seen(rig: Rig, bucket: MemoryStore) -> None:
    """A worker in the middle of a long backlog sees a batch that was dropped meanwhile: soon if there was a file that
    was not ready yet, within the time between two reconciling scans otherwise.
    """
    drop_all(rig, bodies(6))
    batches = watcher(rig, client := bucket.client())
    batches.scan()
    rig.drop(NAME, lines({"glob": "*.wav"}))
    settle(rig, bucket, "calls/00.wav")
    rig.clock.sleep(rig.settings.reconcile_seconds - 1)
    asked = len(client.calls)
    batches.look()
    assert len(client.calls) == asked
    rig.clock.sleep(1)
    batches.look()
    assert rig.manifest(NAME)["counts"]["completed"] == 1
    folder = FolderStore(Path(rig.settings.work_dir) / "bucket", rig.clock, settle_seconds=5)
    folder.put(f"input/{NAME}", lines({"glob": "*.wav"}))
    folder.put("input/calls/00.wav", b"talk")
    batches = Batches(folder, rig.layout, rig.settings, rig.clock, worker="w", asleep=lambda sid: 0.0)
    batches.scan()
    rig.clock.sleep(6)
    batches.look()
    assert [key for key in (info.key for info in folder.list(".dropscribe/v1/batches/")) if key.endswith("plan.json")]


# ── what it costs ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_ten_thousand_members_in_a_few_requests(rig: Rig, bucket: MemoryStore) -> None:
    """An update of ten thousand members is listings and one write; only the end reads each member's marker, once."""
    count = 10_000
    for number in range(count):
        bucket.drop(f"input/calls/{number:05}.wav", b"%d" % number)
    bucket.drop("input/elsewhere.wav", b"x")
    for key in ("results/other.wav.json", "errors/other.wav.json"):
        bucket.drop(key, b"{}")
    for number in range(count // 2):
        settle(rig, bucket, f"calls/{number:05}.wav", "failed" if number < 7 else "completed")
    rig.drop(NAME, lines({"glob": "calls/*"}))
    batches = watcher(rig, client := bucket.client())
    batches.scan()
    settle(rig, bucket, "calls/09999.wav")
    rig.clock.sleep(10)
    client.calls.clear()
    batches.scan()
    assert rig.manifest(NAME)["counts"] == {
        "total": count,
        "completed": 4994,
        "failed": 7,
        "cancelled": 0,
        "queued": 4999,
    }
    lists = Counter(call.key for call in client.calls if call.verb == "LIST")
    assert lists == {".dropscribe/v1/settled/": 6, "input/": 11, "results/calls/0": 5, "errors/calls/0": 1}
    others = [(call.verb, call.key) for call in client.calls if call.verb != "LIST"]
    assert others == [("HEAD", f"input/{NAME}"), ("PUT", f"progress/{NAME}.json")]
    for number in range(count // 2, count - 1):
        settle(rig, bucket, f"calls/{number:05}.wav")
    rig.clock.sleep(10)
    client.calls.clear()
    batches.scan()
    assert ended(rig)["counts"]["completed"] == count - 7
    assert client.counts()["GET"] <= count + 2
    assert client.counts()["PUT"] <= 4


def test_without_a_batch_nothing_is_asked(rig: Rig, bucket: MemoryStore) -> None:
    """A bucket without batches: the scan's two listings, and seldom one more, for batches that were left open."""
    batches = watcher(rig, client := bucket.client())
    for _ in range(10):
        batches.scan()
        batches.look()
    assert [call.key for call in client.calls if call.key == ".dropscribe/v1/batches/"] == [".dropscribe/v1/batches/"]
    assert len(client.calls) == 21
    rig.clock.sleep(rig.settings.reconcile_seconds)
    batches.scan()
    assert len(client.calls) == 24


def test_settled_batches_cost_nothing(rig: Rig, bucket: MemoryStore) -> None:
    """Batches that are done with are asked for no more than recordings that are."""
    drop_all(rig, bodies(2))
    for number in range(5):
        rig.drop(f"{number}.batch.jsonl", lines({"glob": "*.wav"}))
    drain(rig)
    worker = rig.worker(store=(client := bucket.client()))
    assert worker.sweep() == (False, False)
    assert {call.verb for call in client.calls} == {"LIST"}
    assert len(client.calls) == 4


def test_many_members_with_options_come_in_parts(rig: Rig, bucket: MemoryStore) -> None:
    """A scan gives out a thousand members at a time, and passes over those that are to be looked at later."""
    count = WINDOW + 200
    for number in range(count):
        bucket.drop(f"input/{number:05}.wav", b"x")
    rig.drop(NAME, lines({"glob": "*.wav", "options": GERMAN}))
    batches = watcher(rig, bucket)
    first = [candidate for candidate in batches.scan().candidates if candidate.asked]
    assert len(first) == WINDOW
    asleep = {candidate.sid for candidate in first}
    batches._asleep = lambda sid: 5.0 if sid in asleep else 0.0
    rest = [candidate for candidate in batches.scan().candidates if candidate.asked]
    assert len(rest) == 200
    assert asleep.isdisjoint(candidate.sid for candidate in rest)
    assert batches.waiting == asleep


def test_members_in_memory(rig: Rig) -> None:
    """A large open batch holds its plan and 33 bytes a member, and a scan leaves nothing else behind."""
    batch = Source(sid="0" * 64, key=NAME, size=1, version="v", modified=1)
    plan = Plan(batch=batch, planned_at="", members=tuple((f"{number:06}.wav", None) for number in range(20_000)))
    nothing = SettledIds()
    tracemalloc.start()
    standing = Standing(plan, rig.layout)
    for number in range(20_000):
        source = Source(sid=f"{number:064x}", key=f"{number:06}.wav", size=1, version="v", modified=1)
        standing.see(source, nothing)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert standing.queued == 20_000
    assert held < 2**20
