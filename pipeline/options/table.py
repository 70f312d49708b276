"""docs/options.md, printed from the fields of `Options` and the names that are none, so that it cannot go stale."""

from __future__ import annotations

import json
from typing import Any

from pipeline.options.model import Options, roles
from pipeline.options.names import ALIASES, LATER, NEVER

_HEAD = """\
# Options

<!-- Printed by `python -m pipeline.options`; a test checks that it is current. -->

The names are Deepgram's; those marked † are ours. They come from four places, later ones winning, option by option:

1. the defaults below;
2. the nearest `options.json` in the recording's folder or above it;
3. a sidecar, `<key>.options.json`, written before the recording;
4. the object's own metadata, `x-amz-meta-dropscribe: language=en&tag=a&tag=b`.

Values may be JSON (`true`, `1`, lists) or text (`"true"`); `null` takes back what an earlier place said. A name
that is unknown or not built, a value that cannot be, and options that exclude each other are errors that name the
option and the place: nothing is ignored in silence. An option that is not built may be given as `false`.

`language` and `detect_language` exclude each other: within one place that is an error, otherwise the later one
wins. `smart_format` implies `punctuate` and `paragraphs`; `paragraphs` implies `punctuate`; `punctuate=false` alone
turns the default `paragraphs` off.

*Shapes* names the stages that run again when the option changes. Options that shape none are not part of a job's
identity: the same recording under other tags is the same job. `cache=false` makes the job that one recording's own:
the same bytes dropped elsewhere, or again, are another job. What was finished before a crash is still found.
"""


def table() -> str:
    """The whole document, ending in a newline."""
    lines = [_HEAD, "## Built", "", "| option | values | default | shapes | what it does |", "|---|---|---|---|---|"]
    lines += [_built_row(name) for name in Options.model_fields]
    lines += [
        f"| `{other}` | {roles()[name].kind.words} | | | Another name for `{name}`. {_alias_note(other)}|"
        for other, name in ALIASES.items()
    ]
    lines += ["", "## Known, not built yet", "", "| option | what it will do |", "|---|---|"]
    lines += [f"| `{name}` | {words} |" for name, words in LATER.items()]
    lines += ["| `language=multi` | several languages in one recording |"]
    lines += ["", "## Not supported", "", "| option | why |", "|---|---|"]
    lines += [f"| `{name}` | {words} |" for name, words in NEVER.items()]
    return "\n".join(lines) + "\n"


def _built_row(name: str) -> str:
    field, role = Options.model_fields[name], roles()[name]
    shown = f"`{name}`{' †' if role.ours else ''}"
    stages = ", ".join(role.stages) or "—"
    return f"| {shown} | {role.kind.words} | {_default(field.default)} | {stages} | {field.description} |"


def _default(value: Any) -> str:
    if value is None or value in ((), {}):
        return "—"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _alias_note(name: str) -> str:
    return "An intensifier (`word:2`) is dropped, with a warning. " if name == "keywords" else ""
