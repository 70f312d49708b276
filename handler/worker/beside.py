"""Requests that need not wait for one another: side by side in production, in turn where one thread runs at a time.

Takes something to ask; gives a future of the answer. Only what may be asked twice, or in vain, is asked this way:
nobody ends such a thread. Knows nothing of stores.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol, TypeVar

T = TypeVar("T")


class Beside(Protocol):
    """Ask now; the answer, or the error, is in the future sooner or later."""

    def __call__(self, ask: Callable[[], T]) -> Future[T]: ...


def answered(value: T) -> Future[T]:
    """What is known already."""
    future: Future[T] = Future()
    future.set_result(value)
    return future


def in_turn(ask: Callable[[], T]) -> Future[T]:
    """In the caller's thread, and over when it returns: for tests and simulations. Errors are raised at once."""
    return answered(ask())


def side_by_side(ask: Callable[[], T]) -> Future[T]:
    """In a thread of its own, which a process that ends does not wait for."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(ask())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="beside", daemon=True).start()
    return future
