"""Any S3 server, seen as a worker sees it: `./run test --s3 URL` runs this and the contract on the server given, with
the credentials of the environment. Without it, on the tests' own server.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from s3_honours import RACE, honours

from handler.clock import SystemClock
from handler.errors import UnsafeStore
from handler.fakes import ScriptedEngine
from handler.settings import Settings
from handler.store.probe import probe
from handler.store.s3 import S3Store
from handler.watch import scan
from handler.worker import Worker
from tests.s3_place import Place

pytestmark = pytest.mark.server

RECORDINGS = {"a.wav": b"one", "deep/b c+d.wav": b"two", "ü😀.wav": b"one"}
MANY = {f"{number}.wav": b"%d" % (number % 6) for number in range(9)}


def store_at(place: Place) -> S3Store:
    """As a worker opens it, probe included."""
    store = S3Store(place.bucket, place.prefix, clock=SystemClock())
    probe(store, SystemClock())
    return store


def drain(place: Place, settings: Settings, engine: ScriptedEngine, name: str) -> None:
    store = store_at(place)
    Worker(store, settings, SystemClock(), engine, name=name).run(drain=True)
    store.close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        model="sphinx",
        models=None,
        home=tmp_path / "home",
        work_dir=tmp_path / "work",
        lease_seconds=30,
        beat_seconds=5,
        scan_seconds=0.2,
        scan_idle_seconds=1,
        progress_seconds=0.05,
    )


@pytest.fixture
def atomic(request: pytest.FixtureRequest) -> bool:
    """Whether a conditional write is one step: the tests' own server checks, and then writes."""
    return bool(request.config.getoption("--s3"))


def verdict(place: Place) -> str:
    try:
        store_at(place).close()
    except UnsafeStore as error:
        return f"refused, {error.message}"
    return "nothing, it can be used"


def check(place: Place, settings: Settings, contents: dict[str, bytes]) -> None:
    """Each recording has its own result, and all are settled."""
    store = store_at(place)
    for key, body in contents.items():
        result: dict[str, Any] = json.loads(store.get(f"results/{key}.json").body)
        assert result["metadata"]["sha256"] == hashlib.sha256(body).hexdigest()
        assert json.loads(store.get(f"progress/{key}.json").body)["status"] == "completed"
    worker = Worker(store, settings, SystemClock(), ScriptedEngine(), name="onlooker")
    assert scan(store, worker.layout).candidates == ()
    assert list(store.list("errors/")) == []
    store.close()


def test_what_it_honours(s3_place: Place, tell: Callable[[str], None], atomic: bool) -> None:
    """The server honours what the protocol needs; that, and what it does beyond it, is printed."""
    answers = honours(s3_place)
    for answer in answers:
        tell(str(answer))
    tell(f"What a worker says when it starts on this server: {verdict(s3_place)}")
    missing = [answer.question for answer in answers if answer.needed and not answer.honoured]
    assert [question for question in missing if atomic or question != RACE] == []


def test_recordings_become_results(s3_place: Place, settings: Settings) -> None:
    """Recordings that are dropped on the server become results on it, each content transcribed once."""
    for key, body in RECORDINGS.items():
        s3_place.client.put_object(Bucket=s3_place.bucket, Key=f"{s3_place.prefix}/input/{key}", Body=body)
    engine = ScriptedEngine()
    drain(s3_place, settings, engine, "alone")
    check(s3_place, settings, RECORDINGS)
    assert Counter(engine.ran) == {"transcribing": 2, "generating_output": 2}


def test_workers_that_race(s3_place: Place, settings: Settings, atomic: bool) -> None:
    """Three workers on one bucket share its recordings out: each has its result, and no content is run twice."""
    for key, body in MANY.items():
        s3_place.client.put_object(Bucket=s3_place.bucket, Key=f"{s3_place.prefix}/input/{key}", Body=body)
    engines = [ScriptedEngine() for _ in range(3)]
    with ThreadPoolExecutor(len(engines)) as pool:
        drains = [pool.submit(drain, s3_place, settings, engine, f"worker-{n}") for n, engine in enumerate(engines)]
    for done in drains:
        done.result()
    check(s3_place, settings, MANY)
    ran, contents = sum(engine.ran.count("transcribing") for engine in engines), len(set(MANY.values()))
    assert ran == contents if atomic else contents <= ran <= len(engines) * contents
