"""What a check takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from handler.cli.bucket import Bucket, open_bucket
from handler.cli.runtime import Runtime
from handler.settings import Settings
from pipeline.types import Frozen


class Finding(Frozen):
    """``detail`` is what is there, ``advice`` what a person should do about it. ``warn`` does not fail the command."""

    status: Literal["ok", "warn", "fail"]
    detail: str
    advice: str = ""


@dataclass(frozen=True)
class Context:
    """What checks may look at. ``url``: the bucket's, None without one."""

    settings: Settings
    runtime: Runtime
    url: str | None

    @cached_property
    def bucket(self) -> Bucket:
        """Opened at the first use, so that a wrong URL is that check's failure."""
        assert self.url is not None
        return open_bucket(self.url, self.runtime)
