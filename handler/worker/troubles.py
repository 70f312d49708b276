"""What goes wrong with one input: it is that input's own affair, settled with an error or looked at again later.

Takes what was raised while an input was seen; says whether the input is settled. Only a model of the worker's own that
cannot be loaded passes through. Knows nothing of what is done with an input.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from handler.errors import Changed, HandlerError, LeaseLost, NotFound
from handler.settings import Settings
from handler.types import Subscriber
from handler.worker.claims import Claims
from handler.worker.intake import Intake, Noticed
from handler.worker.lookout import Interrupted
from handler.worker.memory import LOOK_AGAIN_SECONDS, Memory
from pipeline.errors import ModelUnavailable, PipelineError, sentence

log = logging.getLogger(__name__)


class Troubles:
    """``later``: called with an input's sid and the seconds for which it is not to be looked at."""

    def __init__(
        self,
        memory: Memory,
        settings: Settings,
        intake: Intake,
        claims: Claims,
        *,
        later: Callable[[str, float], None],
    ) -> None:
        self._memory = memory
        self._settings = settings
        self._intake = intake
        self._claims = claims
        self._later = later

    def safely(self, key: str, sid: str, see: Callable[[], bool]) -> bool:
        """What ``see`` gives: whether the input is settled. False if something went wrong."""
        try:
            return see()
        except Interrupted:
            return False
        except ModelUnavailable:
            raise
        except NotFound:
            log.info("%s: deleted meanwhile", key)
        except Changed as error:
            log.info("%s: %s", key, error.message)
        except LeaseLost as error:
            log.warning("%s: %s", key, error.message)
        except HandlerError as error:
            log.error("%s: %s", key, sentence(error.message, error.hint))
            self._later(sid, self._memory.patience(sid))
            return False
        except OSError as error:  # of the work directory
            log.error("%s: %s; looked at again later", key, error)
        except Exception:
            log.exception("%s: an error of ours; looked at again later", key)
        self._later(sid, LOOK_AGAIN_SECONDS)
        return False

    def refuse(self, noticed: Noticed, subscriber: Subscriber, error: HandlerError | PipelineError) -> bool:
        """Something is wrong before there is a job to charge. Passing troubles are tried as often as a job would be."""
        sid = noticed.sid
        self._memory.troubles[sid] += 1
        attempts = self._memory.troubles[sid]
        if error.retryable and attempts < self._settings.max_attempts:
            log.warning("%s: %s (attempt %d)", noticed.source.key, sentence(error.message, error.hint), attempts)
            self._later(sid, self._settings.backoff_seconds * 2 ** (attempts - 1))
            return False
        if self._intake.settled(sid):  # by a worker that met the same
            return True
        told = self._claims.endings.refused(noticed, subscriber, error.to_detail(), attempts)
        return self._claims.unless_left(sid, told)
