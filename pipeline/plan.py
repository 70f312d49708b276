"""Which stages a job has, and the digest of each one's recipe: known before anything runs.

A digest covers the stage's name and code version, the revisions of the models that it may use, the options the stage
depends on, and the digests of what it reads. So a changed option, or another model of one stage, changes the digests of
the stages it touches and of those behind them, and of no other. With ``cache=false`` all digests are the one job's own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from pipeline.aligners import AlignerModel, for_language
from pipeline.catalog import Model
from pipeline.companions import Companion, Companions
from pipeline.errors import ModelUnavailable
from pipeline.hints import Hints
from pipeline.options import Options, canonical, for_stage
from pipeline.options.model import ALIGNING, BEHIND, DECODING, DIARIZING, SEPARATING, TRANSCRIBING
from pipeline.options.model import OUTPUT as GENERATING_OUTPUT
from pipeline.options.values import MULTI
from pipeline.punctuators import Punctuator

__all__ = [
    "ALIGNING",
    "CODE_VERSIONS",
    "DECODING",
    "DIARIZING",
    "GENERATING_OUTPUT",
    "POST_PROCESSING",
    "SEPARATING",
    "TRANSCRIBING",
    "StagePlan",
    "aligners_for",
    "artifact_name",
    "can_align",
    "can_diarize",
    "diarizer_for",
    "job_digest",
    "made_of",
    "people",
    "punctuator_for",
    "recipes",
    "stage_plans",
    "stages_of",
]  # fmt: skip

# Raised whenever a stage's output changes for the same input: old artifacts are then no longer hits.
CODE_VERSIONS = {DECODING: 1, SEPARATING: 1, TRANSCRIBING: 2, ALIGNING: 1, DIARIZING: 1, GENERATING_OUTPUT: 2}

POST_PROCESSING = "post_processing"  # beside these: what is done to the words before they are written

_NOBODY = Companions()


@dataclass(frozen=True, slots=True)
class StagePlan:
    """A kept stage: the digest of its recipe, and the name of its artifact's file in the work directory.

    ``reads``: the job's stages that its artifact depends on, those in between included; if one of them is degraded, so
    is this one. ``keeps``: False where nothing comes of it that could be kept: this machine has nothing to do it with,
    or there is nothing to find out.
    """

    name: str
    digest: str
    artifact: str
    reads: frozenset[str] = frozenset()
    keeps: bool = True


def recipes(
    content_sha256: str, options: Options, model: Model, jid: str | None = None, companions: Companions = _NOBODY
) -> dict[str, str]:
    """The digest of each stage that the job has, in the order of the flow; those that keep nothing included.

    With ``cache=false`` every recipe is that of this one job, ``jid``, which must then be given (ValueError).
    """
    models = _models(options, model, companions)
    found: dict[str, str] = {}
    for stage, read in _reads(stages_of(options, companions)).items():
        inputs = [found[one] for one in read] or [content_sha256, *_own(options, jid)]
        asked = _without_model(for_stage(options, stage))
        found[stage] = _sha256([stage, CODE_VERSIONS[stage], models.get(stage), asked, inputs])
    return found


def stage_plans(
    content_sha256: str, options: Options, model: Model, jid: str | None = None, companions: Companions = _NOBODY
) -> tuple[StagePlan, ...]:
    """The kept stages in the order of the flow, by `recipes`."""
    found = recipes(content_sha256, options, model, jid, companions)
    keeps = {
        ALIGNING: can_align(options, companions),
        DIARIZING: can_diarize(options, companions) and not people(options).alone,
    }
    before = _before(found)
    return tuple(
        StagePlan(stage, digest, artifact_name(stage), before[stage] | _after_all(stage), keeps.get(stage, True))
        for stage, digest in found.items()
        if stage != DECODING
    )


def made_of(plans: Iterable[StagePlan]) -> tuple[StagePlan, ...]:
    """Of a job's stages those from whose artifacts alone its results can be written: with them at hand nobody needs the
    recording.
    """
    kept = {plan.name: plan for plan in plans if plan.keeps}
    words = kept.get(ALIGNING, kept[TRANSCRIBING])
    return tuple(plan for plan in (words, kept.get(DIARIZING)) if plan is not None)


def job_digest(
    content_sha256: str, options: Options, model: Model, sid: str | None = None, companions: Companions = _NOBODY
) -> str:
    """``jid``: content, canonical options, and the pipeline's fingerprint (code versions, model revisions).

    With ``cache=false`` the job is that of one version of one input, ``sid``, which must then be given (ValueError).
    """
    # Of the stages that the job has: a new diarizer leaves the jobs without one what they were.
    code = {stage: CODE_VERSIONS[stage] for stage in stages_of(options, companions)}
    fingerprint = {"code": code, "models": _models(options, model, companions)}
    asked = _without_model(canonical(options))
    return _sha256([content_sha256, asked, fingerprint, *_own(options, sid)])


def artifact_name(stage: str) -> str:
    return f"{stage}.flac" if stage == SEPARATING else f"{stage}.json"


# ── the models of a job's stages ─────────────────────────────────────────────────────────────────────────────────────


def aligners_for(options: Options, companions: Companions) -> tuple[AlignerModel, ...]:
    """Those that the job may use: the one of its language, or all where the language is yet to be heard."""
    if options.language is None or options.language == MULTI:
        return companions.aligners
    try:
        return (for_language(options.language, companions.aligners),)
    except ModelUnavailable:
        return ()


def can_align(options: Options, companions: Companions) -> bool:
    return bool(aligners_for(options, companions))


def people(options: Options) -> Hints:
    """How many people speak, as far as the options say."""
    return Hints(speakers=options.speakers, least=options.min_speakers, most=options.max_speakers)


def diarizer_for(options: Options, companions: Companions) -> Companion | None:
    """The model that tells the speakers of one channel apart: the Sortformer for few, the model of voices for many, or
    either in place of the other. None where none is needed, too.
    """
    hints = people(options)
    if hints.alone:
        return None
    first, second = companions.few, companions.many
    if hints.many:
        first, second = second, first
    return first or second


def can_diarize(options: Options, companions: Companions) -> bool:
    """Whether there may be speakers: a model finds them, there is but one, or each channel is one."""
    return options.multichannel or people(options).alone or diarizer_for(options, companions) is not None


def punctuator_for(options: Options, companions: Companions) -> Punctuator | None:
    """The model that restores punctuation where it is missing, which is not known yet."""
    return companions.punctuator if options.punctuate else None


def _models(options: Options, model: Model, companions: Companions) -> dict[str, Any]:
    """What identifies the models of each stage that has some."""
    found: dict[str, Any] = {TRANSCRIBING: [model.name, model.revision]}
    stages = stages_of(options, companions)
    if SEPARATING in stages and companions.separator is not None:
        found[SEPARATING] = _named(companions.separator)
    if ALIGNING in stages:
        found[ALIGNING] = [_named(one) for one in aligners_for(options, companions)]
    if DIARIZING in stages and (diarizer := diarizer_for(options, companions)) is not None:
        found[DIARIZING] = _named(diarizer)
    if (punctuator := punctuator_for(options, companions)) is not None:
        found[GENERATING_OUTPUT] = _named(punctuator)
    return found


def _named(model: Companion | AlignerModel | Punctuator) -> list[str]:
    return [model.info.name, model.info.revision]


# ── the flow ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def stages_of(options: Options, companions: Companions) -> tuple[str, ...]:
    """Those that the job has, in the order of the flow.

    Words are aligned where there is any aligner at all, or would be if it were whole; no option asks for it. A
    translation's are not: what was said is not what is written.
    """
    aligner = bool(companions.aligners or companions.broken("aligner"))
    has = {
        SEPARATING: options.stemming != "false",
        ALIGNING: aligner and options.task != "translate",
        DIARIZING: options.diarize,
    }
    return tuple(stage for stage in BEHIND if has.get(stage, True))


def _reads(stages: Collection[str]) -> dict[str, tuple[str, ...]]:
    """For each of a job's stages, in order, those whose output it is made of. An aligner hears the same sound as the
    recogniser.
    """
    sound = SEPARATING if SEPARATING in stages else DECODING
    words = ALIGNING if ALIGNING in stages else TRANSCRIBING
    read = {
        DECODING: (), SEPARATING: (DECODING,), TRANSCRIBING: (sound,), ALIGNING: (TRANSCRIBING,), DIARIZING: (sound,),
        GENERATING_OUTPUT: (words, DIARIZING),
    }  # fmt: skip
    return {stage: tuple(one for one in read[stage] if one in stages) for stage in stages}


def _after_all(stage: str) -> frozenset[str]:
    return frozenset({POST_PROCESSING}) if stage == GENERATING_OUTPUT else frozenset()


def _before(stages: Collection[str]) -> dict[str, frozenset[str]]:
    """For each stage all that it depends on."""
    found: dict[str, frozenset[str]] = {}
    for stage, read in _reads(stages).items():
        found[stage] = frozenset(read).union(*(found[one] for one in read))
    return found


def _own(options: Options, owner: str | None) -> list[str]:
    """What makes digests nobody else's, where the options ask for that."""
    if options.cache:
        return []
    if owner is None:
        raise ValueError("cache=false needs to know whose the job is")
    return [owner]


def _without_model(options: dict[str, Any]) -> dict[str, Any]:
    """What was asked for by name does not matter where the model that was found is named beside it."""
    return {name: value for name, value in options.items() if name != "model"}


def _sha256(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
