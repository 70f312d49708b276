"""When an engine's process has grown so much that a fresh one is better: a decision, and nothing else.

Takes what the engine says of its memory at the end of each job. Knows nothing of processes.

An engine holds its models and what its libraries keep; after the first job of a kind it should grow no more. What it
grows by after that is leaks and fragmented memory, which only the process's end gives back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from pipeline.types import JobRequest

_GROWTH = 1.5  # times what it was
_LEAST_BYTES = 512 * 2**20  # that it grew by
_JOBS = 2  # in a row after which it is found so: a single long job may leave a peak that the next one's end gives back
# Options under which the engine loads further models, beside the recogniser's; and which of aligners it loads.
_LOADS_MORE = ("diarize", "speakers", "min_speakers", "max_speakers", "stemming")
_CHOOSES_ALIGNER = ("language", "task")


def kind_of(request: JobRequest) -> str:
    """Jobs of one kind need the same models."""
    names = (*_LOADS_MORE, *(_CHOOSES_ALIGNER if request.companions.get("aligners") else ()))
    shown: dict[str, Any] = {name: request.options.get(name) for name in names}
    return json.dumps([request.model, request.companions, shown], sort_keys=True, default=str)


@dataclass(slots=True)
class Drift:
    """The memory of one engine's process. ``limit``: bytes that it must not hold, None for no such limit."""

    limit: int | None = None
    growth: float = _GROWTH
    least_bytes: int = _LEAST_BYTES
    _base: int = field(default=0, init=False)  # bytes after the last job that was the first of its kind
    _kinds: set[str] = field(default_factory=set, init=False)
    _over: int = field(default=0, init=False)  # jobs in a row

    def fresh(self) -> Drift:
        """Of a process that is started in the place of this one."""
        return Drift(self.limit, self.growth, self.least_bytes)

    def after(self, kind: str, resident: int) -> str | None:
        """Why a fresh process is better, None if it is not. ``resident``: bytes at the end of a job, 0 for unknown.

        The first job of a kind loads what jobs of that kind need, so it only says how much that is; a limit which
        that alone is over is no reason, because a fresh process would be over it, too.
        """
        if resident <= 0:
            return None
        if kind not in self._kinds:
            self._kinds.add(kind)
            self._base, self._over = resident, 0
            return None
        limit = self.limit
        if limit is not None and resident > limit >= self._base:
            return f"it holds {resident:,} bytes, over the limit of {limit:,} (DROPSCRIBE_ENGINE_MEMORY_BYTES)"
        drifted = resident > self.growth * self._base and resident - self._base > self.least_bytes
        self._over = self._over + 1 if drifted else 0
        if self._over >= _JOBS:
            return f"it holds {resident:,} bytes, after {self._base:,} at first"
        return None

    @property
    def too_small(self) -> bool:
        """Whether the limit is less than what a fresh process needs."""
        return self.limit is not None and self._base > self.limit
