"""The stage cache: first writer wins, whatever is damaged is a miss, and the next writer mends it."""

from __future__ import annotations

import hashlib
import itertools
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from protocol_rig import FACTS, Fault, layout_of, race

from handler.cache import RENEW_SECONDS, StageCache
from handler.clock import Clock, SystemClock, VirtualClock
from handler.errors import Unavailable
from handler.store.base import Store
from handler.store.folder import FolderStore
from handler.store.memory import Call, Hook, MemoryStore, Phase

DIGEST = "c" * 64
KEY = f".dropscribe/v1/stages/{DIGEST}.json"
BLOBS = ".dropscribe/v1/blobs/"
INLINE = 100  # bytes
SMALL, LARGE = b'{"words":["one"]}', b'{"words":["' + b"one " * 1000 + b'"]}'

each_size = pytest.mark.parametrize("body", [SMALL, LARGE], ids=["inline", "blob"])


class Worker:
    """A cache, and the folder its worker keeps artifacts in."""

    def __init__(self, store: Store, folder: Path, clock: Clock | None = None) -> None:
        self.scratch = folder / "scratch"
        self.artifact = folder / "artifact.json"
        folder.mkdir(parents=True, exist_ok=True)
        self.cache = StageCache(store, layout_of(store), clock or SystemClock(), self.scratch, INLINE)

    def put(self, body: bytes, seconds: float = 1.0) -> bytes:
        """Keep an artifact; gives what the artifact's file holds afterwards."""
        self.artifact.write_bytes(body)
        self.cache.put(DIGEST, "transcribing", self.artifact, seconds=seconds)
        return self.artifact.read_bytes()

    def get(self) -> bytes | None:
        hit = self.cache.get(DIGEST)
        return None if hit is None else hit.body


@each_size
def test_what_is_kept_comes_back(store: Store, tmp_path: Path, body: bytes) -> None:
    """On every store an artifact comes back byte for byte, to another worker too."""
    one, two = Worker(store, tmp_path / "one"), Worker(store, tmp_path / "two")
    assert two.get() is None
    assert one.put(body) == body
    assert two.get() == body
    assert not list(two.scratch.glob("*"))


@each_size
def test_the_first_writer_wins(store: Store, tmp_path: Path, body: bytes) -> None:
    """A later worker's artifact, though as good, is thrown away for the stored one: all publish the same words."""
    one, two = Worker(store, tmp_path / "one"), Worker(store, tmp_path / "two")
    one.put(body)
    assert two.put(body.replace(b"one", b"two")) == body
    assert two.get() == body


@pytest.mark.parametrize(("size", "inline"), [(0, True), (INLINE, True), (INLINE + 1, False)])
def test_small_ones_lie_inside(memory_store: MemoryStore, tmp_path: Path, size: int, inline: bool) -> None:
    """Up to the limit an artifact costs one PUT and one GET; a larger one is a blob, written before its reference."""
    one = Worker(memory_store, tmp_path)
    one.put(b"x" * size)
    digest = hashlib.sha256(b"x" * size).hexdigest()
    blob = [] if inline else [BLOBS + digest]
    assert [call.key for call in memory_store.calls] == [*blob, KEY]
    assert list(memory_store.keys(BLOBS)) == blob
    memory_store.calls.clear()
    assert one.get() == b"x" * size
    assert memory_store.counts() == ({"GET": 1} if inline else {"GET": 2, "HEAD": 1})


@pytest.mark.parametrize("body", [b"a\r\nb\rc\n", b"\xff\x00\xfe", "é🎙\u2028".encode(), b"\xef\xbb\xbfbom", b"\x00"])
def test_any_bytes(memory_store: MemoryStore, tmp_path: Path, body: bytes) -> None:
    """Line ends, sound, any Unicode: small artifacts of whatever bytes come back as they were."""
    one = Worker(memory_store, tmp_path)
    one.put(body)
    assert one.get() == body


def test_facts_and_seconds_are_the_stored_ones(memory_store: MemoryStore, tmp_path: Path) -> None:
    """With the stored artifact a late writer gets the facts and the seconds that belong to it."""
    artifact = tmp_path / "artifact.json"
    cache = Worker(memory_store, tmp_path).cache
    artifact.write_bytes(SMALL)
    first = cache.put(DIGEST, "generating_output", artifact, seconds=12.3456, facts=FACTS)
    artifact.write_bytes(LARGE)
    late = cache.put(DIGEST, "generating_output", artifact, seconds=1.0, facts=FACTS.model_copy(update={"channels": 2}))
    hit = cache.get(DIGEST)
    assert hit is not None
    assert first.facts == late.facts == hit.reference.facts == FACTS
    assert first.seconds == late.seconds == hit.reference.seconds == 12.346
    assert artifact.read_bytes() == SMALL


def _damage(store: MemoryStore, **fields: object) -> None:
    store.drop(KEY, json.dumps({**json.loads(store.peek(KEY) or b""), **fields}).encode())


def _blob(store: MemoryStore) -> str:
    return store.keys(BLOBS)[0]


DAMAGES: dict[str, tuple[bytes, Callable[[MemoryStore], object]]] = {
    "blob missing": (LARGE, lambda store: store.delete(_blob(store))),
    "blob truncated": (LARGE, lambda store: store.drop(_blob(store), LARGE[:-1])),
    "blob empty": (LARGE, lambda store: store.drop(_blob(store), b"")),
    "blob flipped": (LARGE, lambda store: store.drop(_blob(store), LARGE.replace(b"one", b"two", 1))),
    "inline truncated": (SMALL, lambda store: _damage(store, inline=SMALL[:-1].decode())),
    "inline flipped": (SMALL, lambda store: _damage(store, inline=SMALL.decode().replace("one", "two"))),
    "inline not Unicode": (SMALL, lambda store: _damage(store, inline="\ud800")),
    "inline gone": (SMALL, lambda store: _damage(store, inline=None)),
    "wrong digest": (SMALL, lambda store: _damage(store, sha256="0" * 64)),
    "other format": (SMALL, lambda store: _damage(store, format=2)),
    "reference truncated": (SMALL, lambda store: store.drop(KEY, (store.peek(KEY) or b"")[:-1])),
    "reference empty": (SMALL, lambda store: store.drop(KEY, b"")),
    "reference garbage": (SMALL, lambda store: store.drop(KEY, b"\xff\xfenot JSON")),
}
each_damage = pytest.mark.parametrize(("body", "damage"), DAMAGES.values(), ids=DAMAGES.keys())


@each_damage
def test_damage_is_a_miss_and_is_mended(
    memory_store: MemoryStore, tmp_path: Path, body: bytes, damage: Callable[[MemoryStore], object]
) -> None:
    """Whatever became of a stored artifact, it is never believed; the next worker's takes its place."""
    one, two = Worker(memory_store, tmp_path / "one"), Worker(memory_store, tmp_path / "two")
    one.put(body)
    damage(memory_store)
    assert two.get() is None
    mended = body.replace(b"one", b"mended")
    assert two.put(mended) == mended
    assert one.get() == mended
    assert one.put(body) == mended


def test_the_same_bytes_mend_a_missing_blob(memory_store: MemoryStore, tmp_path: Path) -> None:
    """A blob that was deleted lies there again once the same artifact was made again; its reference stays."""
    one = Worker(memory_store, tmp_path)
    one.put(LARGE)
    before = memory_store.peek(KEY)
    memory_store.delete(_blob(memory_store))
    assert one.put(LARGE) == LARGE
    assert one.get() == LARGE
    assert memory_store.peek(KEY) == before


def test_a_blob_that_is_swapped_while_it_is_read(memory_store: MemoryStore, tmp_path: Path) -> None:
    """A blob that changes, or goes, between the look at it and its download is a miss, not an error."""
    Worker(memory_store, tmp_path / "one").put(LARGE)
    for meddle in (lambda key: memory_store.drop(key, b"else"), memory_store.delete):

        def hook(call: Call, phase: Phase) -> None:
            if (call.method, phase) == ("download", "before"):
                meddle(call.key)  # noqa: B023

        two = Worker(memory_store.client(hook), tmp_path / "two")
        assert two.get() is None
        assert not list(two.scratch.glob("*"))


@each_size
@pytest.mark.parametrize("kind", ["memory", "folder"])
@pytest.mark.parametrize("damaged", [False, True])
def test_racing_writers(kind: str, request: pytest.FixtureRequest, tmp_path: Path, body: bytes, damaged: bool) -> None:
    """Workers that keep or mend one artifact at the same moment all end with the same bytes, and so does the store."""
    store: Store = request.getfixturevalue(f"{kind}_store")
    for turn in range(5):
        store.delete(KEY)
        if damaged:
            store.put(KEY, b"garbage")
        workers = [Worker(store, tmp_path / f"{turn}-{number}") for number in range(6)]
        left = race(6, lambda number: workers[number].put(body.replace(b"one", b"by %d" % number)))  # noqa: B023
        assert len(set(left)) == 1
        assert {worker.get() for worker in workers} == set(left)


def test_whoever_mends_first_wins(memory_store: MemoryStore, tmp_path: Path) -> None:
    """A mender that is overtaken between its look and its write adopts what the other one stored."""
    memory_store.drop(KEY, b"garbage")
    fast = Worker(memory_store, tmp_path / "fast")
    puts = itertools.count(1)

    def hook(call: Call, phase: Phase) -> None:
        if (call.method, phase) == ("put", "before") and next(puts) == 2:
            fast.put(b"fast")

    slow = Worker(memory_store.client(hook), tmp_path / "slow")
    assert slow.put(b"slow") == b"fast"
    assert slow.get() == b"fast"


@each_size
def test_lost_answers(virtual_clock: VirtualClock, tmp_path: Path, body: bytes) -> None:
    """An artifact whose PUT was answered by silence is kept once, and its writer knows that it was the first."""
    store = MemoryStore(virtual_clock)
    one = Worker(store.client(Fault("put", times=2)), tmp_path, virtual_clock)
    assert one.put(body) == body
    assert one.get() == body


def test_a_store_that_is_away(memory_store: MemoryStore, tmp_path: Path, virtual_clock: VirtualClock) -> None:
    """No answer at all is no miss: the stage is not run again because the network is down."""
    Worker(memory_store, tmp_path).put(SMALL)
    away = Worker(memory_store.client(Fault(times=1000)), tmp_path, virtual_clock)
    with pytest.raises(Unavailable):
        away.get()


def _aged(store: MemoryStore, folder: Path, clock: VirtualClock, body: bytes, hook: Hook | None = None) -> Worker:
    """A worker before an artifact that was written a day and a second ago."""
    Worker(store, folder / "writer", clock).put(body, seconds=2.5)
    clock.advance(RENEW_SECONDS + 1)
    store.calls.clear()
    return Worker(store.client(hook), folder / "reader", clock)


@each_size
def test_a_hit_renews_an_old_reference(
    memory_store: MemoryStore, virtual_clock: VirtualClock, tmp_path: Path, body: bytes
) -> None:
    """A hit on a reference of more than a day writes it again, as it was but for the nonce; the next one does not."""
    one = _aged(memory_store, tmp_path, virtual_clock, body)
    before = json.loads(memory_store.peek(KEY) or b"")
    assert one.get() == one.get() == body
    after = json.loads(memory_store.peek(KEY) or b"")
    assert after.pop("nonce") != before.pop("nonce")
    assert after == before
    assert memory_store.head(KEY).modified == int(virtual_clock.time())
    virtual_clock.advance(RENEW_SECONDS)
    Worker(counted := memory_store.client(), tmp_path / "two", virtual_clock).get()
    assert counted.counts()["PUT"] == 0


def test_a_renewal_that_is_refused_or_lost(
    memory_store: MemoryStore, virtual_clock: VirtualClock, tmp_path: Path
) -> None:
    """Somebody else was faster, the reference was just removed, or nobody answers: the hit stands all the same."""

    def overwritten(call: Call, phase: Phase) -> None:
        if (call.method, phase) == ("put", "before"):
            memory_store.drop(KEY, b"somebody else's")

    def removed(call: Call, phase: Phase) -> None:
        if (call.method, phase) == ("put", "before"):
            memory_store.delete(KEY)

    left = []
    for number, hook in enumerate((overwritten, removed, Fault("put", "before", times=1000))):
        memory_store.delete(KEY)
        one = _aged(memory_store, tmp_path / str(number), virtual_clock, SMALL, hook)
        assert one.get() == SMALL
        left.append(memory_store.peek(KEY))
    assert left[:2] == [b"somebody else's", None]


def test_a_damaged_artifact_is_not_renewed(
    memory_store: MemoryStore, virtual_clock: VirtualClock, tmp_path: Path
) -> None:
    """A reference whose blob has gone is a miss, and grows older."""
    one = _aged(memory_store, tmp_path, virtual_clock, LARGE)
    memory_store.delete(_blob(memory_store))
    before = memory_store.peek(KEY)
    assert one.get() is None
    assert memory_store.peek(KEY) == before


@each_size
def test_an_artifact_comes_as_a_file(store: Store, tmp_path: Path, body: bytes) -> None:
    """`fetch` lays it where it is wanted, whole; what lay there is replaced, and nothing is left in the scratch."""
    one, two = Worker(store, tmp_path / "one"), Worker(store, tmp_path / "two")
    assert two.cache.fetch(DIGEST, two.artifact) is None
    one.put(body)
    two.artifact.write_bytes(b"an older one")
    reference = two.cache.fetch(DIGEST, two.artifact)
    assert reference is not None
    assert (two.artifact.read_bytes(), reference.size) == (body, len(body))
    assert not list(two.scratch.glob("*"))


def test_a_damaged_artifact_is_not_laid(memory_store: MemoryStore, tmp_path: Path) -> None:
    """A blob that is another one by now, or gone, is a miss: the file that lies there stays."""
    worker = Worker(memory_store, tmp_path)
    worker.put(LARGE)
    [blob] = [info.key for info in memory_store.list(BLOBS)]
    worker.artifact.write_bytes(b"before")
    memory_store.put(blob, LARGE[:-1] + b" ")
    assert worker.cache.fetch(DIGEST, worker.artifact) is None
    memory_store.delete(blob)
    assert worker.cache.fetch(DIGEST, worker.artifact) is None
    assert worker.artifact.read_bytes() == b"before"
    assert not list(worker.scratch.glob("*"))


def test_a_large_artifact_never_lies_in_memory(folder_store: FolderStore, tmp_path: Path) -> None:
    """Voices of hours are hundreds of megabytes: neither keeping nor fetching them, nor adopting another worker's,
    takes as much memory.
    """
    size = 64 << 20
    one, two = Worker(folder_store, tmp_path / "one"), Worker(folder_store, tmp_path / "two")
    for worker, byte in ((one, b"\xff"), (two, b"\xfe")):
        worker.artifact.write_bytes(byte * size)
    tracemalloc.start()
    try:
        for worker in (one, two):  # the second is refused, and adopts what the first one kept
            worker.cache.put(DIGEST, "separating_vocals", worker.artifact)
        two.cache.fetch(DIGEST, tmp_path / "fetched")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < size / 4
    assert two.artifact.read_bytes() == (tmp_path / "fetched").read_bytes() == b"\xff" * size
