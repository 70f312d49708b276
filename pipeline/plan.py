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

# Raised whenever a stage's output changes for the same input: old artifacts are then no longer hits.
CODE_VERSIONS = {"decoding": 1, "transcribing": 1, "generating_output": 1}

TRANSCRIBING = "transcribing"
GENERATING_OUTPUT = "generating_output"


@dataclass(frozen=True, slots=True)
class StagePlan:
    """A kept stage: the digest of its recipe, and the name of its artifact's file in the work directory."""

    name: str
    digest: str
    artifact: str


def stage_plans(content_sha256: str, options: Options, model: Model, jid: str | None = None) -> tuple[StagePlan, ...]:
    """The kept stages in the order of the flow. Decoding is a part of recipes, but is never kept.

    With ``cache=false`` every recipe is that of this one job, ``jid``, which must then be given (ValueError).
    """
    decoding = _digest("decoding", None, for_stage(options, "decoding"), [content_sha256, *_own(options, jid)])
    heard = {name: value for name, value in for_stage(options, TRANSCRIBING).items() if name != "model"}
    transcribing = _digest(TRANSCRIBING, [model.name, model.revision], heard, [decoding])
    output = _digest(GENERATING_OUTPUT, None, for_stage(options, GENERATING_OUTPUT), [transcribing])
    return (
        StagePlan(TRANSCRIBING, transcribing, artifact_name(TRANSCRIBING)),
        StagePlan(GENERATING_OUTPUT, output, artifact_name(GENERATING_OUTPUT)),
    )


def job_digest(content_sha256: str, options: Options, model: Model, sid: str | None = None) -> str:
    """``jid``: content, canonical options, and the pipeline's fingerprint (code versions, model revisions).

    With ``cache=false`` the job is that of one version of one input, ``sid``, which must then be given (ValueError).
    """
    fingerprint = {"code": CODE_VERSIONS, "models": {TRANSCRIBING: [model.name, model.revision]}}
    asked = {
        name: value for name, value in canonical(options).items() if name != "model"
    }  # the fingerprint names what was found
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


def _digest(stage: str, model: list[str] | None, options: dict[str, Any], inputs: list[str]) -> str:
    return _sha256([stage, CODE_VERSIONS[stage], model, options, inputs])


def _sha256(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
