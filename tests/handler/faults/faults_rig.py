"""Workers behind a faulty proxy: threads with a scripted engine, a client that does not wait long, and a clock that
does not spend the test's time on pauses between scans.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faulty_proxy import Call, FaultyProxy, Plan

from handler.clock import Clock, SystemClock
from handler.fakes import ScriptedEngine
from handler.settings import Settings
from handler.store.s3 import ClientFactory, S3Store
from handler.types import JobRecord
from handler.watch import scan
from handler.worker import Tally, Worker

PATIENCE = 60.0  # seconds until workers that come to no end are told to
READ_SECONDS = 1.0  # the client's patience with a server that says nothing
HASTE = 20.0


class HastyClock(SystemClock):
    """Real time, but pauses of the thread that made it are short: the worker's between scans pass `HASTE` times as
    fast, and waits between two tries take a fifth of what was asked for. A lease is never held during the former.
    ``pauses`` and ``waits``: the seconds that were asked for, of each kind.
    """

    def __init__(self) -> None:
        super().__init__()
        self._owner = threading.get_ident()
        self._skipped = 0.0
        self.pauses: list[float] = []
        self.waits: list[float] = []

    def monotonic(self) -> float:
        return super().monotonic() + self._skipped

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        super().sleep(seconds / 5)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        if threading.get_ident() != self._owner:
            return super().wait(event, seconds)
        self.pauses.append(seconds)
        told = super().wait(event, seconds / HASTE)
        self._skipped += 0.0 if told else seconds * (1 - 1 / HASTE)
        return told


def client_factory(url: str, most: int = 99) -> ClientFactory:
    """As the real one, but for the timeouts, one session for all, and at most so many tries."""
    from botocore.config import Config

    def make(attempts: int) -> Any:
        retries = {"mode": "standard", "total_max_attempts": min(attempts, most)}
        config = Config(connect_timeout=READ_SECONDS, read_timeout=READ_SECONDS, retries=retries)
        with _making:
            return _session().client("s3", endpoint_url=url, config=config)

    return make


_making = threading.Lock()  # a session makes one client at a time


@functools.cache
def _session() -> Any:
    """One for all: it is what takes longest to make."""
    import boto3

    return boto3.session.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")


class Gone(BaseException):
    """The worker has died: nothing catches this."""


@dataclass
class FaultRig:
    """A bucket behind the proxy. ``store`` goes past it, to the server itself. ``tries``: the most that the workers'
    SDK makes at a request.
    """

    proxy: FaultyProxy
    bucket: str
    store: S3Store
    settings: Settings
    contents: dict[str, bytes] = field(default_factory=dict)
    engines: list[ScriptedEngine] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    clocks: list[HastyClock] = field(default_factory=list)
    prefix: str = ""
    tries: int = 99

    def drop(self, *bodies: bytes) -> None:
        for body in bodies:
            key = f"{len(self.contents)}.wav"
            self.contents[key] = body
            self.store.put(f"input/{key}", body)

    def renew(self, prefix: str) -> None:
        """An empty bucket again: another prefix of the same."""
        self.prefix = prefix
        self.store = S3Store(self.bucket, prefix, clock=SystemClock(), client_factory=client_factory(self.proxy.target))
        self.contents.clear()
        self.engines.clear()
        self.workers.clear()
        self.clocks.clear()
        self.proxy.seen.clear()

    def die_once(self, stage: str) -> None:
        """For ``between``: the worker is gone in the middle of its first stage, and its lease stays behind."""
        raise Gone

    def drain(
        self, *, plan: Plan | None = None, workers: int = 1, between: Callable[[str], None] | None = None
    ) -> None:
        """Let workers see everything to its end, with ``plan`` in force."""
        self.proxy.plan = plan or (lambda call: None)
        threads = [_Draining(self, between) for _ in range(workers)]
        for thread in threads:
            thread.start()
        until = time.monotonic() + PATIENCE
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        self.proxy.plan = lambda call: None
        for worker in self.workers:
            worker.stop.set()
        for thread in threads:
            thread.join()
        for thread in threads:
            if thread.error is not None and not isinstance(thread.error, Gone):
                raise thread.error

    def behind(self, clock: Clock | None = None) -> S3Store:
        """A store on this side of the proxy."""
        factory = client_factory(self.proxy.url, self.tries)
        return S3Store(self.bucket, self.prefix, clock=clock or HastyClock(), client_factory=factory)

    # ── what came of it ──────────────────────────────────────────────────────────────────────────────────────────────

    def check(self) -> None:
        """Every input has its own result and is settled; nothing was charged to anybody."""
        for key, body in self.contents.items():
            result = self.json(f"results/{key}.json")
            [channel] = result["results"]["channels"]
            words = channel["alternatives"][0]["transcript"].lower().rstrip(".").replace(" ", "")
            assert words == result["metadata"]["sha256"] == hashlib.sha256(body).hexdigest(), key
            assert self.json(f"progress/{key}.json")["status"] == "completed", key
        layout = self.workers[0].layout
        assert scan(self.store, layout).candidates == ()
        outcomes = [self.json(info.key)["outcome"] for info in self.store.list(layout.settled_key(""))]
        assert outcomes == ["completed"] * len(self.contents)
        assert list(self.store.list("errors/")) == []
        for record in self.records():
            assert (record.state, record.attempts, record.failures) == ("done", 0, ())

    def check_work(self, *, again: int = 0) -> None:
        """Each content was run once: whoever drew a wrong conclusion about a write would have run it again."""
        ran = Counter(stage for engine in self.engines for stage in engine.ran)
        contents = len(set(self.contents.values()))
        assert all(contents <= count <= contents + again for count in ran.values()), (ran, contents)

    def records(self) -> list[JobRecord]:
        found = [self.store.get(info.key).body for info in self.store.list(".dropscribe/v1/jobs/")]
        return [JobRecord.model_validate_json(body) for body in found]

    def json(self, key: str) -> Any:
        return json.loads(self.store.get(key).body)

    def sent(self) -> int:
        """Requests that reached the proxy, without the scans' listings, which are a matter of the pauses in between."""
        return sum(not call.listing for call in self.proxy.seen)


class _Draining(threading.Thread):
    def __init__(self, rig: FaultRig, between: Callable[[str], None] | None) -> None:
        super().__init__(name="worker", daemon=True)
        self._rig = rig
        self._between = between
        self.error: BaseException | None = None
        self.tally: Tally | None = None

    def run(self) -> None:
        try:
            clock = HastyClock()
            store = self._rig.behind(clock)
            engine = ScriptedEngine(between=self._between)
            name = f"worker-{len(self._rig.workers)}"
            worker = Worker(store, self._rig.settings, clock, engine, name=name)
            self._rig.clocks.append(clock)
            self._rig.engines.append(engine)
            self._rig.workers.append(worker)
            self.tally = worker.run(drain=True)
            store.close()
        except BaseException as error:
            self.error = error


def every(nth: int, fault: str, applies: Callable[[Call], bool] = lambda call: True) -> Plan:
    """``fault`` for each ``nth`` of the requests that it can happen to."""
    met = Counter[str]()

    def plan(call: Call) -> str | None:
        if not applies(call):
            return None
        met[fault] += 1
        return fault if met[fault] % nth == 0 else None

    return plan


def lines(records: list[logging.LogRecord]) -> list[str]:
    """What a worker said above INFO."""
    return [record.getMessage() for record in records if record.levelno > logging.INFO and record.name != "urllib3"]


def settings_in(tmp_path: Path) -> Settings:
    return Settings(
        model="sphinx",
        work_dir=tmp_path / "work",
        home=tmp_path / "home",
        backoff_seconds=0.05,
        lease_seconds=30,
        beat_seconds=5,
        progress_seconds=60,  # manifests at changes of stage alone: so a job makes a known number of requests
    )
