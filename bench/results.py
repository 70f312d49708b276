"""bench/RESULTS.md: one section for each bench, with what it was measured on.

Takes rows and the document as it is, gives the document with that bench's section renewed; the others stay. Names no
machine: cores and versions are what a reader can compare.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path

from bench.table import Row

PATH = Path(__file__).with_name("RESULTS.md")

_HEAD = """\
# Results

Written by `./run bench --write`; every figure is from a real run on the machine that the section names. Where a target
is a time, it is one of this project's own; where it is a ratio, both sides were measured in turns in one run. Moto is
a stand-in for S3 on loopback, so its times say nothing about AWS.
"""

_SECTION = re.compile(r"^## (\S+)\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def here(gpu: str | None = None) -> str:
    """What figures are measured on, without naming the machine; ``gpu``: the model of the GPU that was used."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    used = gpu or "no GPU used"
    return f"{cores} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}, {used}"


def renewed(document: str, name: str, title: str, rows: Sequence[Row], machine: str, *, order: Sequence[str]) -> str:
    """``document`` with the section of the bench ``name`` made from ``rows``; sections stand in ``order``."""
    sections = {found[1]: found[0].strip() for found in _SECTION.finditer(document)}
    sections[name] = section(name, title, rows, machine)
    ranked = sorted(sections, key=lambda known: order.index(known) if known in order else len(order))
    return "\n\n".join([_HEAD.strip(), *(sections[known] for known in ranked)]) + "\n"


def section(name: str, title: str, rows: Sequence[Row], machine: str) -> str:
    """One bench's part of the document."""
    lines = [
        f"## {name}",
        "",
        f"{title}. Measured on {machine}.",
        "",
        "| what | measured | target | |",
        "|---|---|---|---|",
    ]
    verdict = {True: "reached", False: "**missed**", None: ""}
    lines += [
        f"| {_cell(row.name)} | {_cell(row.measured)} | {_cell(row.target)} | {verdict[row.ok]} |" for row in rows
    ]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
