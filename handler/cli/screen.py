"""What people see: tables and text on stdout, progress and notes on stderr, JSON instead of all that for programs.

Knows rich and the terminal; knows nothing of buckets.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import click
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from handler.cli.runtime import escaped

_PLAIN_WIDTH = 200  # columns where there is no terminal: a table in a file must not be cut

_STYLES = {
    "completed": "green", "ok": "green", "failed": "red", "fail": "red", "processing": "cyan", "warn": "yellow",
    "cancelled": "dim",
}  # fmt: skip


def results() -> Console:
    """Stdout, as it is now."""
    return Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH)


def show(*pictures: RenderableType) -> None:
    """Print to stdout; where that is no terminal, without the spaces with which tables are filled up."""
    console = results()
    with console.capture() as captured:
        console.print(*pictures)
    text = captured.get()
    click.echo(
        text if console.is_terminal else "\n".join(line.rstrip() for line in text.splitlines()),
        nl=not console.is_terminal,
    )


def messages() -> Console:
    """Stderr, as it is now."""
    return Console(stderr=True, highlight=False)


def note(text: str) -> None:
    """A line for people, beside the results."""
    messages().print(cell(text), soft_wrap=True)


def write_json(value: Any) -> None:
    """One JSON document on stdout, ending the line. Its keys are stable."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def progress_bars() -> Progress:
    """Bars on stderr; nothing at all where that is no terminal."""
    console = messages()
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
        disable=not console.is_terminal,
        transient=False,
    )


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table; the columns named in ``right`` are aligned there."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def cell(text: str, style: str = "") -> Text:
    """What may hold anything, such as a key, for a cell or a line: without markup, control characters escaped."""
    return Text(escaped(text), style=style)


def styled(status: str) -> Text:
    """A status word in its colour."""
    return cell(status, _STYLES.get(status, ""))


def size(count: float) -> str:
    """Bytes for people: ``1.2 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def duration(seconds: float | None) -> str:
    """Seconds for people: ``41 s``, ``3 min``, ``2.5 h``, ``4 d``; nothing for None."""
    if seconds is None:
        return ""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} d"
