"""The probe against stores that keep their promises and stores that do not."""

from __future__ import annotations

from typing import Any

import pytest

from handler.clock import VirtualClock
from handler.errors import AccessDenied, Refused, Unavailable, UnsafeStore
from handler.store.base import Store
from handler.store.memory import Call, MemoryStore, Phase
from handler.store.probe import probe


class Careless(MemoryStore):
    """A server that ignores, or always refuses, some conditions; with ``bare_only``, also quoted ETags, as radosgw
    does.
    """

    ignores: frozenset[str] = frozenset()
    refuses_right = False
    bare_only = False
    quote_etags = True

    def put(self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        if if_match is not None and (self.refuses_right or (self.bare_only and self.quote_etags)):
            raise Refused("412")
        return super().put(
            key,
            body,
            if_absent=if_absent and "if_absent" not in self.ignores,
            if_match=None if "if_match" in self.ignores else if_match,
        )


def test_honest_stores_pass(store: Store, virtual_clock: VirtualClock) -> None:
    """Each of our stores passes, and nothing is left in it."""
    probe(store, virtual_clock)
    assert list(store.list("")) == []


def test_few_requests(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """A probe is four PUTs and a DELETE, on one key under the given prefix."""
    probe(memory_store, virtual_clock, prefix="test/")
    assert memory_store.counts() == {"PUT": 4, "DELETE": 1}
    assert len({call.key for call in memory_store.calls}) == 1
    assert memory_store.calls[0].key.startswith("test/")


@pytest.mark.parametrize(("ignored", "said"), [("if_absent", "create-if-absent"), ("if_match", "compare-and-swap")])
def test_ignored_conditions(virtual_clock: VirtualClock, ignored: str, said: str) -> None:
    """A store that ignores a condition is unsafe; the error names it, and the probe's key is gone."""
    store = Careless(virtual_clock)
    store.ignores = frozenset({ignored})
    with pytest.raises(UnsafeStore, match=f"ignores {said}") as raised:
        probe(store, virtual_clock)
    assert raised.value.hint
    assert store.keys() == ()


def test_every_swap_refused(virtual_clock: VirtualClock) -> None:
    """A store that refuses the right ETag, quoted or not, is unsafe, too: nothing could ever be committed."""
    store = Careless(virtual_clock)
    store.refuses_right = True
    with pytest.raises(UnsafeStore, match="refuses compare-and-swap"):
        probe(store, virtual_clock)


def test_unquoted_etags_are_learnt(virtual_clock: VirtualClock) -> None:
    """A store that takes ETags only without quotes is told so, and passes."""
    store = Careless(virtual_clock)
    store.bare_only = True
    probe(store, virtual_clock)
    assert store.quote_etags is False
    etag = store.put("a", b"x")
    store.put("a", b"y", if_match=etag)


def test_quotes_on_the_wire(faulty_store: Any, proxy: Any) -> None:
    """The S3 store sends If-Match with quotes, or without once it was told so."""
    etag = faulty_store.put("a", b"x")
    faulty_store.put("a", b"y", if_match=etag)
    assert proxy.seen[-1][2]["if-match"] == f'"{etag}"'
    faulty_store.quote_etags = False
    etag = faulty_store.get("a").etag
    faulty_store.put("a", b"z", if_match=etag)
    assert proxy.seen[-1][2]["if-match"] == etag


def test_probe_outlives_a_hiccup(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """A lost response does not condemn a store: the probe begins again with another key; three in a row end it."""

    def losing(times: int) -> MemoryStore:
        left = iter(range(times))

        def hook(call: Call, phase: Phase) -> None:
            if call.method == "put" and phase == "after" and next(left, None) is not None:
                raise Unavailable("lost")

        return memory_store.client(hook)

    probe(losing(2), virtual_clock)
    assert memory_store.keys() == ()
    with pytest.raises(Unavailable):
        probe(losing(3), virtual_clock)


def test_denied_passes_through(memory_store: MemoryStore, virtual_clock: VirtualClock) -> None:
    """Credentials that may not write are said to be that, not an unsafe store."""

    def hook(call: Call, phase: Phase) -> None:
        raise AccessDenied("not allowed: s3:PutObject")

    with pytest.raises(AccessDenied):
        probe(memory_store.client(hook), virtual_clock)
