"""What a check takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from handler.cli.bucket import Bucket, open_bucket
from handler.cli.runtime import Runtime
from handler.settings import Settings
from pipeline.catalog import SPHINX, resolve
from pipeline.errors import PipelineError
from pipeline.machine import Machine
from pipeline.types import Frozen


class Finding(Frozen):
    """``detail`` is what is there, ``advice`` what a person should do about it. ``warn`` does not fail the command.
    ``data``: the same for programs, where there is more of it than words.
    """

    status: Literal["ok", "warn", "fail"]
    detail: str
    advice: str = ""
    data: Any = None


@dataclass(frozen=True)
class Context:
    """What checks may look at. ``url``: the bucket's, None without one; ``queue``: a queue's URL or name, if one is
    named.
    """

    settings: Settings
    runtime: Runtime
    url: str | None
    queue: str | None = None

    @cached_property
    def bucket(self) -> Bucket:
        """Opened at the first use, so that a wrong URL is that check's failure."""
        assert self.url is not None
        return open_bucket(self.url, self.runtime)

    @cached_property
    def machine(self) -> Machine:
        """The probe's findings, with the default model where there is one. `EngineDied`."""
        settings = self.settings
        try:
            model = resolve(settings.model, settings.models, settings.home, trusted=True)
        except PipelineError:  # the check of the default model says what is wrong with it
            return self.runtime.probe(settings, SPHINX)
        return self.runtime.probe(settings, model.folder or SPHINX)
