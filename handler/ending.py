"""How a job ended, for one of its inputs: what its last manifest and its settled marker say. Writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from handler.layout import job_id_of
from handler.types import Manifest, Outcome, SettledMarker, Subscriber
from pipeline.errors import ErrorDetail, sentence
from pipeline.formats.times import iso_time


@dataclass(frozen=True, slots=True)
class Ending:
    """``token``: of the claim; where a finished job was met, one below that of any claim since. ``store_time``: the
    store's epoch seconds.
    """

    subscriber: Subscriber
    token: int
    store_time: float
    worker: str
    jid: str | None = None
    attempts: int = 0
    cached_stages: tuple[str, ...] = ()
    timings: tuple[tuple[str, float], ...] = ()
    started_at: str | None = None

    @property
    def job_id(self) -> str:
        return job_id_of(self.jid, self.subscriber.sid)

    def is_before(self, manifest: Manifest) -> bool:
        """Whether that is a later claim's, for the same version of the input."""
        return manifest.source_id == self.subscriber.sid and manifest.token > self.token

    def manifest(
        self,
        finished: float,
        *,
        status: Outcome,
        result: str | None = None,
        outputs: Mapping[str, str] = {},
        error: ErrorDetail | None = None,
    ) -> Manifest:
        """The last one. ``finished``: epoch seconds; ``result`` and ``outputs``: keys."""
        return Manifest(
            job_id=self.job_id,
            jid=self.jid,
            source_id=self.subscriber.sid,
            key=self.subscriber.key,
            status=status,
            stage=status,
            percent=100.0 if status == "completed" else 0.0,
            message="Completed" if error is None else sentence(error.message, error.hint),
            attempt=max(1, self.attempts),
            token=self.token,
            cached_stages=self.cached_stages,
            queued_at=self.subscriber.queued_at,
            started_at=self.started_at,
            updated_at=iso_time(self.store_time),
            finished_at=iso_time(finished),
            timings=dict(self.timings),
            worker=self.worker,
            result=result,
            outputs=dict(outputs),
            error=error,
        )

    def marker(self, outcome: Outcome, reason: str) -> SettledMarker:
        return SettledMarker(
            key=self.subscriber.key,
            sid=self.subscriber.sid,
            outcome=outcome,
            jid=self.jid,
            job_id=self.job_id,
            reason=reason,
            settled_at=iso_time(self.store_time),
        )
