"""The options, each with what it is for; and which of them a job's identity and a stage's recipe depend on.

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
SEPARATING = "separating_vocals"
TRANSCRIBING = "transcribing"
ALIGNING = "aligning"
DIARIZING = "diarizing"
OUTPUT = "generating_output"

# The flow: which stages read what a stage makes. Those behind one that runs again run again, too.
BEHIND = {
    DECODING: (SEPARATING, TRANSCRIBING, DIARIZING),
    SEPARATING: (TRANSCRIBING, DIARIZING),
    TRANSCRIBING: (ALIGNING, OUTPUT),
    ALIGNING: (OUTPUT,),
    DIARIZING: (OUTPUT,),
    OUTPUT: (),
}

# Options of one input's own copy of the result. They shape no stage, so no job's record and no engine needs them.
OF_ONE_INPUT = frozenset({"tag", "extra", "outputs", "callback", "callback_method"})


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
        default=None,
        description="The language spoken; `multi`: several in one recording, found for each stretch of up to 30 s, and "
        "named in each word. Left out: the model finds out by itself.",
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
    diarize: Annotated[bool, Role(values.flag, (DIARIZING,))] = Field(
        default=False,
        description="Who speaks when: `speaker` in every word. With several channels and multichannel each channel is "
        "a speaker.",
    )
    speakers: Annotated[int | None, Role(values.speakers, (DIARIZING,), ours=True)] = Field(
        default=None, ge=1, le=values.MAX_SPEAKERS, description="How many people speak, where that is known."
    )
    min_speakers: Annotated[int | None, Role(values.speakers, (DIARIZING,), ours=True)] = Field(
        default=None, ge=1, le=values.MAX_SPEAKERS, description="At least so many people speak."
    )
    max_speakers: Annotated[int | None, Role(values.speakers, (DIARIZING,), ours=True)] = Field(
        default=None, ge=1, le=values.MAX_SPEAKERS, description="At most so many people speak."
    )
    stemming: Annotated[Literal["auto", "true", "false"], Role(values.stemming, (SEPARATING,), ours=True)] = Field(
        default="false",
        description="Take the voices out of music first: always, or where there is music (`auto`).",
    )
    hotwords: Annotated[tuple[str, ...], Role(values.terms, (TRANSCRIBING,), ours=True)] = Field(
        default=(), description="Names and terms to listen for. `keyterm` and `keywords` are other names for it."
    )
    initial_prompt: Annotated[str | None, Role(values.text, (TRANSCRIBING,), ours=True)] = Field(
        default=None, description="Text that the model takes as having gone before: style, spelling, names."
    )
    suppress_numerals: Annotated[bool, Role(values.flag, (TRANSCRIBING,), ours=True)] = Field(
        default=False, description="The model spells numbers out, which aligns better; `numerals` may turn them back."
    )
    batch_size: Annotated[int | None, Role(values.count, ours=True)] = Field(
        default=None, ge=1, description="Windows decoded side by side. Left out: the worker decides."
    )
    punctuate: Annotated[bool, Role(values.flag, (OUTPUT,))] = Field(
        default=True, description="Case and punctuation, in `transcript` and `punctuated_word`."
    )
    smart_format: Annotated[bool, Role(values.flag, (OUTPUT,))] = Field(
        default=False,
        description="Turns on punctuate and paragraphs, and writes numbers, dates, times, currencies, phone numbers, "
        "e-mails and URLs as people do. English.",
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
    numerals: Annotated[bool, Role(values.flag, (OUTPUT,))] = Field(
        default=False, description="Numbers as digits; those below ten only where something asks for it."
    )
    measurements: Annotated[bool, Role(values.flag, (OUTPUT,))] = Field(
        default=False, description="Units as abbreviations, behind a number. English."
    )
    dictation: Annotated[bool, Role(values.flag, (OUTPUT,))] = Field(
        default=False, description="Spoken punctuation (`comma`, `new paragraph`) as signs. Needs punctuate. English."
    )
    filler_words: Annotated[bool, Role(values.flag, (OUTPUT,))] = Field(
        default=False, description="Keep `uh` and `um`, which are left out otherwise. English."
    )
    profanity_filter: Annotated[bool, Role(values.flag, (OUTPUT,))] = Field(
        default=False, description="Swear words as `****`. English."
    )
    replace: Annotated[tuple[tuple[str, str], ...], Role(values.replacements, (OUTPUT,))] = Field(
        default=(), description="Terms written otherwise; with nothing behind the colon, left out."
    )
    redact: Annotated[tuple[str, ...], Role(values.redactions, (OUTPUT,))] = Field(
        default=(),
        description="What is masked: numbers, in words too. What needs an entity model (`pii`, `pci`, …) is refused.",
    )
    search: Annotated[tuple[str, ...], Role(values.searched, (OUTPUT,))] = Field(
        default=(),
        description="Terms to look for; `search` in each channel has where. Found in the text, not the sound.",
    )
    outputs: Annotated[tuple[str, ...], Role(values.outputs, ours=True)] = Field(
        default=(), description="Files beside the JSON: captions, plain text, who spoke when."
    )
    callback: Annotated[str | None, Role(values.url)] = Field(
        default=None, description="Where the result is sent once it is stored."
    )
    callback_method: Annotated[Literal["POST", "PUT"], Role(values.method)] = Field(
        default="POST", description="How it is sent."
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


def reruns(role: Role) -> tuple[str, ...]:
    """The stages that run again when an option of that role changes, in the order of the flow, as far as a job has
    them.
    """
    stages = set(role.stages)
    for stage in BEHIND:
        if stage in stages:
            stages.update(BEHIND[stage])
    return tuple(stage for stage in BEHIND if stage in stages)


_ROLES = roles()


def canonical(options: Options) -> dict[str, Any]:
    """Everything that can change the results or the facts about them: the options' share of a job's identity.

    JSON values only. What is off (None, false, an empty list) is left out, so that an option which a later version
    adds, off by default, changes no identity. Those of `OF_ONE_INPUT`, ``version`` and ``batch_size`` are never in it,
    nor is ``cache``: that changes whose job it is (`pipeline.plan`), not its results.
    """
    return _shaping(options, {stage for role in _ROLES.values() for stage in role.stages})


def for_stage(options: Options, stage: str) -> dict[str, Any]:
    """The part of `canonical` that the artifact of ``stage`` depends on; nothing for a stage without options."""
    return _shaping(options, {stage})


def _shaping(options: Options, stages: set[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, role in _ROLES.items():
        value = getattr(options, name)
        if not stages.isdisjoint(role.stages) and not _off(value):
            found[name] = _json(value)
    return found


def _off(value: object) -> bool:
    return value is None or value is False or value in ((), "false")


def _json(value: Any) -> Any:
    return [_json(entry) for entry in value] if isinstance(value, tuple) else value
