"""How libraries share the cores: what is asked of their threads, in the environment, before they are loaded.

Knows the variables that libraries read. How many threads a model computes with is that model's business.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

# Each library has an OpenMP of its own that knows nothing of the others': while its threads wait they must leave the
# cores to whichever stage works beside. A spin of microseconds (GNU's OpenMP alone, which all of them bring) disturbs
# nobody, and spares a decoder, whose steps are as short, a tenth of its time.
_WAITS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "300"}
# numpy's products here are small, and its threads spin for a while after each: beside the model that comes next.
_PRODUCTS = {"OPENBLAS_NUM_THREADS": "1"}


def asked(environment: Mapping[str, str]) -> dict[str, str]:
    """What is to be added to that environment. What somebody has said there of one thing stays as it is."""
    return {
        name: value
        for thing in (_WAITS, _PRODUCTS)
        if thing.keys().isdisjoint(environment)
        for name, value in thing.items()
    }


def share_cores() -> None:
    """Ask for it in this process. To be called before numpy is imported."""
    os.environ.update(asked(os.environ))
