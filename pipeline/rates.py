"""How fast work goes: seconds of it for each second of sound, remembered from job to job, and what that says about the
rest.

Takes measured seconds, gives expectations. Knows nothing of what the work is.
"""

from __future__ import annotations

_KEPT = 0.5  # of what earlier jobs weigh, at each new one: machines get busy and free again
_LEAST_SHARE, _LEAST_SECONDS = 0.02, 1.0  # before that, a job's own rate is noise


class Rates:
    """Seconds of work per second of sound, by the work's name and by what does it. Kept in memory alone."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], tuple[float, float]] = {}

    def learn(self, work: str, by: str, seconds: float, sound: float) -> None:
        """``work`` on ``sound`` seconds took ``seconds``. Long recordings say more than short ones, late jobs more
        than early ones.
        """
        if sound <= 0 or seconds < 0:
            return
        spent, heard = self._sums.get((work, by), (0.0, 0.0))
        self._sums[work, by] = (_KEPT * spent + seconds, _KEPT * heard + sound)

    def rate(self, work: str, by: str) -> float | None:
        """None for what was never done."""
        if (work, by) not in self._sums:
            return None
        spent, heard = self._sums[work, by]
        return spent / heard


def remaining(share: float, spent: float, expected: float | None) -> float | None:
    """Seconds left of work of which ``share`` (0…1) was done in ``spent`` seconds and which should take ``expected`` in
    all; None if that is not known and the work has not shown a rate yet.

    The two accounts are blended: the further the work is, the more its own rate counts.
    """
    share = min(1.0, max(0.0, share))
    own = spent / share if share >= _LEAST_SHARE and spent >= _LEAST_SECONDS else None
    if expected is None:
        total = own
    elif own is None:
        total = expected
    else:
        total = (1 - share) * expected + share * own
    return None if total is None else (1 - share) * total
