"""Where each decoded frame belongs: turns a container's timestamps into silence that is owed, or not.

Takes seconds, gives seconds; pure but for its own position. Jitter is ignored, real gaps are believed within limits,
and timestamps that start over (joined recordings, wrapped counters) go on from where the sound is. Knows no libav.
"""

from __future__ import annotations

JITTER = 0.1  # s; containers round, clocks drift: less than this is no gap
FIRST_JITTER = 0.02  # s; before the first frame nothing has drifted yet, and times should be right from the start
RESTART = 1.0  # s; further back than this, the timestamps have started over
LONGEST_SILENCE = 4 * 3600.0  # s in all; more pauses than that are damage or malice
LATEST_ORIGIN = 60.0  # s; later than this, a container's first timestamp is a wall clock, not a pause


class Timeline:
    """``origin``: the timestamp of the recording's time 0. ``limit``: no silence is believed to end later than this."""

    def __init__(self, origin: float, limit: float) -> None:
        self.due = 0.0  # where the next frame goes, in seconds from the recording's start
        self.silence = 0.0  # seconds inserted so far
        self.disbelieved = 0.0  # the longest gap that was not believed
        self._shift = origin
        self._limit = limit
        self._jitter = FIRST_JITTER

    def gap(self, stamp: float | None) -> float:
        """Seconds of silence owed before a frame that its container stamps ``stamp``; usually 0."""
        jitter, self._jitter = self._jitter, JITTER
        if stamp is None:
            return 0.0
        late = stamp - self._shift - self.due
        if -RESTART <= late < jitter:
            # Early frames are kept whole, and what they are early by is made up at the next gap.
            return 0.0
        if late < 0 or self.due + late > self._limit or self.silence + late > LONGEST_SILENCE:
            self._shift += late
            self.disbelieved = max(self.disbelieved, late)
            return 0.0
        self.silence += late
        self.due += late
        return late

    def advance(self, seconds: float) -> None:
        """A frame of that length has been taken."""
        self.due += seconds


def origin_of(first: float | None, *, absolute: bool) -> float:
    """The timestamp of time 0, given the earliest of any stream.

    ``absolute``: the format's timeline has a zero of its own (MP4, Matroska), so a small positive start is a pause; in
    the others (MPEG-TS, MP3 …) it is padding or an arbitrary clock.
    """
    if first is None or (absolute and 0 < first <= LATEST_ORIGIN):
        return 0.0
    return first
