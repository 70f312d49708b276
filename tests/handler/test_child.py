"""The engine from the handler's side: what the child may see, how its deaths are told, when it is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from handler.child import ChildEngine, child_environment
from handler.clock import SystemClock
from handler.errors import EngineDied
from pipeline.types import Done, Event, Failed, JobRequest, Media

# A child that speaks the protocol. What it does with each job follows as `job(request, emit)`.
CHILD = """
import json, os, signal, sys, time
events = os.fdopen(int(sys.argv[sys.argv.index("--events-fd") + 1]), "wb", buffering=0)

def emit(event):
    events.write(json.dumps(event).encode() + b"\\n")

{job}

emit({{"type": "ready", "pid": os.getpid()}})
for line in sys.stdin:
    job(json.loads(line), emit)
"""

OBEDIENT = """
def job(request, emit):
    emit({"type": "media", "duration": 2.0, "channels": 1})
    emit({"type": "done"})
"""

HANGING = """
def job(request, emit):
    emit({"type": "media", "duration": 2.0, "channels": 1})
    time.sleep(600)
"""

Make = Callable[[str], ChildEngine]


@pytest.fixture
def child() -> Iterator[Make]:
    """Makes engines whose child does as it is told; they are closed at the end."""
    made: list[ChildEngine] = []

    def make(job: str) -> ChildEngine:
        made.append(ChildEngine(SystemClock(), command=[sys.executable, "-c", CHILD.format(job=job)]))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


def request(work: str = "/nowhere") -> JobRequest:
    return JobRequest(work=work, source="source", options={}, model={}, seed="0" * 64)


def events(engine: ChildEngine, work: str = "/nowhere", limit: float = 60.0) -> list[Event | None]:
    return list(engine.run(request(work), time_limit=lambda duration: limit, poll=min(30.0, limit)))


def gone(pid: int) -> bool:
    """Whether that process ends within a time that is far below what it would sleep."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


# ── the environment ──────────────────────────────────────────────────────────────────────────────────────────────────

SECRETS = {
    "AWS_ACCESS_KEY_ID": "s3cret",
    "AWS_SECRET_ACCESS_KEY": "s3cret",
    "AWS_SESSION_TOKEN": "s3cret",
    "AWS_PROFILE": "s3cret",
    "AWS_WEB_IDENTITY_TOKEN_FILE": "s3cret",
    "HF_TOKEN": "s3cret",
    "HTTPS_PROXY": "http://user:s3cret@proxy:1",
    "DROPSCRIBE_CALLBACK_SECRET": "s3cret",
    "GITHUB_TOKEN": "s3cret",
    "LD_PRELOAD": "s3cret",
}


def test_the_child_sees_no_secret(child: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A real child's environment has what programs need and nothing that opens a bucket or an account."""
    for name, value in SECRETS.items():
        if name != "LD_PRELOAD":
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("GOMP_SPINCOUNT", "5")
    dump = "json.dump(dict(os.environ), open(os.path.join(request['work'], 'environ'), 'w'))"
    engine = child(f"def job(request, emit):\n    {dump}\n    emit({{'type': 'done'}})")
    assert events(engine, str(tmp_path)) == [Done()]
    seen = json.loads((tmp_path / "environ").read_text())
    assert not set(SECRETS) & set(seen)
    assert not [name for name in seen if name.startswith(("AWS_", "DROPSCRIBE_"))]
    assert "s3cret" not in json.dumps(seen)
    assert seen["PATH"] == os.environ["PATH"]
    assert (seen["OMP_NUM_THREADS"], seen["GOMP_SPINCOUNT"]) == ("2", "5")
    assert seen["HF_HUB_OFFLINE"] == "1"


def test_home_is_not_the_users() -> None:
    """~/.aws is not the engine's to read: its home is the given folder, or none that exists."""
    given = {"HOME": "/home/somebody", "PATH": "/bin", **SECRETS}
    assert child_environment(given, Path("/work dir"))["HOME"] == "/work dir"
    assert child_environment(given, None)["HOME"] == "/nonexistent"
    assert not set(SECRETS) & set(child_environment(given, None))


# ── jobs and deaths ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_warm_child_for_many_jobs(child: Make) -> None:
    """The child is started with the first job and kept for the next ones."""
    engine = child(OBEDIENT)
    assert engine.pid is None
    pids = set()
    for _ in range(3):
        assert events(engine) == [Media(duration=2.0, channels=1), Done()]
        pids.add(engine.pid)
    assert len(pids) == 1


def test_silence_is_polled(child: Make) -> None:
    """While the child computes, the caller gets its turn: None at least every `poll` seconds."""
    engine = child("def job(request, emit):\n    time.sleep(0.5)\n    emit({'type': 'done'})")
    found = list(engine.run(request(), time_limit=lambda duration: 60.0, poll=0.05))
    assert None in found
    assert found[-1] == Done()


def test_a_failed_job_ends_the_job_alone(child: Make) -> None:
    """`Failed` is an answer: the child lives on."""
    failed = {"type": "failed", "error": {"error_class": "NoAudio", "code": "Bad Request", "message": "no sound"}}
    engine = child(f"def job(request, emit):\n    emit({failed!r})")
    [first] = events(engine)
    pid = engine.pid
    [second] = events(engine)
    assert isinstance(first, Failed)
    assert first == second
    assert engine.pid == pid


@pytest.mark.parametrize(
    ("act", "how"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "by signal SIGKILL (out of memory?)"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "by signal SIGSEGV"),
        ("sys.exit(3)", "with exit status 3"),
    ],
)
def test_a_death_is_told(child: Make, act: str, how: str) -> None:
    """How the child ended, and its last words, are in the error; the next job gets a new child."""
    engine = child(
        f"def job(request, emit):\n"
        f"    if os.path.exists(request['work']):\n        return emit({{'type': 'done'}})\n"
        f"    print('out of cheese', file=sys.stderr, flush=True)\n    {act}"
    )
    with pytest.raises(EngineDied) as caught:
        events(engine)
    assert how in caught.value.message
    assert engine.pid is None
    assert events(engine, "/") == [Done()]


def test_last_words(child: Make) -> None:
    """The last line that the child wrote to stderr is what a person reads first."""
    engine = child("def job(request, emit):\n    raise ValueError('out of cheese')")
    with pytest.raises(EngineDied, match="ValueError: out of cheese"):
        events(engine)


def test_last_words_that_are_late(child: Make) -> None:
    """What a dead child wrote, and nobody has read yet, is waited for."""
    late = "['sh', '-c', 'sleep 0.3; echo out of cheese >&2']"
    engine = child(f"def job(request, emit):\n    import subprocess\n    subprocess.Popen({late})\n    os._exit(1)")
    with pytest.raises(EngineDied, match="out of cheese"):
        events(engine)


def test_a_death_while_idle_costs_nothing(child: Make) -> None:
    """A child that dies between two jobs is replaced without a word."""
    engine = child(OBEDIENT)
    events(engine)
    first = engine.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert gone(first)
    assert events(engine)[-1] == Done()
    assert engine.pid != first


@pytest.mark.parametrize("line", [b"not JSON", b'{"type": "surprise"}', b'{"type": "media", "channels": "two"}', b""])
def test_a_garbled_event_ends_the_child(child: Make, line: bytes) -> None:
    """A child that does not speak the protocol is not to be trusted with the job's rest."""
    engine = child(f"def job(request, emit):\n    events.write({line!r} + b'\\n')\n    time.sleep(600)")
    running = engine.run(request(), time_limit=lambda duration: 60.0, poll=30.0)
    with pytest.raises(EngineDied, match="an event that is not one"):
        list(running)
    assert engine.pid is None


def test_what_a_library_prints_is_no_event(child: Make) -> None:
    """stdout and stderr are not where events come from."""
    noise = "print('{\"type\": \"failed\"}', flush=True); os.write(2, b'\\xff\\xfe\\n'); emit({'type': 'done'})"
    assert events(child(f"def job(request, emit):\n    {noise}")) == [Done()]


def test_an_overrun_is_killed(child: Make) -> None:
    """A job over its time limit is stopped by a kill, and the error says so and what to do."""
    engine = child(HANGING)
    running = engine.run(request(), time_limit=lambda duration: 0.4 if duration else 60.0, poll=0.05)
    assert isinstance(next(event for event in running if event is not None), Media)
    pid = engine.pid or 0
    with pytest.raises(EngineDied) as caught:
        list(running)
    assert "time limit" in caught.value.message
    assert "DROPSCRIBE_TIME_LIMIT_FACTOR" in caught.value.hint
    assert caught.value.retryable
    assert gone(pid)


def test_the_limit_follows_the_length(child: Make) -> None:
    """The time limit is asked for anew once the recording's length is known."""
    asked: list[float | None] = []

    def limit(duration: float | None) -> float:
        asked.append(duration)
        return 60.0

    list(child(OBEDIENT).run(request(), time_limit=limit, poll=30.0))
    assert asked == [0.0, 2.0]


def test_leaving_a_job_kills_it(child: Make) -> None:
    """Closing the iterator early (a lost lease, a stop) ends the child, whatever it is doing."""
    engine = child(HANGING)
    running = engine.run(request(), time_limit=lambda duration: 60.0, poll=30.0)
    next(running)
    pid = engine.pid
    running.close()  # type: ignore[attr-defined]
    assert engine.pid is None
    assert gone(pid or 0)


def test_ends_are_counted_by_reason(child: Make) -> None:
    """Each process that ended before its time is one restart: it died, or it was killed; one that is asked to end, in
    order, is none. What the first one took to be ready is known once it was.
    """
    engine = child(OBEDIENT)
    assert engine.ready_seconds is None
    events(engine)
    assert engine.ready_seconds is not None
    engine.close()
    assert engine.restarts == {}
    dying = child("def job(request, emit): os._exit(3)")
    for _ in range(2):
        with pytest.raises(EngineDied):
            events(dying)
    assert dying.restarts == {"died": 2}
    hanging = child(HANGING)
    with pytest.raises(EngineDied):
        events(hanging, limit=0.5)
    assert hanging.restarts == {"killed": 1}


def test_a_command_that_cannot_run() -> None:
    """An engine that ends at once, before any job, is an error with its last words."""
    engine = ChildEngine(SystemClock(), command=[sys.executable, "-c", "raise SystemExit('nothing is installed')"])
    with pytest.raises(EngineDied, match="nothing is installed"):
        list(engine.run(request(), time_limit=lambda duration: 60.0, poll=30.0))
    engine.close()


def test_an_engine_that_takes_no_request() -> None:
    """One that ends before it has read its first request is an error with its last words, even if those come late."""
    late = ["sh", "-c", "(sleep 0.3; echo nothing is installed >&2) & exit 1"]
    engine = ChildEngine(SystemClock(), command=late)
    with pytest.raises(EngineDied, match="nothing is installed"):
        events(engine, work="/" + 200_000 * "x")  # more than a pipe holds, so that writing it fails
    engine.close()


@pytest.mark.parametrize("hangs", [False, True])
def test_close_ends_it(child: Make, hangs: bool) -> None:
    """`close` ends the child, also one that does not listen, and can be called again."""
    engine = child(OBEDIENT + ("signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if hangs else ""))
    events(engine)
    pid = engine.pid
    if hangs:
        os.kill(pid or 0, signal.SIGSTOP)
    engine.close()
    assert engine.pid is None
    assert gone(pid or 0)
    engine.close()


# ── the real engine ──────────────────────────────────────────────────────────────────────────────────────────────────

# A handler that has the real engine hear a recording, and says which process that is once it listens.
HANDLER = """
import sys
from handler.child import ChildEngine
from handler.clock import SystemClock
from pipeline.catalog import resolve
from pipeline.options import Options
from pipeline.types import JobRequest, Progress
from pathlib import Path

engine = ChildEngine(SystemClock())
request = JobRequest(work=sys.argv[1], source="source.flac", options=Options().model_dump(mode="json"), seed="0" * 64,
                     model=resolve("sphinx", None, Path("/nowhere")).model_dump(mode="json"))
for event in engine.run(request, time_limit=lambda duration: 600.0, poll=30.0):
    if isinstance(event, Progress):
        print(engine.pid, flush=True)
"""


def test_an_orphan_ends(tmp_path: Path) -> None:
    """When the handler is killed while the real engine is deep in a decoder, the engine ends by itself."""
    (tmp_path / "source.flac").symlink_to(Path(__file__).parents[2] / "examples" / "jfk.flac")
    handler = subprocess.Popen([sys.executable, "-c", HANDLER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert handler.stdout is not None
    pid = int(handler.stdout.readline())
    assert psutil.pid_exists(pid)
    handler.kill()
    handler.communicate()
    assert gone(pid)
