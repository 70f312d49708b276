"""Captions and text of a finished job, made in the engine's process: no model, no stage, no artifact that is kept.

Takes a work directory with the results, leaves a file for each kind beside them. Knows nothing of buckets.
"""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.errors import NotAResult
from pipeline.formats.captions import Captions
from pipeline.types import ExportRequest


def export(request: ExportRequest) -> None:
    """Write ``export.<kind>`` for each kind asked for. `NotAResult`, OSError."""
    work = Path(request.work)
    try:
        result = json.loads((work / request.results).read_bytes())
    except (ValueError, RecursionError) as error:
        raise NotAResult(f"the results are not JSON: {error}") from error
    if not isinstance(result, dict):
        raise NotAResult("the results are not a JSON object")
    captions = Captions(result, request.names, file=request.file)
    for kind in request.kinds:
        (work / export_name(kind)).write_bytes(captions.render(kind).encode())


def export_name(kind: str) -> str:
    return f"export.{kind}"
