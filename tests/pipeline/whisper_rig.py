"""What the tests of the whisper backend share: a loaded recogniser, and what it says."""

from __future__ import annotations

from pathlib import Path

from pipeline.catalog import Model, resolve
from pipeline.models.base import Batch, Recogniser, Request, Window
from pipeline.types import Word

NATO = ["Alpha", "Bravo.", "Charlie", "Delta,", "Echo", "Foxtrot", "Golf.", "Hotel", "India", "Juliett", "Kilo?"]


def model_of(folder: Path) -> Model:
    return resolve(str(folder), None, folder, trusted=True)


def run(recogniser: Recogniser, *windows: Window, **request: object) -> list[Batch]:
    return list(recogniser.transcribe(windows, Request.model_validate(request)))


def all_words(batches: list[Batch]) -> list[Word]:
    return [word for batch in batches for word in batch.words]


def texts(batches: list[Batch]) -> list[str]:
    return [word.text for word in all_words(batches)]
