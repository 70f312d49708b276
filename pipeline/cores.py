"""How libraries share the cores: what is asked of their threads, in the environment, before they are loaded.

Knows the variables that libraries read. How many threads a model computes with is that model's business.
"""

from __future__ import annotations

import os

ASKED = {
    # Each library has an OpenMP of its own that knows nothing of the others': while its threads wait they must leave
    # the cores to whichever stage works beside.
    "OMP_WAIT_POLICY": "PASSIVE",
    # numpy's products here are small, and its threads spin for a while after each: beside the model that comes next.
    "OPENBLAS_NUM_THREADS": "1",
}


def share_cores() -> None:
    """Ask for it, unless whoever started this process wants it otherwise. To be called before numpy is imported."""
    for name, value in ASKED.items():
        os.environ.setdefault(name, value)
