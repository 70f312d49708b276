"""WebVTT: points in the times, and each voice in a span of its own. Takes cues, gives the file's text piece by piece.

``&``, ``<`` and ``>`` are written as entities, so that no text can hold a tag or an arrow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline.formats.captions.cues import Cue, Line
from pipeline.formats.captions.spoken import Labels


def vtt(found: Iterable[Cue], labels: Labels) -> Iterator[str]:
    """The header alone for no cues."""
    yield "WEBVTT\n"
    for cue in found:
        lines = "\n".join(_lines(cue, labels))
        yield f"\n{_time(cue.start)} --> {_time(cue.end)}\n{lines}\n"


def _lines(cue: Cue, labels: Labels) -> Iterator[str]:
    """Two lines of one voice are one span."""
    if cue.dashed:
        for line in cue.lines:
            yield _voiced(line, f"-{escaped(line.text)}", labels)
    else:
        yield _voiced(cue.lines[0], "\n".join(escaped(line.text) for line in cue.lines), labels)


def _voiced(line: Line, text: str, labels: Labels) -> str:
    label = labels(line.voice)
    return text if label is None else f"<v {escaped(label.text)}>{text}</v>"


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _time(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest:03}"
