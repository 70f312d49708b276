"""Times as Deepgram writes them. Takes epoch seconds, gives text; reads no clock."""

from __future__ import annotations

from datetime import UTC, datetime


def iso_time(epoch: float) -> str:
    """Epoch seconds as ISO 8601 in UTC, with milliseconds and Z: ``2023-11-14T22:13:20.000Z``."""
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
