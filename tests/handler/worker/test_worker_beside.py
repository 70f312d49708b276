"""What a worker asks without waiting for the answer: nothing it may conclude too early, nothing left behind."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest
from queue_rig import BUCKET, Post, told
from worker_rig import Rig, check_right

from handler.clock import SystemClock
from handler.errors import Unavailable
from handler.fakes import OwnedClock, ScriptedEngine
from handler.settings import Settings
from handler.store.base import Info
from handler.store.memory import Call, MemoryStore
from handler.worker.beside import T, in_turn, side_by_side

BODY = b"a recording"


@pytest.fixture
def bucket(clock: OwnedClock) -> MemoryStore:
    return MemoryStore(clock, BUCKET)


class At:
    """Asks only when the answer is wanted, as late as can be."""

    def __call__(self, ask: Callable[[], T]) -> Future[T]:
        class Late(Future[T]):
            def done(self) -> bool:
                return False

            def result(self, timeout: float | None = None) -> T:
                return ask()

        return Late()


# ── the futures ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("beside", [in_turn, side_by_side])
def test_an_answer_is_the_answer(beside: Callable[[Callable[[], int]], Future[int]]) -> None:
    """However something is asked, what it gives is what comes."""
    assert beside(lambda: 3).result(10) == 3


def test_side_by_side_does_not_wait() -> None:
    """Who asks goes on at once; an error comes with the answer, and to nobody else."""
    go = threading.Event()

    def ask() -> None:
        go.wait(10)
        raise Unavailable("no answer")

    future = side_by_side(ask)
    assert not future.done()
    go.set()
    with pytest.raises(Unavailable):
        future.result(10)


# ── what a worker does with them ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["in turn", "side by side", "late"])
def test_the_outcome_is_the_same(worker_settings: Settings, how: str) -> None:
    """First-seen, known and told twice: however requests lie in time, each recording has its one result."""
    clock = SystemClock()
    rig, post = Rig(MemoryStore(clock, BUCKET), clock, worker_settings), Post(clock)
    engine = ScriptedEngine()
    for name in ("a.wav", "b.wav", "c.wav"):
        rig.drop(name, BODY)
        post.send(told(f"input/{name}"), told(f"input/{name}"))
    beside = {"in turn": in_turn, "side by side": side_by_side, "late": At()}[how]
    rig.worker(engine, source=post.source(inline=False), beside=beside, drain_seconds=1).run(drain=True)
    for name in ("a.wav", "b.wav", "c.wav"):
        check_right(rig, name, BODY)
    assert engine.jobs == 1
    assert not post.left


@pytest.mark.parametrize("beside", [At(), in_turn])
def test_a_storm_fetches_once_in_vain(rig: Rig, post: Post, beside: At) -> None:
    """Of a hundred messages about a recording that another worker settled one at most leads to a download, none to a
    write.
    """
    rig.drop("a.wav", BODY)
    rig.worker().run(drain=True)
    post.send(*[told("input/a.wav")] * 100)
    store = rig.store.client()  # type: ignore[attr-defined]
    rig.worker(store=store, source=post.source(), beside=beside).run(drain=True)
    asked = Counter((call.verb, call.key.split("/")[0]) for call in store.calls)
    assert asked["GET", "input"] <= (1 if isinstance(beside, At) else 0)
    assert not [call.key for call in store.calls if call.verb == "PUT" and "/jobs/" in call.key]
    assert not post.left


def test_a_large_recording_waits_for_the_marker(rig: Rig, post: Post) -> None:
    """A recording that takes a while is not fetched before it is known that nobody is done with it."""
    rig.drop("a.wav", b"\0" * (5 << 20))
    rig.worker().run(drain=True)
    post.send(told("input/a.wav"))
    store = rig.store.client()  # type: ignore[attr-defined]
    rig.worker(store=store, source=post.source(), beside=At()).run(drain=True)
    assert "download" not in [call.method for call in store.calls]
    assert not post.left


def test_a_hash_that_cannot_be_told_leaves_no_lease(rig: Rig, post: Post) -> None:
    """When the source's record cannot be written, the job that was claimed meanwhile is given back, uncharged; the
    message comes again, and then all goes well.
    """
    left = [6]  # as often as one write is tried

    def failing(call: Call, phase: str) -> None:
        if call.verb == "PUT" and "/sources/" in call.key and phase == "before" and left[0]:
            left[0] -= 1
            raise Unavailable("no answer")

    rig.drop("a.wav", BODY)
    post.send(told("input/a.wav"))
    store = rig.store.client(failing)  # type: ignore[attr-defined]
    seen: list[str] = []

    def look(ask: Callable[[], T]) -> Future[T]:
        if left[0] == 0 and not seen:
            seen.append(rig.record().state)
        return At()(ask)

    rig.worker(store=store, source=post.source(), beside=look).run(drain=True)
    assert left == [0]
    assert seen == ["waiting"]
    check_right(rig, "a.wav", BODY)
    assert (rig.record().attempts, rig.record().takeovers) == (0, 0)


class Slow(MemoryStore):
    """Its downloads take ten minutes; ``look`` is called at each second."""

    def __init__(self, bucket: MemoryStore, clock: OwnedClock, look: Callable[[], None]) -> None:
        super().__init__(clock, BUCKET)
        self._bucket = bucket._bucket
        self._owned, self._look = clock, look

    def download(self, info: Info, path: Path, *, check: Callable[[], None] = lambda: None) -> str:
        for _ in range(600):
            self._owned.advance(1)
            check()
            self._look()
        return super().download(info, path, check=check)


def test_a_long_download_keeps_its_message(rig: Rig, post: Post, bucket: MemoryStore, clock: OwnedClock) -> None:
    """While a recording is fetched its message stays hidden, so that nobody fetches it as well; those that came with
    it are others' to take after some seconds.
    """
    hidden: list[list[float]] = []
    for name in ("a.wav", "b.wav"):
        rig.drop(name, name.encode())
    post.send("{}", told("input/a.wav"), told("input/b.wav"))  # so that the second receive is two
    store = Slow(bucket, clock, lambda: hidden.append(post.sqs.hidden(post.url)))
    client = post.sqs.client()
    rig.worker(store=store, source=post.source(client=client, dead_letters="")).run(drain=True)
    first = hidden[:600]
    assert all(seconds[0] > 0 for seconds in first)
    assert {seconds[1] for seconds in first[10:]} == {0}
    assert client.counts()["change_message_visibility"] <= 2 * 600 / 20
    assert not post.left
