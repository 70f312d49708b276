"""Lengths of time and sizes as people type them: ``30d``, ``10GB``. Gives seconds and bytes, or click's own error."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import click

_MOST = 2.0**53
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")
_SECONDS: Mapping[str, int] = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_BYTES: Mapping[str, int] = {
    "": 1, "b": 1,
    "k": 10**3, "kb": 10**3, "m": 10**6, "mb": 10**6, "g": 10**9, "gb": 10**9, "t": 10**12, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip


def age(text: str) -> float:
    """Seconds. `click.BadParameter`."""
    seconds = _amount(text, _SECONDS)
    if not 1 <= seconds < _MOST:
        raise click.BadParameter(f"{text!r} is no length of time: write a number and s, m, h, d or w, for example 30d")
    return seconds


def amount(text: str) -> int:
    """Bytes. `click.BadParameter`."""
    size = _amount(text, _BYTES)
    if not 0 <= size < _MOST:
        raise click.BadParameter(f"{text!r} is no size: write a number and B, KB, MB, GB or TB, for example 10GB")
    return int(size)


def _amount(text: str, units: Mapping[str, int]) -> float:
    """nan where the text is no number with one of these units."""
    found = _NUMBER.fullmatch(text.strip())
    unit = units.get(found[2].lower()) if found else None
    return float(found[1]) * unit if found and unit is not None else math.nan
