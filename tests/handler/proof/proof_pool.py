"""Runs pieces of the proof side by side, in processes that were started fresh, and keeps their order."""

from __future__ import annotations

import atexit
import functools
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

Piece = TypeVar("Piece")
Gave = TypeVar("Gave")


@functools.cache
def _pool() -> ProcessPoolExecutor:
    # Not forked: a copy of a process that has threads may stand still for ever.
    pool = ProcessPoolExecutor(max(1, os.cpu_count() or 1), mp_context=multiprocessing.get_context("spawn"))
    atexit.register(pool.shutdown, cancel_futures=True)
    return pool


def side_by_side(work: Callable[[list[Any]], list[Gave]], pieces: Iterable[Piece], *, size: int = 25) -> Iterator[Gave]:
    """What ``work`` gives for every piece; it is handed ``size`` of them at a time."""
    everything = list(pieces)
    chunks = [everything[start : start + size] for start in range(0, len(everything), size)]
    for gave in _pool().map(work, chunks):
        yield from gave
