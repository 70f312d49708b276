"""How long and how much is kept. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from handler.settings import Settings

GRACE_SECONDS = 24 * 3600.0  # nothing younger goes: whoever wrote it may not have written yet what names it


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds and bytes; None sets no limit. ``results_ttl`` is of the outputs: results, errors and manifests."""

    cache_ttl: float | None = None
    cache_bytes: int | None = None
    results_ttl: float | None = None

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        return cls(settings.cache_ttl_seconds, settings.cache_bytes, settings.results_ttl_seconds)

    @property
    def any(self) -> bool:
        return self != Limits()
