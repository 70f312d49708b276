"""Fetching ahead: the next recording is there when its turn comes, and what that costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ahead_rig import FIRST, SECOND, THIRD, Long, client, downloads, files
from queue_rig import Post, told
from worker_rig import Rig, check_right

from handler.fakes import OwnedClock, ScriptedEngine
from handler.worker import Tally
from handler.worker.beside import in_turn
from pipeline.types import Event

# ── used ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_next_recording_is_there_when_its_turn_comes(three: Rig, clock: OwnedClock) -> None:
    """All but the first are downloaded while the one before is under way, and none of them twice."""
    engine, store = Long(clock), client(three)
    order: list[str] = []
    engine._after = lambda job: order.extend([f"job {job}", *downloads(store)[-1:]])
    tally = three.worker(engine, store=store, ahead=in_turn).run(drain=True)
    assert tally == Tally(completed=3, ahead=2)
    assert order == ["job 1", "b.wav", "job 2", "c.wav", "job 3", "c.wav"]
    assert downloads(store) == ["a.wav", "b.wav", "c.wav"]
    for name, body in (("a.wav", FIRST), ("b.wav", SECOND), ("c.wav", THIRD)):
        check_right(three, name, body)
    assert len(three.keys(".dropscribe/v1/sources/")) == 3
    assert files(three) == []


@pytest.mark.parametrize("heard", [True, False])
def test_it_goes_on_so(clock: OwnedClock, post: Post, told_rig: Rig, heard: bool) -> None:
    """Of many recordings each but the first is there when its turn comes."""
    names = [f"{number}.wav" for number in range(6)]
    for name in names:
        told_rig.drop(name, name.encode())
    post.send(told(*(f"input/{name}" for name in names)))
    store = client(told_rig)
    source = post.source() if heard else None
    assert told_rig.worker(Long(clock), store=store, source=source, ahead=in_turn).run(drain=True) == Tally(6, ahead=5)
    assert downloads(store) == names


def test_what_has_to_wait_is_not_next(three: Rig, clock: OwnedClock) -> None:
    """An input that is not due before long is passed over: it may be another worker's by then."""
    store, then = client(three), []
    worker = three.worker(Long(clock, lambda job: then.append(downloads(store))), store=store, ahead=in_turn)
    worker.inputs.later(three.candidate("b.wav").sid, 1000.0)
    worker.sweep()
    assert then[0] == ["a.wav", "c.wav"]


def test_results_do_not_tell(fresh: Callable[[], Rig]) -> None:
    """What is published is the same, fetched ahead or not."""

    def words(ahead: Any) -> list[bytes]:
        rig = fresh()
        for name, body in (("a.wav", FIRST), ("b.wav", SECOND)):
            rig.drop(name, body)
        rig.worker(Long(rig.clock), ahead=ahead).run(drain=True)
        return [rig.words("a.wav"), rig.words("b.wav")]

    assert words(in_turn) == words(None)


def test_the_engine_decodes_it_ahead(three: Rig, clock: OwnedClock) -> None:
    """The engine is asked to decode what was fetched, as its options want it, and the job names the folder."""
    three.drop("b.wav.options.json", b'{"multichannel": true}')
    seen: list[bool] = []
    engine = Long(clock, lambda job: seen.append(all(Path(one.folder).is_dir() for one in engine.prepared)))
    three.worker(engine, ahead=in_turn).run(drain=True)
    assert [(one.per_channel, Path(one.source).suffix) for one in engine.prepared] == [(True, ".wav"), (False, ".wav")]
    assert engine.used == [one.folder for one in engine.prepared]
    assert {one.max_duration for one in engine.prepared} == {three.settings.max_duration_seconds}
    assert seen[0]
    assert not any(Path(one.folder).exists() for one in engine.prepared)


def test_what_a_message_names_is_fetched_ahead(clock: OwnedClock, post: Post, told_rig: Rig) -> None:
    """Of several keys that a worker has in hand the next is fetched; no message is asked for on that account."""
    told_rig.drop("a.wav", FIRST)
    told_rig.drop("b.wav", SECOND)
    post.send(told("input/a.wav", "results/a.wav.json", "input/b.wav"))
    store = client(told_rig)
    tally = told_rig.worker(Long(clock), store=store, source=post.source(), ahead=in_turn).run(drain=True)
    assert tally == Tally(completed=2, ahead=1)
    assert downloads(store) == ["a.wav", "b.wav"]
    assert post.left == []


def test_a_failed_job_wastes_no_download(three: Rig, clock: OwnedClock) -> None:
    """The engine dies at one job: the recording that was fetched meanwhile is used all the same."""

    def die(job: int) -> None:
        if job == 1:
            raise OSError("the disk broke")

    engine, store = Long(clock, die), client(three)
    tally = three.worker(engine, store=store, ahead=in_turn).run(drain=True)
    assert (tally.completed, downloads(store).count("b.wav")) == (3, 1)
    for name, body in (("a.wav", FIRST), ("b.wav", SECOND), ("c.wav", THIRD)):
        check_right(three, name, body)


# ── what it costs ────────────────────────────────────────────────────────────────────────────────────────────────────


def cost(rig: Rig, engine: ScriptedEngine, ahead: Any) -> list[tuple[str, str]]:
    store = client(rig)
    rig.worker(engine, store=store, ahead=ahead).sweep()
    return sorted((call.method, call.key) for call in store.calls)


def test_short_jobs_cost_no_more(fresh: Callable[[], Rig]) -> None:
    """Of jobs that are over in a second, or whose results are known, nobody asks for anything ahead."""
    costs = []
    for ahead in (in_turn, None):
        rig = fresh()
        for name, body in (("a.wav", FIRST), ("b.wav", SECOND), ("c.wav", FIRST)):
            rig.drop(name, body)
        costs.append(cost(rig, ScriptedEngine(), ahead))
    assert costs[0] == costs[1]


def test_a_long_job_costs_two_looks(fresh: Callable[[], Rig]) -> None:
    """The next input's HEAD and its hash are asked for once more; the recording itself is fetched once."""
    costs = []
    for ahead in (in_turn, None):
        rig = fresh()
        rig.drop("a.wav", FIRST)
        rig.drop("b.wav", SECOND)
        sid = rig.candidate("b.wav").sid
        costs.append(cost(rig, Long(rig.clock), ahead))
    more = list(costs[0])
    for one in costs[1]:
        more.remove(one)
    assert more == [("get", f".dropscribe/v1/sources/{sid}.json"), ("head", "input/b.wav")]


def test_nothing_is_fetched_before_the_job_has_its_own(three: Rig, clock: OwnedClock) -> None:
    """An engine that takes long to start, or to open a recording, is no reason to fetch another."""
    store, before = client(three), []

    class Late(ScriptedEngine):
        def run(self, *args: Any, **given: Any) -> Iterator[Event | None]:
            clock.sleep(5.0)
            yield None
            before.append(downloads(store))
            yield from super().run(*args, **given)

    three.worker(Late(), store=store, ahead=in_turn).sweep()
    assert before[:2] == [["a.wav"], ["a.wav", "b.wav"]]


def test_what_is_known_is_not_fetched(three: Rig, clock: OwnedClock) -> None:
    """A recording whose job is done is not downloaded, ahead or in its turn; the one behind it is fetched instead."""
    three.drop("d.wav", b"the fourth recording")
    for name in ("b.wav", "c.wav"):
        candidate = three.candidate(name)
        three.worker().inputs.see(candidate, frozenset())
        three.store.delete(three.layout.settled_key(candidate.sid))
    store, then = client(three), []
    engine = Long(clock, lambda job: then.append(downloads(store)))
    three.worker(engine, store=store, ahead=in_turn).run(drain=True)
    assert then == [["a.wav", "d.wav"]] * 2
    for name, body in (("a.wav", FIRST), ("b.wav", SECOND), ("c.wav", THIRD)):
        check_right(three, name, body)


def test_a_kept_transcript_needs_no_recording(three: Rig, clock: OwnedClock) -> None:
    """Other options, the same words: what is made of a kept transcript is not fetched ahead."""
    candidate = three.candidate("b.wav")
    three.worker().inputs.see(candidate, frozenset())
    three.store.delete(three.layout.settled_key(candidate.sid))
    three.drop("b.wav.options.json", b'{"smart_format": true}')
    three.store.delete("input/c.wav")
    store = client(three)
    tally = three.worker(Long(clock), store=store, ahead=in_turn).run(drain=True)
    assert (tally.completed, tally.ahead, downloads(store)) == (2, 0, ["a.wav"])
    assert len(three.records()) == 3


def test_content_that_is_to_be_heard_again_is_fetched(three: Rig, clock: OwnedClock) -> None:
    """That its hash is known is no reason: a model that nobody has run over it yet needs the recording."""
    candidate = three.candidate("b.wav")
    three.worker().inputs.see(candidate, frozenset())
    three.store.delete(three.layout.settled_key(candidate.sid))
    three.drop("b.wav.options.json", b'{"multichannel": true}')
    three.store.delete("input/c.wav")
    store = client(three)
    worker = three.worker(engine := Long(clock), store=store, ahead=in_turn)
    worker.sweep()
    assert (worker.tally.completed, worker.tally.ahead, downloads(store)) == (2, 1, ["a.wav", "b.wav"])
    assert not any(Path(one.folder).exists() for one in engine.prepared)
    assert files(three) == []


def test_what_another_worker_has_is_not_fetched(three: Rig, clock: OwnedClock) -> None:
    """A job that is under way elsewhere is left there: what comes behind it is fetched."""
    store, then = client(three), []
    worker = three.worker(Long(clock, lambda job: then.append(downloads(store))), store=store, ahead=in_turn)
    once = iter([worker.sweep])
    other = three.worker(Long(clock, lambda job: next(once, lambda: None)()))
    assert other.inputs.see(three.candidate("b.wav"), frozenset())
    assert then[0] == ["a.wav", "c.wav"]
