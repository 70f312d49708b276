"""Deepgram's real responses as test data: parsed, and their words as `ResultWord`s."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from pipeline.formats.words import ResultWord

FOLDER = Path(__file__).parents[2] / "data" / "deepgram"
NAMES = sorted(path.name for path in FOLDER.glob("*.json"))


def text(name: str) -> str:
    return (FOLDER / name).read_text()


def results(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text(name))["results"]
    return found


# Numbers that Deepgram writes as floats. Two of the responses have been through JavaScript, which writes 14.0 as 14.
_FLOATS = {"start", "end", "confidence", "speaker_confidence"}


def literally(body: str) -> Any:
    """A JSON text parsed with each float as the characters that stand there; keys keep their order."""

    def floats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {name: f"{value}.0" if name in _FLOATS and type(value) is int else value for name, value in pairs}

    return json.loads(body, parse_float=str, object_pairs_hook=floats)


def written(value: Any) -> bytes:
    """What `literally` gave, as bytes: equal only if the texts were, but for white space."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def alternative(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text(name))["results"]["channels"][0]["alternatives"][0]
    return found


def words(name: str) -> list[ResultWord]:
    return [
        ResultWord(
            word["word"],
            word.get("punctuated_word"),
            _float32(word["start"]),
            _float32(word["end"]),
            _float32(word["confidence"]),
            word.get("speaker"),
            word.get("speaker_confidence"),
        )
        for word in alternative(name)["words"]
    ]


def _float32(x: float) -> float:
    value: float = struct.unpack("<f", struct.pack("<f", x))[0]
    return value
