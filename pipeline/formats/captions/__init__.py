"""Captions and text out of a result: SubRip, WebVTT, plain text with times, RTTM.

Takes the parsed JSON of any Deepgram result, gives a file's text; knows neither where it lies nor who asked for it.
Free of numpy. The flow: `spoken` → `cues` (with `layout`) → `srt`, `vtt`; `spoken` → `text`, `rttm`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.errors import OptionsError
from pipeline.formats.captions.cues import cues
from pipeline.formats.captions.rttm import rttm
from pipeline.formats.captions.spoken import Voice, labels, spoken, voices
from pipeline.formats.captions.srt import srt
from pipeline.formats.captions.text import text
from pipeline.formats.captions.vtt import vtt
from pipeline.options import OUTPUTS

__all__ = ["Captions", "render"]


def render(result: Mapping[str, Any], kind: str, names: Mapping[str, str] | None = None, *, file: str = "") -> str:
    """One whole file; see `Captions`."""
    return Captions(result, names, file=file).render(kind)


class Captions:
    """One result, read once for files of several kinds.

    ``names``: as in a ``speakers.json``; ``file``: the recording's name, which RTTM carries. `NotAResult` for what is
    no Deepgram result. One without words gives valid files without cues.
    """

    def __init__(self, result: Mapping[str, Any], names: Mapping[str, str] | None = None, *, file: str = "") -> None:
        self._channels = spoken(result)
        self._labels = labels(self._channels, names)
        self._file = file

    @property
    def words(self) -> int:
        """How many there are to show."""
        return sum(map(len, self._channels))

    def render(self, kind: str) -> str:
        """``kind`` is one of `OUTPUTS`; `OptionsError` for any other."""
        match kind:
            case "srt":
                return "".join(srt(cues(self._channels, self._names())))
            case "vtt":
                return "".join(vtt(cues(self._channels), self._labels))
            case "txt":
                return "".join(text(self._channels, self._labels))
            case "rttm":
                return "".join(rttm(self._channels, self._labels, self._file))
        raise OptionsError(f"there is no output {kind!r}", f"There are {', '.join(OUTPUTS)}.")

    def _names(self) -> Mapping[Voice, str]:
        """The names that SubRip shows: once a person has named one voice, all of them; else none."""
        found = {voice: label for voice in voices(self._channels) if (label := self._labels(voice)) is not None}
        if not any(label.given for label in found.values()):
            return {}
        return {voice: label.text for voice, label in found.items()}
