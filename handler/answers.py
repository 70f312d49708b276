"""What a claim is asked with, and what it is answered where it gives no lease. Frozen; knows nothing of how jobs are
claimed (`handler.job`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from handler.store.base import Found
from handler.types import Content, JobRecord


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes a job this job. ``jid`` is the digest of all the rest."""

    jid: str
    content: Content
    options: dict[str, Any]
    model: dict[str, Any]
    companions: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Busy:
    """Somebody else holds a live lease; ``subscribed``: they will publish for this input too; ``joined``: since now."""

    record: JobRecord
    subscribed: bool
    joined: bool = False


@dataclass(frozen=True, slots=True)
class Later:
    """The job waits for its next attempt, ``seconds`` from now. ``joined``: this input is among those that wait, since
    now.
    """

    record: JobRecord
    seconds: float
    joined: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """The record is done or dead; nothing has to run. ``found`` is the very version that says so."""

    record: JobRecord
    found: Found
