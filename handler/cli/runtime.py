"""What every command is given: the clock, the ways to a store and to an engine; and the options that all of them have.

Light: `dropscribe --help` imports it. Heavier things are imported when they are asked for.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from handler.clock import Clock, SystemClock

if TYPE_CHECKING:
    from handler.child import Engine
    from handler.settings import Settings
    from handler.store.base import Store
    from pipeline.machine import Machine

Command = TypeVar("Command", bound=Callable[..., Any])

# What ends a line, moves the cursor, or cannot be sent at all.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def escaped(text: str) -> str:
    """One line for a terminal or a log: control characters as Python writes them (``\\n``), all else as it is."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def child_engine(clock: Clock, home: Path, settings: Settings) -> Engine:
    """The real engine: a child process, started at the first job. ``home``: what it sees as its home folder."""
    from handler.cage import cage_of, hide
    from handler.child import ChildEngine
    from handler.recycling import Drift

    hide()
    return ChildEngine(
        clock,
        arguments=engine_arguments(settings),
        home=home,
        drift=Drift(settings.engine_memory_bytes),
        cage=lambda: cage_of(settings, home),
    )


def engine_arguments(settings: Settings) -> list[str]:
    """The engine's own settings, as ``python -m pipeline engine`` takes them: it sees no variable of ours."""
    given = ["--device", settings.device, "--gpu-memory-threshold", str(settings.gpu_memory_threshold)]
    if settings.compute_type is not None:
        given += ["--compute-type", settings.compute_type]
    return given


def probed(settings: Settings, model: str) -> Machine:
    """What this machine can compute with, by a child process that tries. ``model``: see `ask_machine`."""
    from handler.cli.doctor.probing import ask_machine

    return ask_machine(settings, model)


def store_at(url: str, clock: Clock, settings: Settings) -> Store:
    """The store that a person means by ``url``. boto3 is imported only for one on S3."""
    from handler.store.opening import open_store

    return open_store(url, clock, fsync=settings.fsync, settle_seconds=settings.settle_seconds)


@dataclass(frozen=True, slots=True)
class Runtime:
    """click's ``obj``. Tests pass another clock, a store in memory, a scripted engine."""

    clock: Clock = field(default_factory=SystemClock)
    store: Callable[[str, Clock, Settings], Store] = store_at
    engine: Callable[[Clock, Path, Settings], Engine] = child_engine
    probe: Callable[[Settings, str], Machine] = probed


def speak_up(command: Command) -> Command:
    """Adds ``--verbose`` and ``--debug``, which may stand before or after the command's name."""
    debug = click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks (also DROPSCRIBE_DEBUG=1).")
    verbose = click.option(
        "-v", "--verbose", is_flag=True, expose_value=False, callback=_verbose, is_eager=True, help="Log what happens."
    )
    return debug(verbose(command))


def standard(command: Command) -> Command:
    """The options that every command has: ``--json``, ``--verbose`` and ``--debug``."""
    as_json = click.option("--json", "as_json", is_flag=True, help="Write JSON to stdout, for programs.")
    return speak_up(as_json(command))


def _verbose(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.find_root().meta["handler.cli.verbose"] = True


def stderr_is_terminal() -> bool:
    return sys.stderr.isatty()


def start_log(level: int = logging.WARNING, form: logging.Formatter | None = None) -> None:
    """Log to stderr: in the given ``form``, or for people, in colour if it is a terminal. ``--verbose`` lowers
    ``level`` by one step.
    """
    context = click.get_current_context(silent=True)
    if context is not None and context.find_root().meta.get("handler.cli.verbose"):
        level = min(level, logging.INFO) if level > logging.INFO else logging.DEBUG
    handler: logging.Handler
    if form is not None:
        handler = _Stderr()
        handler.setFormatter(form)
    elif stderr_is_terminal():
        from rich.logging import RichHandler

        from handler.cli.screen import messages

        handler = RichHandler(console=messages(), show_path=False, log_time_format="[%X]")
    else:
        handler = _Stderr()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    handler.set_name("dropscribe")
    if form is None:
        handler.addFilter(_one_line)
    root = logging.getLogger()
    for old in [old for old in root.handlers if old.get_name() == "dropscribe"]:
        root.removeHandler(old)
    root.addHandler(handler)
    for name in ("handler", "pipeline"):  # not botocore: its INFO is noise
        logging.getLogger(name).setLevel(level)


def _one_line(record: logging.LogRecord) -> bool:
    """Keys and file names may hold anything: none of it may look like another line of the log."""
    record.msg, record.args = escaped(record.getMessage()), None
    return True


class _Stderr(logging.Handler):
    """Writes to what stderr is *now*: a captured one may be closed by the next line."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody listens any more
            print(self.format(record), file=sys.stderr, flush=True)
