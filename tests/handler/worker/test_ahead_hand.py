"""The hand that holds what is fetched ahead: what lies in it, what is on its way, what never gets there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from ahead_rig import FIRST, SECOND, THIRD, Long, client, downloads, files
from worker_rig import Crash, Rig, check_right

from handler.clock import Clock, SystemClock
from handler.fakes import OwnedClock, ScriptedEngine
from handler.settings import Settings
from handler.store.base import Info
from handler.store.memory import MemoryStore
from handler.worker import Tally
from handler.worker.ahead import Ahead, Upcoming
from handler.worker.beside import T, in_turn, side_by_side
from handler.worker.intake import Intake
from handler.worker.recording import Fetch, Hand, Recording, bring
from handler.worker.turns import Turns
from pipeline.types import Event, Progress

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


@pytest.mark.parametrize(
    ("total", "free", "fetched"),
    [
        (1000, 100 + len(SECOND) - 1, False),
        (1000, 100 + len(SECOND), True),
        (1 << 40, (4 << 30) + len(SECOND) - 1, False),
        (1 << 40, (4 << 30) + len(SECOND), True),
        (100, 3 * len(SECOND) - 1, False),
        (100, 3 * len(SECOND), True),
    ],
)
def test_the_disk_is_not_filled(
    three: Rig, clock: OwnedClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, total: int, free: int, fetched: bool
) -> None:
    """A tenth of the scratch disk stays free; of a large one 4 GiB; of any twice the recording's size."""
    monkeypatch.setattr("handler.worker.ahead.disk_usage", lambda path: (total, total - free, free))
    hand, stop = Hand(clock), threading.Event()
    intake = Intake(three.store, three.layout, clock, three.settings, tmp_path, lambda: None, in_turn, hand)
    ahead = Ahead(
        three.store, three.layout, clock, three.settings, tmp_path, ScriptedEngine(),
        intake=intake, hand=hand, stop=stop, beside=in_turn,
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
