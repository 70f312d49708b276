"""docs/options.md, printed from the fields of `Options` and the names that are none, so that it cannot go stale."""

from __future__ import annotations

import json
from typing import Any

from pipeline.options.model import DIARIZING, SEPARATING, Options, reruns, roles
from pipeline.options.names import ALIASES, REFUSED
from pipeline.options.values import NOT_REDACTED

_HEAD = """\
# Options

<!-- Printed by `python -m pipeline.options`; a test checks that it is current. -->

The names are Deepgram's; those marked † are ours. They come from four places, later ones winning, option by option:

1. the defaults below;
2. the nearest `options.json` in the recording's folder or above it;
3. a sidecar, `<key>.options.json`, written before the recording;
4. the object's own metadata, `x-amz-meta-dropscribe: language=en&tag=a&tag=b`.

Values may be JSON (`true`, `1`, lists) or text (`"true"`); `null` takes back what an earlier place said. A name
that is unknown or refused, a value that cannot be, and options that exclude each other are errors that name the
option and the place: nothing is ignored in silence. An option that is refused may be given as `false`.

`language` and `detect_language` exclude each other, and so do `speakers` and `min_speakers` or `max_speakers`: within
one place that is an error, otherwise the later one wins. `smart_format` implies `punctuate` and `paragraphs`;
`paragraphs` implies `punctuate`; `punctuate=false` alone turns the default `paragraphs` off. `dictation` needs
`punctuate`. Options that change nothing beside the others (`speakers` without `diarize`, `callback_method` without
`callback`) are left out, with a warning in `metadata.warnings`.

*State*: a **built** option does what it says. One that is built **with a model** of its own, beside the recogniser's,
is taken on a worker that has none, too: the job is then done without it, `metadata.warnings` says so, the job's record
lists the stage, and `dropscribe retry` does what is missing once the model is there. A **refused** one fails the input
with Deepgram's error object and the reason below.

*Reruns* names the stages that run again when the option changes, as far as the job has them; the artifacts of all
others come from the cache. `generating_output` loads no model. No option asks for `aligning`, which gives words the
times at which they are heard: a worker that has an aligner does it for every job but translations. Options that rerun
none are not part of a job's identity: the same recording under other tags is the same job. `cache=false` makes the job
that one recording's own: the same bytes dropped elsewhere, or again, are another job. What was finished before a crash
is still found.

`model` takes the name of a Whisper model that is on disk or in the bucket of models, `NAME@REVISION` for just that
revision of it, `sphinx`, or `auto`. Deepgram's own names (`nova-3`, `nova-2-meeting`, `enhanced`, `phonecall`, …) stand
for the worker's default model; its `whisper-tiny` to `whisper-large` for the Whisper of that size where there is one,
otherwise for the default, too. Whenever another model runs than was named, `metadata.warnings` says which.

A language that is not given is found by a vote of up to eight stretches spread over the recording, channel by channel,
among those in `detect_language` if any are; `language_confidence` is the winner's share. A given language is obeyed
even if another is spoken. A Whisper's words are judged stretch by stretch; what it does not believe itself, repeats, or
puts where nobody speaks is done again, and nothing is written for what is silence. Where no attempt was good
`metadata.warnings` says which seconds are doubtful (`low_confidence`).

The text options work on words, in this order: filler words, dictation, numbers (`smart_format`, `numerals`), units,
`replace`, `profanity_filter`, `redact`; utterances, paragraphs and captions are made from what they leave, so nothing
masked is anywhere in a result. A word that was merged out of several ("twenty five dollars", `$25`) has their time.
Nothing is merged or found across two speakers, punctuation, or a silence longer than `utt_split`. What a model wrote
in digits stays, and so do words that may be read in two ways ("ten twenty dollars"). Rules for English need to know
that it is: give `language`, or let the model detect it. Numbers are written in Danish, Dutch, French, German,
Italian, Portuguese and Spanish, too; where an option cannot do what it says, `metadata.warnings` tells.

`redact=numbers` masks every number, also "one" and "first", with four stars, and while the job runs there is no
partial transcript in the manifest. The transcript as it was heard stays in the cache, under `.dropscribe/v1/`: who
may read that may read the numbers. In languages whose numbers cannot be read only digits are masked, and a warning
says so. `replace` compares bare words, whatever their case and apostrophes; the longest phrase wins, and a sign that
it begins with (`.net`) has to be there. A spoken sign that `dictation` has nowhere to put stays a word. `search` is
an approximation: Deepgram's compares sounds, this one letters. A hit that says the term has confidence 1 and comes
first; others are spelled much like it.
"""


def table() -> str:
    """The whole document, ending in a newline."""
    lines = [_HEAD, "| option | state | values | default | reruns | what it does |", "|---|---|---|---|---|---|"]
    lines += [_row(name) for name in Options.model_fields]
    lines += [
        f"| `{other}` | {_state(other)} | {roles()[name].kind.words} | | | Another name for `{name}`. "
        f"{_alias_note(other)}|"
        for other, name in ALIASES.items()
    ]
    lines += [
        f"| `redact={named}` | refused | | | | Not supported: {NOT_REDACTED}. |"
        for named in ("pii", "pci", "ssn", "phi")
    ]
    lines += [f"| `{name}` | refused | | | | Not supported: {words}. |" for name, words in REFUSED.items()]
    return "\n".join(lines) + "\n"


def _row(name: str) -> str:
    field, role = Options.model_fields[name], roles()[name]
    shown = f"`{name}`{' †' if role.ours else ''}"
    stages = ", ".join(reruns(role)) or "—"
    return (
        f"| {shown} | {_state(name)} | {role.kind.words} | {_default(field.default)} | {stages} | {field.description} |"
    )


def _state(name: str) -> str:
    stages = roles()[ALIASES.get(name, name)].stages
    return "built, with a model" if {SEPARATING, DIARIZING}.intersection(stages) else "built"


def _default(value: Any) -> str:
    if value is None or value in ((), {}):
        return "—"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _alias_note(name: str) -> str:
    return "An intensifier (`word:2`) is dropped, with a warning. " if name == "keywords" else ""
