"""What a worker remembers of inputs between looks at them. Lost with it, and harmless to lose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set
from dataclasses import dataclass, field

from handler.types import Subscriber

LOOK_AGAIN_SECONDS = 5.0  # at an input that somebody else is working on, or that met trouble
_LONGEST_PATIENCE = 600.0  # seconds


@dataclass(slots=True)
class Memory:
    """By sid, all of it."""

    not_before: dict[str, float] = field(default_factory=dict)  # this machine's monotonic clock
    troubles: Counter[str] = field(default_factory=Counter)  # failures before there was a job to charge
    outages: Counter[str] = field(default_factory=Counter)  # failures of the store, which are charged to no job
    between: dict[str, Subscriber] = field(default_factory=dict)  # who waits for a job's next attempt

    def patience(self, sid: str) -> float:
        """Seconds to wait after one more failure of the store: longer and longer, because the engine may run each
        time.
        """
        self.outages[sid] += 1
        return float(min(_LONGEST_PATIENCE, LOOK_AGAIN_SECONDS * 2 ** (self.outages[sid] - 1)))

    def keep_only(self, unsettled: Set[str]) -> None:
        """Forget all others."""
        for remembered in (self.not_before, self.troubles, self.outages, self.between):
            for sid in [sid for sid in remembered if sid not in unsettled]:
                del remembered[sid]
