"""SubRip: numbered cues, commas in the times. Takes cues, gives the file's text, piece by piece.

Names stand before the words where the voice changes, in people's own words only: nobody wants ``Speaker 0`` on a film.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline.formats.captions.cues import Cue, Line


def srt(found: Iterable[Cue]) -> Iterator[str]:
    """Nothing at all for no cues, which is an empty file and a valid one."""
    for number, cue in enumerate(found, start=1):
        lines = "\n".join(_line(line, "-" if cue.dashed else "") for line in cue.lines)
        yield f"{'' if number == 1 else chr(10)}{number}\n{_time(cue.start)} --> {_time(cue.end)}\n{lines}\n"


def _line(line: Line, dash: str) -> str:
    name = f"{line.label}: " if line.label is not None else ""
    return f"{dash}{name}{line.text}".strip().replace("-->", "-- >")  # an arrow would be taken for a line of times


def _time(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02},{rest:03}"
