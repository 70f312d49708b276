"""What a worker remembers of inputs between looks at them. Lost with it, and harmless to lose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set
from dataclasses import dataclass, field

from handler.types import Subscriber

LOOK_AGAIN_SECONDS = 5.0  # at an input that somebody else is working on, or that met trouble
_LONGEST_PATIENCE = 600.0  # seconds
_TOLD = 10_000  # inputs


@dataclass(slots=True)
class Memory:
    """By sid, nearly all of it."""

    not_before: dict[str, float] = field(default_factory=dict)  # this machine's monotonic clock
    troubles: Counter[str] = field(default_factory=Counter)  # failures before there was a job to charge
    outages: Counter[str] = field(default_factory=Counter)  # failures of the store, which are charged to no job
    between: dict[str, Subscriber] = field(default_factory=dict)  # who waits for a job's next attempt
    told: dict[str, None] = field(default_factory=dict)  # inputs that messages named, the latest ones
    found: set[str] = field(default_factory=set)  # by a scan, and this worker's to look at again
    taken: int = 0  # looks at inputs that turned out to be in other hands, or settled by them

    def is_new(self, sid: str) -> bool:
        """Whether no message named this input before, as far as is remembered."""
        new = sid not in self.told
        self.told[sid] = None
        if len(self.told) > _TOLD:
            del self.told[next(iter(self.told))]
        return new

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
        self.found &= unsettled
