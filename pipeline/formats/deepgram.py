"""Deepgram's pre-recorded JSON, whole: ``results``, ``metadata``, and the object that an error is.

The parts are made apart and joined without being parsed, because the results are made once for a job and the metadata
for each input.
"""

from __future__ import annotations

from pipeline.formats.failures import error_part
from pipeline.formats.metadata import facts, metadata_part, model_id
from pipeline.formats.results import results_chunks, results_part

__all__ = ["assemble", "error_part", "facts", "metadata_part", "model_id", "results_chunks", "results_part"]


def assemble(metadata: bytes, results: bytes) -> bytes:
    """A whole result out of its two parts, neither of them parsed."""
    return b"".join((b'{"metadata":', metadata, b',"results":', results, b"}"))
