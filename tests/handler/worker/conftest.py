"""A bucket in memory on a clock that the test moves, and one on each store in real time."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ahead_rig import FIRST, NAMES, SECOND, THIRD
from queue_rig import BUCKET, Post, told
from worker_rig import Rig

from handler.clock import SystemClock
from handler.fakes import OwnedClock
from handler.settings import Settings
from handler.store.base import Store
from handler.store.folder import FolderStore
from handler.store.memory import MemoryStore


@pytest.fixture
def worker_settings(tmp_path: Path) -> Settings:
    """Sphinx, a work directory of the test's own, and files that are ready at once."""
    return Settings(model="sphinx", work_dir=tmp_path / "work", home=tmp_path / "home", settle_seconds=0)


@pytest.fixture
def clock() -> OwnedClock:
    return OwnedClock()


@pytest.fixture
def bucket(clock: OwnedClock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
def post(clock: OwnedClock) -> Post:
    """A queue in memory, on the test's clock."""
    return Post(clock)


@pytest.fixture
def rig(bucket: MemoryStore, clock: OwnedClock, worker_settings: Settings) -> Rig:
    """In memory, in virtual time. Workers should be given `MemoryStore.client`s where their requests matter."""
    return Rig(bucket, clock, worker_settings)


@pytest.fixture
def told_rig(clock: OwnedClock, worker_settings: Settings) -> Rig:
    """As `rig`, on the bucket that the messages of `post` speak of."""
    return Rig(MemoryStore(clock, BUCKET), clock, worker_settings)


@pytest.fixture
def three(rig: Rig, clock: OwnedClock) -> Rig:
    """Three recordings, dropped one after the other."""
    for name, body in zip(NAMES, (FIRST, SECOND, THIRD), strict=True):
        rig.drop(name, body)
        clock.advance(5)
    return rig


@pytest.fixture
def three_told(told_rig: Rig, post: Post) -> Rig:
    """Three recordings, each its own name, and a message about each."""
    for name in NAMES:
        told_rig.drop(name, name.encode())
        post.send(told(f"input/{name}"))
    return told_rig


@pytest.fixture
def fresh(worker_settings: Settings) -> Callable[[], Rig]:
    """Makes an empty bucket in memory, on a clock of its own."""

    def make() -> Rig:
        clock = OwnedClock()
        return Rig(MemoryStore(clock), clock, worker_settings)

    return make


@pytest.fixture(params=["memory", "folder", "s3"])
def any_rig(request: pytest.FixtureRequest, tmp_path: Path, worker_settings: Settings) -> Rig:
    """On each store in turn, in real time."""
    clock = SystemClock()
    store: Store
    if request.param == "memory":
        store = MemoryStore(clock)
    elif request.param == "folder":
        store = FolderStore(tmp_path / "bucket", clock, settle_seconds=0)
    else:
        store = request.getfixturevalue("s3_store")
    return Rig(store, clock, worker_settings)


@pytest.fixture
def atomic_s3(aws_environment: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a new bucket on an S3 server that answers one request at a time, which makes its conditional writes
    atomic; the AWS variables point to it.
    """
    import boto3
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    app, lock = DomainDispatcherApplication(create_backend_app), threading.Lock()

    def one_at_a_time(environ: Any, start_response: Any) -> Any:
        with lock:
            return list(app(environ, start_response))

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, one_at_a_time, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
    client = boto3.session.Session().client("s3")
    name = f"bucket-{uuid.uuid4().hex}"
    client.create_bucket(Bucket=name)
    client.close()
    yield name
    server.shutdown()
    thread.join()
    server.server_close()
