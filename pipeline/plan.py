"""Which stages a job has, and the digest of each one's recipe: known before anything runs.

A digest covers the stage's name and code version, the model's revision, the options the stage depends on, and the
digests of what it reads. So a changed option changes the digests of the stages it touches and of those behind them,
and of no other. With ``cache=false`` all digests are the one job's own.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from pipeline.catalog import Model
from pipeline.options import Options, canonical, for_stage
from pipeline.options.model import DECODING, DIARIZING, SEPARATING, TRANSCRIBING
from pipeline.options.model import OUTPUT as GENERATING_OUTPUT

__all__ = [
    "CODE_VERSIONS", "DECODING", "DIARIZING", "GENERATING_OUTPUT", "SEPARATING", "TRANSCRIBING", "StagePlan",
    "artifact_name", "job_digest", "recipes", "stage_plans",
]  # fmt: skip

# Raised whenever a stage's output changes for the same input: old artifacts are then no longer hits.
CODE_VERSIONS = {DECODING: 1, SEPARATING: 1, TRANSCRIBING: 2, DIARIZING: 1, GENERATING_OUTPUT: 2}


@dataclass(frozen=True, slots=True)
class StagePlan:
    """A kept stage: the digest of its recipe, and the name of its artifact's file in the work directory."""

    name: str
    digest: str
    artifact: str


def recipes(content_sha256: str, options: Options, model: Model, jid: str | None = None) -> dict[str, str]:
    """The digest of each stage that the job has, in the order of the flow; those that keep nothing included.

    With ``cache=false`` every recipe is that of this one job, ``jid``, which must then be given (ValueError).
    """
    found = {DECODING: _digest(DECODING, None, options, [content_sha256, *_own(options, jid)])}
    heard = DECODING
    if options.stemming != "false":
        found[SEPARATING] = _digest(SEPARATING, None, options, [found[DECODING]])
        heard = SEPARATING
    found[TRANSCRIBING] = _digest(TRANSCRIBING, [model.name, model.revision], options, [found[heard]])
    if options.diarize:
        found[DIARIZING] = _digest(DIARIZING, None, options, [found[heard]])
    read = [found[stage] for stage in (TRANSCRIBING, DIARIZING) if stage in found]
    found[GENERATING_OUTPUT] = _digest(GENERATING_OUTPUT, None, options, read)
    return found


def stage_plans(content_sha256: str, options: Options, model: Model, jid: str | None = None) -> tuple[StagePlan, ...]:
    """The kept stages in the order of the flow, by `recipes`."""
    found = recipes(content_sha256, options, model, jid)
    return tuple(StagePlan(stage, found[stage], artifact_name(stage)) for stage in (TRANSCRIBING, GENERATING_OUTPUT))


def job_digest(content_sha256: str, options: Options, model: Model, sid: str | None = None) -> str:
    """``jid``: content, canonical options, and the pipeline's fingerprint (code versions, model revisions).

    With ``cache=false`` the job is that of one version of one input, ``sid``, which must then be given (ValueError).
    """
    # Of the stages that the job has: a new diarizer leaves the jobs without one what they were.
    code = {stage: CODE_VERSIONS[stage] for stage in recipes(content_sha256, options, model, sid)}
    fingerprint = {"code": code, "models": {TRANSCRIBING: [model.name, model.revision]}}
    asked = _without_model(canonical(options))
    return _sha256([content_sha256, asked, fingerprint, *_own(options, sid)])


def artifact_name(stage: str) -> str:
    return f"{stage}.json"


def _own(options: Options, owner: str | None) -> list[str]:
    """What makes digests nobody else's, where the options ask for that."""
    if options.cache:
        return []
    if owner is None:
        raise ValueError("cache=false needs to know whose the job is")
    return [owner]


def _digest(stage: str, model: list[str] | None, options: Options, inputs: list[str]) -> str:
    return _sha256([stage, CODE_VERSIONS[stage], model, _without_model(for_stage(options, stage)), inputs])


def _without_model(options: dict[str, Any]) -> dict[str, Any]:
    """What was asked for by name does not matter where the model that was found is named beside it."""
    return {name: value for name, value in options.items() if name != "model"}


def _sha256(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
