"""What a benchmark gives: rows of a name, a figure, the target and whether it is met; and how they are printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement, in words with units. ``ok`` is None where there is nothing to reach."""

    name: str
    measured: str
    target: str = ""
    ok: bool | None = None


def show(title: str, rows: Sequence[Row], console: Console | None = None) -> int:
    """Print the rows; gives the exit code: 1 if a target is missed."""
    table = Table("what", "measured", "target", "", title=title, title_justify="left")
    for row in rows:
        table.add_row(row.name, row.measured, row.target, {True: "ok", False: "MISSED", None: ""}[row.ok])
    (console or Console()).print(table)
    return int(any(row.ok is False for row in rows))
