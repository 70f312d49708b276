"""``dropscribe work``: a worker on a bucket, until it is told to stop or everything is done.

Brings the model if models come from a bucket or the hub, probes the store, runs `handler.worker.Worker` in a thread,
and leaves the main thread to the signals.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

import click

from handler.cli.bucket import Bucket, folder_of, open_bucket
from handler.cli.runtime import Runtime, standard
from handler.cli.screen import messages, note, write_json
from handler.cli.watched import Watched
from handler.clock import Clock
from handler.errors import EXIT_TEMPORARY, Usage
from handler.models.hub import fetch
from handler.models.library import Library
from handler.settings import Settings, load_settings
from handler.source import Source
from handler.store.opening import event_keys
from handler.store.probe import probe
from handler.worker import Tally, Worker
from handler.worker.beside import in_turn, side_by_side
from pipeline.catalog import AUTO, HUB, SUGGESTED, Model
from pipeline.errors import ModelUnavailable

log = logging.getLogger(__name__)

_LATE_SECONDS = 3.0  # after DROPSCRIBE_STOP_SECONDS, for a worker that stops in order
_GIVE_BACK_SECONDS = 2.0  # for the last request of one that does not: 25 s in all, by default

_WAKE_SECONDS = 0.5  # how late a signal is acted on, at most
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


Command = TypeVar("Command", bound=Callable[..., Any])
MakeSource = Callable[[Bucket], Source | None]
"""What a worker hears of inputs from, on the bucket that was opened; None: it only scans."""


def worker_options(command: Command) -> Command:
    """The options that every worker has."""
    model = click.option(
        "--model", help="The model for recordings whose options name none (default: DROPSCRIBE_MODEL, or auto)."
    )
    name = click.option("--name", help="What this worker is called in manifests and logs; random letters are added.")
    return model(name(command))


@click.command("work")
@click.argument("bucket")
@click.option("--queue", metavar="URL|NAME", help="An SQS queue that is told what is dropped; the scan becomes rare.")
@click.option("--drain", is_flag=True, help="End when every recording is done (or the queue is empty).")
@worker_options
@standard
@click.pass_obj
def command(
    runtime: Runtime, bucket: str, queue: str | None, drain: bool, model: str | None, name: str | None, as_json: bool
) -> None:
    """Be a worker: transcribe whatever is dropped into BUCKET.

    Any number of workers may share a bucket, and each may be stopped or killed at any moment. SIGTERM and Ctrl-C give
    the present job back and end in order; a second one ends at once. A --drain ends with exit code 0 even when
    recordings failed: the last line counts them, and errors/ says why.
    """

    def source(opened: Bucket) -> Source | None:
        return _queue(queue, opened, runtime.clock) if queue is not None else None

    be_a_worker(runtime, bucket, source, drain=drain, model=model, name=name, as_json=as_json)


def be_a_worker(
    runtime: Runtime,
    bucket: str,
    source: MakeSource,
    *,
    drain: bool,
    model: str | None,
    name: str | None,
    as_json: bool,
) -> None:
    """From the command line to the last line that is written."""
    called = _called(name, runtime.clock)
    watched = Watched(load_settings(), runtime.clock, called)
    try:
        with watched.phase("bucket"):
            opened = open_bucket(bucket, runtime, make=True, model=model)
            hears = source(opened)
        try:
            worker, found = _ready_worker(runtime, opened, hears, watched, called)
            _say_hello(opened, worker, found, drain)
            tally = _run(worker, drain, runtime.clock, opened.settings.stop_seconds)
        finally:
            if hears is not None:
                hears.close()
    finally:
        watched.close()
    _say_goodbye(opened, worker, tally, as_json)


def _ready_worker(
    runtime: Runtime, opened: Bucket, hears: Source | None, watched: Watched, name: str
) -> tuple[Worker, Model]:
    """With its model at hand, on a bucket that keeps its promises; what is raised says why there is none."""
    with watched.phase("model"):
        found = ready_model(opened.settings, runtime.clock)
    for warning in found.warnings:
        log.warning("%s", warning.message)
    with watched.phase("probe"):
        probe(opened.store, runtime.clock, prefix=f"{opened.layout.state}probe/")
    _make_input(opened)
    engine = runtime.engine(runtime.clock, opened.settings.work_dir, opened.settings)
    worker = Worker(
        watched.store(opened.store),
        opened.settings,
        runtime.clock,
        engine,
        name=name,
        stop=threading.Event(),
        source=hears,
        beside=in_turn if folder_of(opened.store) is not None else side_by_side,
        aside=side_by_side,
        ahead=side_by_side if opened.settings.fetch_ahead else None,
        observer=watched.observer,
    )
    watched.begin(worker, engine)
    return worker, found


def _queue(name: str, bucket: Bucket, clock: Clock) -> Source:
    translate = event_keys(bucket.store.url)
    from handler.queue import open_queue  # here, so that a folder's user never waits for boto3

    queue = open_queue(name, translate, clock, visibility=bucket.settings.lease_seconds)
    log.info("hearing of recordings from the queue %s", name)
    return queue


def _say_goodbye(bucket: Bucket, worker: Worker, tally: Tally, as_json: bool) -> None:
    if as_json:
        stopped = worker.stop.is_set()
        told = {"worker": worker.name, "bucket": bucket.store.url, "stopped": stopped, **dataclasses.asdict(tally)}
        write_json(told)
    else:
        failed = f", {tally.failed} failed (see errors/)" if tally.failed else ""
        failed += f", {tally.cancelled} cancelled" if tally.cancelled else ""
        note(f"Done: {tally.completed} completed, {tally.cached} of them from the cache{failed}.")


def ready_model(settings: Settings, clock: Clock) -> Model:
    """The worker's own model, brought here first if it is not: out of a bucket, or from the hub where models come from
    there. `ModelUnavailable`, `OutOfSpace`, and of a bucket `StoreError`.
    """
    library = Library(settings, clock)
    model = _own_model(library, settings)
    library.companions()  # a name among the settings that is not there is said now, and not by the first job
    return model


def _own_model(library: Library, settings: Settings) -> Model:
    try:
        return library.own()
    except ModelUnavailable:
        if settings.models != HUB or "/" in settings.model:
            raise
    name = SUGGESTED if settings.model == AUTO else settings.model
    log.info("fetching the model %s; this happens once", name)
    fetch(name, settings.home)
    return library.own()


def _called(name: str | None, clock: Clock) -> str:
    """Names are made unique: a worker takes a claim under its own name for its own."""
    if name is not None and not _NAME.fullmatch(name):
        raise Usage(
            f"--name {name!r} cannot be a worker's name", "Use up to 64 letters, digits, dots, dashes and underscores."
        )
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()).lstrip("._-")[:40] or "worker"
    return f"{name or host}-{clock.new_id()[:8]}"


def _make_input(bucket: Bucket) -> None:
    """A newcomer looks for the folder to drop recordings into."""
    folder = folder_of(bucket.store)
    if folder is not None:
        (folder / bucket.layout.input).mkdir(parents=True, exist_ok=True)


def _say_hello(bucket: Bucket, worker: Worker, model: Model, drain: bool) -> None:
    log.info("worker %s: %s, model %s (%s)", worker.name, bucket.store.url, model.name, model.version)
    if messages().is_terminal:
        end = "It ends when all are done." if drain else "Ctrl-C ends it."
        note(f"Watching {bucket.where(bucket.layout.input)} with the model {model.name}. {end}")


def _run(worker: Worker, drain: bool, clock: Clock, stop_seconds: float) -> Tally:
    """In a thread: a signal handler runs in the main thread, at any point, and must not wait for a lock held there."""
    over = threading.Event()

    def last_resort() -> None:
        _end_anyway(worker, clock, over, stop_seconds + _LATE_SECONDS)

    with _signals(worker.stop, over, last_resort), ThreadPoolExecutor(1, "worker") as executor:
        working = executor.submit(worker.run, drain=drain)
        # Not `result()` at once: a signal that another thread was interrupted by does not wake the main thread, and
        # handlers run in that one alone.
        while not wait([working], timeout=_WAKE_SECONDS).done:
            pass
        return working.result()


def _end_anyway(worker: Worker, clock: Clock, over: threading.Event, seconds: float) -> None:
    """A worker that hangs (in a download, an upload, a silent store) when its time to stop is over: give its job back
    for it, and end the process; the engine ends with its parent.
    """
    if clock.wait(over, seconds):
        return
    log.warning("the worker did not stop in time: its job is given back without it")
    given_back = threading.Event()

    def give_back() -> None:
        if worker.give_back():
            given_back.set()

    threading.Thread(target=give_back, daemon=True).start()
    os._exit(0 if clock.wait(given_back, _GIVE_BACK_SECONDS) else EXIT_TEMPORARY)


@contextmanager
def _signals(stop: threading.Event, over: threading.Event, last_resort: Callable[[], None]) -> Iterator[None]:
    """The first SIGTERM or SIGINT asks the worker to stop, the second ends the process, and the engine with it.
    ``last_resort`` runs in a thread from the first one on; ``over`` is set at the block's end.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()
        threading.Thread(target=last_resort, name="last resort", daemon=True).start()

    if threading.current_thread() is not threading.main_thread():  # tests: signals are the main thread's alone
        yield
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        over.set()
        for number, old in before.items():
            signal.signal(number, old)
