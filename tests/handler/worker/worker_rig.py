"""Workers for tests: on any store, with a scripted engine, in virtual time or real; and what they leave in a bucket.

`Mortal` is a store for a worker that dies at a chosen request.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handler.callbacks.courier import Courier
from handler.child import Engine
from handler.clock import Clock
from handler.errors import NotFound
from handler.fakes import ScriptedEngine
from handler.job import Jobs
from handler.layout import Layout
from handler.observer import Observer
from handler.settings import Settings
from handler.source import Source
from handler.store.base import Found, Info, Listing, Store
from handler.types import JobRecord
from handler.watch import Candidate
from handler.worker import Worker
from handler.worker.beside import Beside, in_turn
from handler.worker.heart import Heart, thread_heart
from handler.worker.loop import MakeCourier

MUTATING = ("put", "upload", "delete")
MOST_POINTS = 90  # far more requests than any course of a few inputs has


@dataclass
class Rig:
    """A bucket and those who work on it. ``clock`` is the workers' and, in memory, the store's too."""

    store: Store
    clock: Clock
    settings: Settings
    made: int = 0

    @property
    def layout(self) -> Layout:
        return Layout.of(self.store.url, self.settings)

    def worker(
        self,
        engine: Engine | None = None,
        *,
        store: Store | None = None,
        clock: Clock | None = None,
        source: Source | None = None,
        heart: Heart = thread_heart,
        courier: MakeCourier = Courier,
        beside: Beside = in_turn,
        aside: Beside = in_turn,
        ahead: Beside | None = None,
        observer: Observer | None = None,
        **changes: Any,
    ) -> Worker:
        """One more worker, under a name of its own. ``changes``: of its settings."""
        self.made += 1
        return Worker(
            store or self.store,
            self.settings.model_copy(update=changes),
            clock or self.clock,
            engine or ScriptedEngine(),
            name=f"worker-{self.made}",
            source=source,
            heart=heart,
            courier=courier,
            beside=beside,
            aside=aside,
            ahead=ahead,
            observer=observer,
        )

    def drop(self, key: str, body: bytes) -> None:
        self.store.put(f"input/{key}", body)

    def candidate(self, key: str) -> Candidate:
        """The input as a listing of this moment shows it."""
        info = self.store.head(f"input/{key}")
        return Candidate(info, self.layout.source(info))

    # ── what lies in the bucket ──────────────────────────────────────────────────────────────────────────────────────

    def body(self, key: str) -> bytes | None:
        try:
            return self.store.get(key).body
        except NotFound:
            return None

    def json(self, key: str) -> Any:
        body = self.body(key)
        return None if body is None else json.loads(body)

    def result(self, key: str) -> Any:
        return self.json(f"results/{key}.json")

    def error(self, key: str) -> Any:
        return self.json(f"errors/{key}.json")

    def manifest(self, key: str) -> Any:
        return self.json(f"progress/{key}.json")

    def settled(self, key: str) -> str | None:
        """How the input's present version ended, None if it has not."""
        marker = self.json(self.layout.settled_key(self.candidate(key).source.sid))
        return None if marker is None else str(marker["outcome"])

    def keys(self, prefix: str) -> list[str]:
        return [info.key for info in self.store.list(prefix)]

    def records(self) -> list[JobRecord]:
        return [JobRecord.model_validate_json(self.store.get(key).body) for key in self.keys(".dropscribe/v1/jobs/")]

    def record(self) -> JobRecord:
        [record] = self.records()
        return record

    def jobs(self, worker: str = "another") -> Jobs:
        """Somebody who claims, from outside the workers."""
        return Jobs(self.store, self.layout, self.clock, self.settings, worker)

    def kept_stages(self) -> list[str]:
        """The stages whose artifacts the cache refers to."""
        return sorted(self.json(key)["stage"] for key in self.keys(".dropscribe/v1/stages/"))

    def words(self, key: str) -> bytes:
        """The bytes of a result's part ``results``: the same for the same content, whoever made it and when."""
        return (self.body(f"results/{key}.json") or b"").partition(b'"results":')[2]


def at(stage: str, act: Callable[[], object]) -> ScriptedEngine:
    """An engine in the middle of whose stage something happens, once."""
    done: list[str] = []

    def between(reached: str) -> None:
        if reached == stage and not done:
            done.append(stage)
            act()

    return ScriptedEngine(between=between)


def drain(rig: Rig, engine: ScriptedEngine | None = None, source: Source | None = None) -> ScriptedEngine:
    """See everything in the bucket to its end; with a ``source``, what that tells."""
    engine = engine or ScriptedEngine()
    rig.worker(engine, source=source).run(drain=True)
    return engine


class Crash(BaseException):
    """The worker is gone, in the middle of a stage."""


def give_up() -> None:
    raise Crash


def text_of(body: bytes) -> str:
    """The words that the scripted engine hears in these bytes."""
    digest = hashlib.sha256(body).hexdigest()
    return " ".join(digest[place : place + 8] for place in range(0, 64, 8))


def heard(result: Any) -> str:
    """The words of a result, in the spelling of `text_of`."""
    [channel] = result["results"]["channels"]
    return str(channel["alternatives"][0]["transcript"]).lower().rstrip(".")


def check_right(rig: Rig, key: str, body: bytes) -> None:
    """The input is settled, and has the right result and no error."""
    result = rig.result(key)
    assert result is not None, key
    assert heard(result) == text_of(body), key
    assert result["metadata"]["sha256"] == hashlib.sha256(body).hexdigest(), key
    assert rig.settled(key) == "completed", key
    assert rig.error(key) is None, key
    assert rig.manifest(key)["status"] == "completed", key


class Died(BaseException):
    """The worker is dead: nothing catches this."""


@dataclass
class Mortal:
    """A store through which a worker's ``at``-th mutating request, counted from 1, is its last: ``kill`` is called just
    before it is sent, or ``after`` it was applied, and at every later request of any kind.
    """

    store: Store
    at: int = 0  # 0: never
    after: bool = False
    kill: Callable[[], None] = field(default=lambda: _die())
    mutations: list[str] = field(default_factory=list)
    dead: bool = False

    @property
    def url(self) -> str:
        return self.store.url

    @property
    def listing(self) -> Listing:
        return self.store.listing

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[Info]:
        self._check()
        return self.store.list(prefix, start_after=start_after)

    def head(self, key: str) -> Info:
        self._check()
        return self.store.head(key)

    def get(self, key: str) -> Found:
        self._check()
        return self.store.get(key)

    def download(self, info: Info, path: Path, *, check: Callable[[], None] = lambda: None) -> str:
        self._check()
        return self.store.download(info, path, check=check)

    def put(self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        return str(
            self._mutate(f"put {key}", lambda: self.store.put(key, body, if_absent=if_absent, if_match=if_match))
        )

    def upload(self, key: str, path: Path) -> None:
        self._mutate(f"upload {key}", lambda: self.store.upload(key, path))

    def delete(self, key: str) -> None:
        self._mutate(f"delete {key}", lambda: self.store.delete(key))

    def _check(self) -> None:
        if self.dead:
            self.kill()

    def _mutate(self, what: str, act: Callable[[], Any]) -> Any:
        self._check()
        self.mutations.append(what)
        if len(self.mutations) == self.at:
            self.dead = True
            if not self.after:
                self.kill()
            act()
            self.kill()
        return act()


def points() -> Iterator[tuple[int, bool]]:
    """(number of the mutating request, whether it is applied before the worker dies)."""
    return itertools.product(range(1, MOST_POINTS), (False, True))


def dies(rig: Rig, at: int, after: bool, engine: ScriptedEngine) -> bool:
    """Drain with a worker that dies there; False if it came to its end before."""
    try:
        rig.worker(engine, store=Mortal(rig.store, at, after)).run(drain=True)
    except Died:
        return True
    return False


def _die() -> None:
    raise Died


@dataclass
class Later:
    """A store seen ``seconds`` later: leases that were live have run out, waits are over."""

    store: Store
    seconds: float

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def head(self, key: str) -> Info:
        info = self.store.head(key)
        return Info(
            info.key,
            info.size,
            info.version,
            info.modified,
            info.store_time + self.seconds,
            info.metadata,
            info.sha256,
            info.ready,
        )

    def get(self, key: str) -> Found:
        found = self.store.get(key)
        return Found(found.body, found.etag, found.age + self.seconds, found.store_time + self.seconds)
