"""``dropscribe work``: a worker on a bucket, until it is told to stop or everything is done.

Fetches the model if models come from the hub, probes the store, runs `handler.worker.Worker` in a thread, and leaves
the main thread to the signals.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType

import click

from handler.cli.bucket import Bucket, folder_of, open_bucket
from handler.cli.runtime import Runtime, standard, start_log
from handler.cli.screen import messages, note, write_json
from handler.clock import Clock
from handler.errors import Usage
from handler.settings import Settings
from handler.store.probe import probe
from handler.worker import Tally, Worker
from pipeline.catalog import AUTO, HUB, SUGGESTED, Model, fetch_command, resolve
from pipeline.errors import ModelUnavailable

log = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@click.command("work")
@click.argument("bucket")
@click.option("--drain", is_flag=True, help="End when every recording is done, instead of waiting for more.")
@click.option("--model", help="The model for recordings whose options name none (default: DROPSCRIBE_MODEL, or auto).")
@click.option("--name", help="What this worker is called in manifests and logs; a few random letters are added.")
@standard
@click.pass_obj
def command(runtime: Runtime, bucket: str, drain: bool, model: str | None, name: str | None, as_json: bool) -> None:
    """Be a worker: transcribe whatever is dropped into BUCKET.

    Any number of workers may share a bucket, and each may be stopped or killed at any moment. SIGTERM and Ctrl-C give
    the present job back and end in order; a second one ends at once. A --drain ends with exit code 0 even when
    recordings failed: the last line counts them, and errors/ says why.
    """
    start_log(logging.INFO)
    called = _called(name, runtime.clock)
    opened = open_bucket(bucket, runtime, make=True, model=model)
    found = ready_model(opened.settings)
    for warning in found.warnings:
        log.warning("%s", warning.message)
    probe(opened.store, runtime.clock, prefix=f"{opened.layout.state}probe/")
    _make_input(opened)
    worker = Worker(
        opened.store,
        opened.settings,
        runtime.clock,
        runtime.engine(runtime.clock, opened.settings.work_dir),
        name=called,
        stop=threading.Event(),
    )
    _say_hello(opened, worker, found, drain)
    tally = _run(worker, drain)
    if as_json:
        write_json(
            {"worker": called, "bucket": opened.store.url, "stopped": worker.stop.is_set(), **dataclasses.asdict(tally)}
        )
    else:
        failed = f", {tally.failed} failed (see errors/)" if tally.failed else ""
        note(f"Done: {tally.completed} completed, {tally.cached} of them from the cache{failed}.")


def ready_model(settings: Settings) -> Model:
    """The worker's own model, fetched first if it is not here and models come from the hub. `ModelUnavailable`."""
    try:
        return resolve(settings.model, settings.models, settings.home, trusted=True)
    except ModelUnavailable:
        if settings.models != HUB or "/" in settings.model:
            raise
    name = SUGGESTED if settings.model == AUTO else settings.model
    log.info("fetching the model %s; this happens once", name)
    # A process of its own: it is the only one that talks to the hub, and it is gone before a job is claimed.
    environment = {**os.environ, "DROPSCRIBE_HOME": str(settings.home)}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pipeline", "fetch", name], stdout=subprocess.DEVNULL, env=environment
    )
    if done.returncode:
        raise ModelUnavailable(
            f"the model {name} could not be fetched (the reason stands above)",
            f"Check the network, or run `{fetch_command(name)}` where there is one and copy the folder.",
        )
    return resolve(settings.model, settings.models, settings.home, trusted=True)


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


def _run(worker: Worker, drain: bool) -> Tally:
    """In a thread: a signal handler runs in the main thread, at any point, and must not wait for a lock held there."""
    with _signals(worker.stop), ThreadPoolExecutor(1, "worker") as executor:
        return executor.submit(worker.run, drain=drain).result()


@contextmanager
def _signals(stop: threading.Event) -> Iterator[None]:
    """The first SIGTERM or SIGINT asks the worker to stop, the second ends the process, and the engine with it."""

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    if threading.current_thread() is not threading.main_thread():  # tests: signals are the main thread's alone
        yield
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
