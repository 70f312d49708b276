"""How many people speak in a recording, as the person who asks says.

Knows nothing of options' names, models or sound.
"""

from __future__ import annotations

from pipeline.types import Frozen

FEW = 4  # whom a Sortformer tells apart


class Hints(Frozen):
    """None where they say nothing. ``speakers`` outweighs the other two; 0 says nothing, and a most below the least
    gives way to it.
    """

    speakers: int | None = None
    least: int | None = None
    most: int | None = None

    @property
    def bounds(self) -> tuple[int, int | None]:
        """The least, at least 1, and the most."""
        least = max(1, self.speakers or self.least or 1)
        most = self.speakers or self.most
        return least, max(least, most) if most else None

    @property
    def alone(self) -> bool:
        """One person speaks: nobody has to hear who."""
        return self.bounds[1] == 1

    @property
    def many(self) -> bool:
        """There may be more than a Sortformer tells apart."""
        least, most = self.bounds
        return max(least, most or 0) > FEW
