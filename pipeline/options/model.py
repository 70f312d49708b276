"""The options that are built, each with what it is for; and which of them a job's identity and a stage's recipe
depend on.

The fields of `Options` are the one table: `pipeline.options.parse` reads by it, `canonical` and `for_stage` choose
by it, docs/options.md is printed from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from pipeline.options import values
from pipeline.options.values import Kind
from pipeline.types import Frozen

DECODING = "decoding"
TRANSCRIBING = "transcribing"
OUTPUT = "generating_output"


@dataclass(frozen=True, slots=True)
class Role:
    """How an option is written, and the stages whose artifact it shapes. None: it cannot change the results."""

    kind: Kind
    stages: tuple[str, ...] = ()
    ours: bool = False  # a name that Deepgram does not have


class Options(Frozen):
    """What was asked for, with everything that is implied already applied. Times in seconds.

    `pipeline.options.parse` makes one from what people write; ``Options()`` is the built-in defaults.
    """

    model: Annotated[str | None, Role(values.text, (TRANSCRIBING,))] = Field(
        default=None, description="The model, by name. Left out: the best one that is on disk."
    )
    version: Annotated[str | None, Role(values.text)] = Field(
        default=None, description="`latest`; anything else gives a warning: the version is that of the weights on disk."
    )
    language: Annotated[str | None, Role(values.language, (TRANSCRIBING,))] = Field(
        default=None, description="The language spoken. Left out: the model finds out by itself."
    )
    detect_language: Annotated[bool | tuple[str, ...], Role(values.flag_or_languages, (TRANSCRIBING, OUTPUT))] = Field(
        default=False,
        description="Detect the language, among those named if any are, and report it with its confidence.",
    )
    task: Annotated[Literal["transcribe", "translate"], Role(values.task, (TRANSCRIBING,), ours=True)] = Field(
        default="transcribe", description="Write down what is said, or its English translation (multilingual models)."
    )
    multichannel: Annotated[bool, Role(values.flag, (DECODING,))] = Field(
        default=False, description="Transcribe each channel by itself; without it the channels are mixed."
    )
    hotwords: Annotated[tuple[str, ...], Role(values.terms, (TRANSCRIBING,), ours=True)] = Field(
        default=(), description="Names and terms to listen for. `keyterm` and `keywords` are other names for it."
    )
    initial_prompt: Annotated[str | None, Role(values.text, (TRANSCRIBING,), ours=True)] = Field(
        default=None, description="Text that the model takes as having gone before: style, spelling, names."
    )
    batch_size: Annotated[int | None, Role(values.count, ours=True)] = Field(
        default=None, ge=1, description="Windows decoded side by side. Left out: the worker decides."
    )
    punctuate: Annotated[bool, Role(values.flag, (OUTPUT,))] = Field(
        default=True, description="Case and punctuation, in `transcript` and `punctuated_word`."
    )
    smart_format: Annotated[bool, Role(values.flag, (OUTPUT,))] = Field(
        default=False,
        description="Turns on punctuate and paragraphs. Numbers, dates, currencies stay as they are, with a warning.",
    )
    paragraphs: Annotated[bool, Role(values.flag, (OUTPUT,))] = Field(
        default=True, description="Sentences and paragraphs. Needs punctuate."
    )
    utterances: Annotated[bool, Role(values.flag, (OUTPUT,))] = Field(
        default=True, description="The words in groups between pauses."
    )
    utt_split: Annotated[float, Role(values.seconds, (OUTPUT,))] = Field(
        default=0.8,
        gt=0,
        le=values.MAX_SPLIT,
        description="A new utterance begins after a longer gap between words' starts.",
    )
    cache: Annotated[bool, Role(values.flag, ours=True)] = Field(
        default=True,
        description="`false`: nothing is taken from the cache, and nothing is shared through it.",
    )
    tag: Annotated[tuple[str, ...], Role(values.tags)] = Field(
        default=(), description="Labels, given back in `metadata.tags`."
    )
    extra: Annotated[dict[str, str], Role(values.pairs)] = Field(
        default={}, description="Key and value pairs, given back in `metadata.extra`."
    )


def roles() -> dict[str, Role]:
    """Each built option's role, in the order of the table."""
    return {
        name: next(mark for mark in field.metadata if isinstance(mark, Role))
        for name, field in Options.model_fields.items()
    }


_ROLES = roles()


def canonical(options: Options) -> dict[str, Any]:
    """Everything that can change the results or the facts about them: the options' share of a job's identity.

    JSON values only. What is off (None, false, an empty list) is left out, so that an option which a later version
    adds, off by default, changes no identity. ``tag``, ``extra``, ``version`` and ``batch_size`` are never in it, nor
    is ``cache``: that changes whose job it is (`pipeline.plan`), not its results.
    """
    return _shaping(options, {stage for role in _ROLES.values() for stage in role.stages})


def for_stage(options: Options, stage: str) -> dict[str, Any]:
    """The part of `canonical` that the artifact of ``stage`` depends on; nothing for a stage without options."""
    return _shaping(options, {stage})


def _shaping(options: Options, stages: set[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, role in _ROLES.items():
        value = getattr(options, name)
        if stages.isdisjoint(role.stages) or value is None or value is False or value == ():
            continue
        found[name] = list(value) if isinstance(value, tuple) else value
    return found
