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
