"""A worker's log for programs: one JSON object a line, with the job under way.

Takes log records and the observer; gives lines. Threads that serve somebody else than the present job (callbacks, the
next recording, the webhook) do not name it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

from handler.observer import Doing
from pipeline.formats.times import iso_time

_OF_OTHERS = {"beside", "webhook", "health"}  # names of threads

Present = Callable[[], Doing | None]


class JsonLines(logging.Formatter):
    """Keys, always: time (UTC), level, logger, message, worker; with a job under way job_id, key, attempt and stage;
    with a traceback exception. No line can hold another one: what control characters there are, JSON escapes.
    """

    def __init__(self, worker: str, present: Present) -> None:
        super().__init__()
        self._worker = worker
        self._present = present

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": iso_time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "worker": self._worker,
        }
        doing = self._present()
        if doing is not None and record.threadName not in _OF_OTHERS:
            line |= {"job_id": doing.job_id, "key": doing.key, "attempt": doing.attempt, "stage": doing.stage}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)
