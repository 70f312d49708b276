"""Fetching ahead: the next recording is there when its turn comes; whatever happens to it meanwhile, nothing is lost
and nothing is done twice.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from queue_rig import BUCKET, Post, told
from worker_rig import Crash, Rig, check_right, text_of

from handler.clock import Clock, SystemClock
from handler.errors import Unavailable
from handler.fakes import OwnedClock, ScriptedEngine
from handler.settings import Settings
from handler.store.base import Info
from handler.store.memory import Call, MemoryStore
from handler.worker import Tally, Worker
from handler.worker.ahead import Ahead, Upcoming
from handler.worker.beside import T, in_turn, side_by_side
from handler.worker.intake import Intake
from handler.worker.recording import Fetch, Hand, Recording, bring
from handler.worker.turns import Turns
from pipeline.types import Event, Progress

FIRST, SECOND, THIRD = b"the first recording", b"the second recording", b"the third recording"


class Long(ScriptedEngine):
    """Takes three seconds for a job. ``after``: called in the third one, with the number of the job, when there was
    time for three looks at what is next.
    """

    def __init__(self, clock: Clock, after: Callable[[int], object] = lambda job: None, **given: Any) -> None:
        super().__init__(**given)
        self._clock = clock
        self._after = after

    def run(self, *args: Any, **given: Any) -> Iterator[Event | None]:
        for event in super().run(*args, **given):
            yield event
            if isinstance(event, Progress):
                self._clock.sleep(2.0)
                for _ in range(3):
                    yield None
                self._after(self.jobs)
                self._clock.sleep(1.0)
                yield None


@pytest.fixture
def three(rig: Rig, clock: OwnedClock) -> Rig:
    """Three recordings, dropped one after the other."""
    for name, body in (("a.wav", FIRST), ("b.wav", SECOND), ("c.wav", THIRD)):
        rig.drop(name, body)
        clock.advance(5)
    return rig


def client(rig: Rig) -> MemoryStore:
    store = rig.store
    assert isinstance(store, MemoryStore)
    return store.client()


def downloads(store: MemoryStore) -> list[str]:
    return [call.key.removeprefix("input/") for call in store.calls if call.method == "download"]


def files(rig: Rig, suffix: str = "") -> list[Path]:
    """What lies on the disk, but for locks."""
    found = rig.settings.work_dir.rglob(f"*{suffix}")
    return [path for path in found if path.is_file() and path.name != ".lock"]


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
def test_it_goes_on_so(clock: OwnedClock, post: Post, worker_settings: Settings, heard: bool) -> None:
    """Of many recordings each but the first is there when its turn comes."""
    rig = Rig(MemoryStore(clock, BUCKET), clock, worker_settings)
    names = [f"{number}.wav" for number in range(6)]
    for name in names:
        rig.drop(name, name.encode())
    post.send(told(*(f"input/{name}" for name in names)))
    store = client(rig)
    source = post.source() if heard else None
    assert rig.worker(Long(clock), store=store, source=source, ahead=in_turn).run(drain=True) == Tally(6, ahead=5)
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


def test_what_a_message_names_is_fetched_ahead(clock: OwnedClock, post: Post, worker_settings: Settings) -> None:
    """Of several keys that a worker has in hand the next is fetched; no message is asked for on that account."""
    rig = Rig(MemoryStore(clock, BUCKET), clock, worker_settings)
    rig.drop("a.wav", FIRST)
    rig.drop("b.wav", SECOND)
    post.send(told("input/a.wav", "results/a.wav.json", "input/b.wav"))
    store = client(rig)
    tally = rig.worker(Long(clock), store=store, source=post.source(), ahead=in_turn).run(drain=True)
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


# ── what happens to it meanwhile ─────────────────────────────────────────────────────────────────────────────────────


def meanwhile(rig: Rig, act: Callable[[], object]) -> tuple[Worker, Long, MemoryStore]:
    """Something happens while the first job is under way and the second recording is here."""
    store = client(rig)

    def after(job: int) -> None:
        if job == 1:
            try:
                assert downloads(store) == ["a.wav", "b.wav"]
                assert len(files(rig, ".wav")) == 2
                act()
            except AssertionError as error:  # a worker makes an attempt of what an engine raises
                raise Crash from error

    engine = Long(rig.clock, after)
    return rig.worker(engine, store=store, ahead=in_turn), engine, store


def test_nothing_is_claimed_ahead(three: Rig) -> None:
    """While a recording lies ready there is nothing in the bucket that says so: its job is anybody's."""

    def look() -> None:
        assert [record.subscribers[0].key for record in three.records()] == ["a.wav"]
        assert len(three.keys(".dropscribe/v1/sources/")) == 1
        assert three.manifest("b.wav") is None

    meanwhile(three, look)[0].run(drain=True)
    check_right(three, "b.wav", SECOND)


def test_replaced_meanwhile(three: Rig) -> None:
    """A newer version is what is transcribed; the file of the older one goes."""
    worker, engine, _ = meanwhile(three, lambda: three.drop("b.wav", b"a newer second"))
    tally = worker.run(drain=True)
    check_right(three, "b.wav", b"a newer second")
    assert (tally.completed, engine.jobs) == (3, 3)
    assert text_of(SECOND) not in str(three.result("b.wav"))
    assert files(three) == []


def test_replaced_by_one_of_the_same_size_in_the_same_second(three: Rig, clock: OwnedClock) -> None:
    """Versions are told apart by more than size and time."""
    other = SECOND[:-1] + b"!"
    now = three.store.head("input/b.wav").modified
    assert clock.time() > now
    worker, _, _ = meanwhile(three, lambda: three.drop("b.wav", other))
    worker.run(drain=True)
    check_right(three, "b.wav", other)


def test_deleted_meanwhile(three: Rig) -> None:
    """Nothing is published for what is gone, and its file goes."""
    worker, engine, _ = meanwhile(three, lambda: three.store.delete("input/b.wav"))
    tally = worker.run(drain=True)
    assert three.result("b.wav") is None
    assert three.error("b.wav") is None
    assert (tally.completed, tally.failed, engine.jobs) == (2, 0, 2)
    assert files(three) == []


@pytest.mark.parametrize("heard", [True, False])
def test_its_file_goes_with_its_turn(clock: OwnedClock, post: Post, worker_settings: Settings, heard: bool) -> None:
    """What could not be used does not lie there until something else is fetched."""
    rig = Rig(MemoryStore(clock, BUCKET), clock, worker_settings)
    rig.drop("a.wav", FIRST)
    clock.advance(5)
    rig.drop("b.wav", SECOND)
    post.send(told("input/a.wav", "input/b.wav"))
    worker, engine, _ = meanwhile(rig, lambda: rig.store.delete("input/b.wav"))
    if heard:
        worker.hear(post.source().wait(20, threading.Event()) or ())
    else:
        worker.sweep()
    assert engine.jobs == 1
    assert len(engine.prepared) == 1
    assert files(rig) == []


def test_a_newer_version_that_a_message_names(clock: OwnedClock, post: Post, worker_settings: Settings) -> None:
    """A message names a key, whatever lies under it by then: the present version is what is transcribed, once."""
    rig = Rig(MemoryStore(clock, BUCKET), clock, worker_settings)
    rig.drop("a.wav", FIRST)
    rig.drop("b.wav", SECOND)
    post.send(told("input/a.wav", "input/b.wav"))
    worker, engine, store = meanwhile(rig, lambda: rig.drop("b.wav", SECOND[:-1] + b"!"))
    worker.hear(post.source().wait(20, threading.Event()) or ())
    check_right(rig, "b.wav", SECOND[:-1] + b"!")
    assert (engine.jobs, downloads(store)) == (2, ["a.wav", "b.wav", "b.wav"])
    assert files(rig) == []


def test_done_by_another_worker_meanwhile(three: Rig) -> None:
    """Another worker may take it at any time, and then it is not done twice."""
    other = three.worker(ScriptedEngine())
    worker, engine, _ = meanwhile(three, lambda: other.inputs.see(three.candidate("b.wav"), frozenset()))
    tally = worker.run(drain=True)
    assert other.tally.completed == 1
    assert (tally.completed, engine.jobs) == (2, 2)
    check_right(three, "b.wav", SECOND)
    assert len(three.records()) == 3
    assert files(three) == []


def test_taken_by_another_worker_meanwhile(three: Rig, clock: OwnedClock) -> None:
    """A worker that has a job keeps it, whoever has its recording on the disk."""
    jobs: list[int] = []

    def other_takes() -> None:
        candidate = three.candidate("b.wav")
        second = Long(clock, lambda job: jobs.append(len(three.records())))
        other = three.worker(second)
        other.inputs.see(candidate, frozenset())

    worker, engine, _ = meanwhile(three, other_takes)
    worker.run(drain=True)
    assert jobs == [2]
    assert engine.jobs == 2
    for name, body in (("a.wav", FIRST), ("b.wav", SECOND), ("c.wav", THIRD)):
        check_right(three, name, body)


def test_stopped_meanwhile(three: Rig) -> None:
    """A worker that is told to stop leaves neither a file nor a trace of what it fetched; the next one does it all."""
    worker, _, _ = meanwhile(three, lambda: worker.stop.set())
    worker.run(drain=False)
    assert files(three) == []
    assert len(three.records()) == 1
    three.worker().run(drain=True)
    for name, body in (("a.wav", FIRST), ("b.wav", SECOND), ("c.wav", THIRD)):
        check_right(three, name, body)


def test_its_troubles_are_nobodys(three: Rig, clock: OwnedClock, caplog: pytest.LogCaptureFixture) -> None:
    """A store that gives no answer ahead of a turn costs the download: no attempt, no wait, no line in the log."""
    left = [1]

    def hook(call: Call, phase: str) -> None:
        if call.key == "input/b.wav" and call.method == "head" and left:
            left.pop()
            raise Unavailable("no answer")

    caplog.set_level(logging.INFO)
    store = three.store.client(hook)  # type: ignore[attr-defined]
    tally = three.worker(Long(clock), store=store, ahead=in_turn).run(drain=True)
    assert left == []
    assert tally == Tally(completed=3, ahead=1)  # b in its turn; c, which was looked at instead
    assert not [line for line in caplog.messages if "no answer" in line]


def test_a_mistake_of_ours_ends_no_job(three: Rig, clock: OwnedClock) -> None:
    """An engine that cannot be asked, a thread that cannot be started: the jobs go on."""

    class Poor(Long):
        def prepare(self, request: object) -> None:
            raise ValueError("nobody foresaw this")

    def no_threads(ask: Callable[[], T]) -> Future[T]:
        raise RuntimeError("can't start new thread")

    assert three.worker(poor := Poor(clock), ahead=in_turn).run(drain=True).completed == 3
    assert poor.jobs == 3
    three.drop("a.wav", b"again")
    three.drop("b.wav", b"and again")
    assert three.worker(Long(clock), ahead=no_threads).run(drain=True).completed == 2
    assert files(three) == []


# ── in threads ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Slow(MemoryStore):
    """One recording comes only when ``go`` is set; ``begun`` tells that somebody waits for it."""

    def __init__(self, clock: Clock, key: str) -> None:
        super().__init__(clock)
        self._key = key
        self.go, self.begun = threading.Event(), threading.Event()

    def download(self, info: Info, path: Path, *, check: Callable[[], None] = lambda: None) -> str:
        if info.key == self._key:
            self.begun.set()
            while not self.go.wait(0.01):
                check()
        return super().download(info, path, check=check)


class Patient(ScriptedEngine):
    """Its first job takes until ``until`` gives True."""

    def __init__(self, clock: SystemClock, until: Callable[[], bool]) -> None:
        super().__init__()
        self._clock = clock
        self._until = until

    def run(self, *args: Any, **given: Any) -> Iterator[Event | None]:
        for event in super().run(*args, **given):
            yield event
            if isinstance(event, Progress):
                while self.jobs == 1 and not self._until():
                    self._clock.sleep(0.01)
                    yield None


def test_one_on_its_way_is_waited_for(worker_settings: Settings) -> None:
    """A download that is under way when its turn comes is not begun once more."""
    clock = SystemClock()
    store = Slow(clock, "input/b.wav")
    rig = Rig(store, clock, worker_settings)
    rig.drop("a.wav", FIRST)
    rig.drop("b.wav", SECOND)
    worker = rig.worker(Patient(clock, store.begun.is_set), store=store, ahead=side_by_side)
    release = threading.Timer(0.1, store.go.set)
    release.start()
    try:
        assert worker.run(drain=True) == Tally(completed=2, ahead=1)
    finally:
        release.join()
    assert downloads(store).count("b.wav") == 1
    check_right(rig, "b.wav", SECOND)


@pytest.mark.parametrize("told_to", [True, False])
def test_the_end_ends_the_download(worker_settings: Settings, told_to: bool) -> None:
    """The thread of a worker that stops, or that something ends, ends with it, and leaves nothing on the disk."""
    clock = SystemClock()
    store = Slow(clock, "input/b.wav")
    rig = Rig(store, clock, worker_settings)
    rig.drop("a.wav", FIRST)
    rig.drop("b.wav", SECOND)
    futures: list[Future[Any]] = []

    def noted(ask: Callable[[], T]) -> Future[T]:
        futures.append(side_by_side(ask))
        return futures[-1]

    def stop() -> bool:
        if store.begun.is_set():
            if not told_to:
                raise Crash
            worker.stop.set()
        return False

    worker = rig.worker(Patient(clock, stop), store=store, ahead=noted)
    if told_to:
        worker.run(drain=False)
    else:
        with pytest.raises(Crash):
            worker.run(drain=False)
    [future] = futures
    future.result(10)
    assert files(rig) == []
    assert rig.result("b.wav") is None


# ── the hand ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def lying(tmp_path: Path, name: str = "one") -> Recording:
    (tmp_path / name).write_bytes(b"sound")
    folder = tmp_path / f"{name}.prepared"
    folder.mkdir()
    return Recording(tmp_path / name, "00", prepared=folder, ahead=True)


def test_what_comes_too_late_is_removed(tmp_path: Path, clock: OwnedClock) -> None:
    """Given up while on its way: whoever brings it takes it away again."""
    hand, fetch = Hand(clock), Fetch("a", "input/a")
    hand.fetch = fetch
    assert hand.drop("b") is None
    assert hand.drop("a") is fetch
    fetch.end(lying(tmp_path))
    assert list(tmp_path.iterdir()) == []
    assert fetch.failed


def test_another_version_is_not_waited_for(tmp_path: Path, clock: OwnedClock) -> None:
    """The present version is fetched now when an older one is on its way."""
    hand, fetch = Hand(clock), Fetch("a", "input/a")
    fetch.info = Info("input/a", 5, "old", 1)
    hand.fetch = fetch

    def go_on() -> None:
        raise AssertionError("waited")

    assert hand.take(Info("input/other", 5, "old", 1), go_on) is None
    assert not fetch.given_up
    assert hand.take(Info("input/a", 5, "new", 1), go_on) is None
    assert fetch.given_up


def test_one_who_waits_may_give_up(tmp_path: Path, clock: OwnedClock) -> None:
    """What ends a download ends the wait for one, and leaves no file."""
    hand, fetch = Hand(clock), Fetch("a", "input/a")
    hand.fetch = fetch

    def go_on() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        hand.take(Info("input/a", 5, "v", 1), go_on)
    fetch.end(lying(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("free", "fetched"), [(99, False), (100 + len(SECOND) - 1, False), (100 + len(SECOND), True)])
def test_the_disk_is_not_filled(three: Rig, clock: OwnedClock, tmp_path: Path, free: int, fetched: bool) -> None:
    """A tenth of the scratch disk stays free: of 1,000 bytes a hundred."""
    hand, stop = Hand(clock), threading.Event()
    intake = Intake(three.store, three.layout, clock, three.settings, tmp_path, lambda: None, in_turn, hand)
    ahead = Ahead(
        three.store, three.layout, clock, three.settings, tmp_path, ScriptedEngine(),
        intake=intake, hand=hand, stop=stop, beside=in_turn, free=lambda path: (1000, 1000 - free, free),
    )  # fmt: skip
    ahead.meanwhile(lambda: [Upcoming("input/b.wav")])
    assert hand.fetch is not None
    assert hand.fetch.failed is not fetched
    ahead.close()
    assert files(three) == []


@pytest.mark.parametrize("wrong", ["too large", "impossible options"])
def test_what_would_fail_is_not_fetched(three: Rig, clock: OwnedClock, wrong: str) -> None:
    """The input's own turn tells what is wrong with it; the one behind it is fetched."""
    if wrong == "too large":
        three.store.put("input/b.wav", SECOND * 100)
        clock.advance(5)
        three.drop("c.wav", THIRD)
    else:
        three.drop("b.wav.options.json", b'{"no_such_option": 3}')
    store = client(three)
    worker = three.worker(Long(clock), store=store, ahead=in_turn, max_size_bytes=len(SECOND))
    tally = worker.run(drain=True)
    assert (tally.completed, tally.failed, tally.ahead) == (2, 1, 1)
    assert "b.wav" not in downloads(store)


def test_bring_leaves_no_file_behind(three: Rig, clock: OwnedClock, tmp_path: Path) -> None:
    """A download that is ended leaves nothing."""

    def go_on() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        bring(three.store, clock, tmp_path / "new", three.store.head("input/a.wav"), go_on)
    assert list((tmp_path / "new").iterdir()) == []


def test_coming_takes_no_turn() -> None:
    """Looking at what is next changes nothing of the order, and shows it."""
    turns = Turns(5, lambda: 0.5)
    seen = []
    for place in turns:
        ahead = list(turns.coming())
        seen.append((place, ahead))
        if place == 1:
            turns.jump()
    assert seen == [(0, [1, 2, 3, 4]), (1, [2, 3, 4]), (2, [3, 4]), (3, [4]), (4, [])]
