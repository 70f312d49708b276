"""What a job's stages beside the recogniser do where they cannot do their work: they say why, and the job goes on.

Takes what the job was planned with, and something to try; gives its answer or a reason. Knows nothing of what is tried.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from pipeline.beside import Role
from pipeline.companions import Companions
from pipeline.errors import ModelUnavailable, OutOfMemory, PipelineError, sentence
from pipeline.models.failures import is_out_of_memory, reason
from pipeline.options import Options

if TYPE_CHECKING:
    from pipeline.models import Models

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class Degrading:
    """One job's options, the models that it was planned with, and those that are loaded."""

    def __init__(self, options: Options, companions: Companions, models: Models) -> None:
        self._options = options
        self._companions = companions
        self._models = models

    def _missing(self, role: Role) -> ModelUnavailable:
        """It is switched off, or damaged, or there is none."""
        return ModelUnavailable(*self._companions.why_not(role))

    def _attempt(self, kinds: Sequence[str], failed: str, act: Callable[[], Answer]) -> Answer | str:
        """What ``act`` gives, or why it could not. A lost GPU, a full disk and what nobody foresaw end the job.
        ``kinds``: of the models that are through then.
        """
        try:
            return act()
        except (ModelUnavailable, OutOfMemory) as error:
            told: PipelineError = error
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            told = OutOfMemory(f"memory ran out ({reason(error)})")  # beside the model, which steps down by itself
        finally:
            for kind in kinds:
                self._models.rest(kind)
        why = because(failed, told)
        log.warning("%s", why)
        return why


def because(failed: str, error: PipelineError) -> str:
    return f"{failed}: {sentence(error.message, error.hint)}"
