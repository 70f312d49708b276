"""Deepgram's error object, with what else a person needs. Takes an `ErrorDetail`, gives bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import ErrorDetail


def error_part(
    detail: ErrorDetail,
    *,
    request_id: str,
    key: str,
    attempts: int,
    failures: Sequence[Mapping[str, Any]] = (),
) -> bytes:
    """Deepgram's error object, and what else a person needs; indented, because people open it.

    ``request_id`` is the job's id, ``key`` the input's. ``failures``: the attempts that went before, as JSON
    values, only when there are any; what is None in them is left out.
    """
    error: dict[str, Any] = {
        "err_code": detail.code,
        "err_msg": detail.message,
        "request_id": request_id,
        "job_id": request_id,
        "key": key,
        "class": detail.error_class,
        "hint": detail.hint,
        "retryable": detail.retryable,
        "attempts": attempts,
    }
    if failures:
        error["failures"] = [{name: value for name, value in one.items() if value is not None} for one in failures]
    return json.dumps(error, ensure_ascii=False, indent=2).encode() + b"\n"
