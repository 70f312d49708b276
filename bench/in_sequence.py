"""The real engine, but with one step of a job at a time: what stages side by side are measured against.

    python -m bench.in_sequence engine --events-fd N …

Steps wait in the order in which they could begin, so the models, their threads and what they are given stay the same.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

from pipeline.__main__ import main
from pipeline.cores import share_cores


def one_at_a_time(most: int, **named: Any) -> ThreadPoolExecutor:
    """In place of the flow's own pool of ``most`` threads."""
    return ThreadPoolExecutor(1, **named)


def install() -> None:
    """From now on every flow of this process runs one step at a time."""
    share_cores()  # before numpy comes with the flow
    flow: Any = import_module("pipeline.flow")
    flow.ThreadPoolExecutor = one_at_a_time


if __name__ == "__main__":
    install()
    sys.exit(main(sys.argv[1:]))
