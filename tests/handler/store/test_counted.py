"""A store whose requests are counted does what the other one does, and tells of each request once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from handler.clock import VirtualClock
from handler.errors import AccessDenied, NotFound, Refused, Unavailable
from handler.store.base import Store
from handler.store.counted import CountedStore
from handler.store.memory import Call, MemoryStore


class Told:
    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()

    def __call__(self, verb: str, answer: str) -> None:
        self.counts[verb, answer] += 1


def test_every_verb(tmp_path: Path) -> None:
    """Each method is passed on with its arguments and its answer, and counts as its verb."""
    told = Told()
    inner = MemoryStore(VirtualClock())
    store: Store = CountedStore(inner, told)
    etag = store.put("a", b"1", if_absent=True)
    store.put("a", b"2", if_match=etag)
    (tmp_path / "file").write_bytes(b"3")
    store.upload("b", tmp_path / "file")
    assert store.get("a").body == b"2"
    info = store.head("b")
    store.download(info, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"3"
    assert [info.key for info in store.list("", start_after="a")] == ["b"]
    store.delete("a")
    assert [info.key for info in inner.list("")] == ["b"]
    assert store.url == inner.url
    assert told.counts == {
        ("put", "ok"): 3,
        ("get", "ok"): 2,
        ("head", "ok"): 1,
        ("list", "ok"): 1,
        ("delete", "ok"): 1,
    }


@pytest.mark.parametrize(
    ("error", "answer"),
    [(AccessDenied("no"), "denied"), (Unavailable("no"), "unavailable"), (ValueError("ours"), "error")],
)
def test_what_fails_is_told_and_raised(error: Exception, answer: str) -> None:
    """The error comes out as it was; the count says of which kind."""

    def fail(call: Call, phase: str) -> None:
        raise error

    told = Told()
    with pytest.raises(type(error)):
        CountedStore(MemoryStore(VirtualClock(), hook=fail), told).get("a")
    assert told.counts == {("get", answer): 1}


def test_answers_that_are_no_failures() -> None:
    """What is not there, and a condition that does not hold, are told apart from failures."""
    told = Told()
    store = CountedStore(MemoryStore(VirtualClock()), told)
    store.put("a", b"")
    for ask, error in (
        (lambda: store.head("none"), NotFound),
        (lambda: store.put("a", b"", if_absent=True), Refused),
    ):
        _raises(ask, error)
    assert told.counts == {("put", "ok"): 1, ("head", "not_found"): 1, ("put", "refused"): 1}


def _raises(ask: Callable[[], object], error: type[Exception]) -> None:
    with pytest.raises(error):
        ask()


@pytest.mark.parametrize(("keys", "requests"), [(0, 1), (999, 1), (1000, 1), (1001, 2), (2500, 3)])
def test_a_listing_is_a_request_for_a_thousand_keys(keys: int, requests: int) -> None:
    """As S3 answers, and as it is paid for; whoever looks at a few of them pays for one."""
    inner, told = MemoryStore(VirtualClock()), Told()
    for number in range(keys):
        inner.put(f"{number:06}", b"")
    store = CountedStore(inner, told)
    assert len(list(store.list(""))) == keys
    assert told.counts == {("list", "ok"): requests}
    told.counts.clear()
    few = store.list("")
    list(islice(few, 2))
    few.close()  # type: ignore[attr-defined]
    assert told.counts == {("list", "ok"): 1}
