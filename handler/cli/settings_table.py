"""Prints the table of settings in docs/operations.md: ``python -m handler.cli.settings_table`` puts it there.

Takes `handler.settings.Settings`, gives Markdown between two marks. A test compares the document with it.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from handler.settings import Settings

BEGIN = "<!-- settings: begin (python -m handler.cli.settings_table docs/operations.md) -->"
END = "<!-- settings: end -->"


def table() -> str:
    """The table alone, a row for each setting in the order of the class, ending in a newline."""
    lines = ["| variable | default | what it is |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        lines.append(f"| `DROPSCRIBE_{name.upper()}` | {_default(field.default)} | {_sentence(field.description)} |")
    return "\n".join(lines) + "\n"


def put_into(document: str) -> str:
    """``document`` with the table between its two marks renewed. ValueError if it has no marks."""
    pattern = re.compile(f"{re.escape(BEGIN)}\n.*?{re.escape(END)}", re.DOTALL)
    made, count = pattern.subn(lambda found: f"{BEGIN}\n{table()}{END}", document)
    if count != 1:
        raise ValueError(f"the document has {count} places for the table instead of one")
    return made


def _sentence(text: str | None) -> str:
    assert text, "every setting has a description"
    return text[0].upper() + text[1:]


def _default(value: Any) -> str:
    if value is None:
        return "—"
    if isinstance(value, Path):  # where this machine keeps temporary files, and who we are, is no default of ours
        shown = str(value).replace(tempfile.gettempdir(), "$TMPDIR", 1)
        return f"`{shown.replace(f'dropscribe-{os.getuid()}', 'dropscribe-UID')}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def main(arguments: list[str]) -> int:
    """Renew the table in the file that is named; without one, print it."""
    if not arguments:
        sys.stdout.write(table())
        return 0
    path = Path(arguments[0])
    path.write_text(put_into(path.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
