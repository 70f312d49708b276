"""In which order a worker looks at what a listing showed.

Oldest first, as long as it is alone. When it meets another worker at an input it goes on from a random place, and round
from there, so that workers who listed the same do not walk behind one another. Knows nothing of inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator


class Turns:
    """Each of the places 0 … ``count`` - 1 once. ``random``: uniform in [0, 1). ``apart``: begin at a random place."""

    def __init__(self, count: int, random: Callable[[], float], *, apart: bool = False) -> None:
        self._seen = bytearray(count)
        self._random = random
        self._next = 0
        if apart:
            self.jump()

    def __iter__(self) -> Iterator[int]:
        while True:
            place = self._seen.find(0, self._next)
            if place < 0:
                place = self._seen.find(0)
            if place < 0:
                return
            self._seen[place] = 1
            self._next = place + 1
            yield place

    def coming(self) -> Iterator[int]:
        """The places that are next, as it looks now; they are not taken."""
        for begin, end in ((self._next, len(self._seen)), (0, self._next)):
            place = self._seen.find(0, begin, end)
            while place >= 0:
                yield place
                place = self._seen.find(0, place + 1, end)

    def jump(self) -> None:
        """Go on from somewhere else."""
        self._next = int(self._random() * len(self._seen))
