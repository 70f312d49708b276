"""What the benches of the handler share: buckets that note when results appear, a worker on them, a moto server.

Takes nothing from the machine's own AWS configuration. Moto runs in a process of its own, so that its work is not
counted as the handler's.
"""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from handler.child import ChildEngine, Engine
from handler.clock import SystemClock
from handler.settings import Settings, load_settings
from handler.store.base import Store
from handler.store.folder import FolderStore
from handler.store.s3 import S3Store
from handler.worker import Worker

ROOT = Path(__file__).parents[1]
RECORDING = ROOT / "examples" / "jfk.flac"
_START_SECONDS = 30.0


class _Noting:
    """Mixed into a store: when the last result was written, and how long the heartbeat's thread wrote in all."""

    result_at = 0.0  # time.perf_counter()
    heart_seconds = 0.0

    def put(self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        started = time.perf_counter()
        etag: str = super().put(key, body, if_absent=if_absent, if_match=if_match)  # type: ignore[misc]
        ended = time.perf_counter()
        if key.startswith("results/"):
            self.result_at = ended
        if threading.current_thread().name == "heart":
            self.heart_seconds += ended - started
        return etag


class NotingFolder(_Noting, FolderStore):
    pass


class NotingS3(_Noting, S3Store):
    pass


def folder_bucket(path: Path) -> NotingFolder:
    """A folder whose files are ready at once."""
    return NotingFolder(path, SystemClock(), settle_seconds=0.0)


@contextlib.contextmanager
def s3_bucket(endpoint: str) -> Iterator[NotingS3]:
    """A new bucket on the moto server at ``endpoint``."""
    with _environment(aws_environment(endpoint)):
        import boto3

        name = f"bench-{uuid.uuid4().hex}"
        client = boto3.session.Session().client("s3")
        client.create_bucket(Bucket=name)
        client.close()
        store = NotingS3(name, clock=SystemClock())
        yield store
        store.close()


@contextlib.contextmanager
def moto_server() -> Iterator[str]:
    """The URL of an S3 server on loopback, in a process that ends with the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _until_it_answers(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _until_it_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            opener.open(url, timeout=1).close()
            return
        except (urllib.error.URLError, OSError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def aws_environment(endpoint: str) -> dict[str, str]:
    """AWS's variables for that server, and nobody's own configuration."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def paced_command(seconds: float, words: int) -> list[str]:
    """The engine of `bench.paced`, as a command of `ChildEngine`. -P: bench/pipeline.py is not the package."""
    return [sys.executable, "-P", str(ROOT / "bench" / "paced.py"), str(seconds), str(words)]


def settings(work: Path) -> Settings:
    """The defaults, with sphinx named, because nothing of it is run."""
    return load_settings(work_dir=work, home=work / "no-models", model="sphinx")


def worker(store: Store, work: Path, engine: Engine, name: str = "bench") -> Worker:
    return Worker(store, settings(work), SystemClock(), engine, name=name)


def child_engine(seconds: float, words: int, home: Path) -> ChildEngine:
    return ChildEngine(SystemClock(), command=paced_command(seconds, words), home=home)


def quantile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` (0…1) of the values do not exceed, as measured: nothing is interpolated."""
    return sorted(values)[max(0, -(-len(values) * int(share * 100) // 100) - 1)]


def spread(values: Sequence[float]) -> str:
    """Median and 95th percentile of seconds, in milliseconds."""
    return f"median {statistics.median(values) * 1000:.1f} ms, p95 {quantile(values, 0.95) * 1000:.1f} ms"


def memory_mb(field: str) -> float:
    """This process's ``VmRSS`` (resident now) or ``VmHWM`` (the most it ever was), in MB of 1,000,000 bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError(f"no {field} in /proc/self/status: memory is measured on Linux only")
