"""A batch file's bytes, line by line: which keys and globs are asked for, under which options, and what is wrong.

Takes bytes; makes no request, so it does not know which recordings there are.
"""

from __future__ import annotations

import fnmatch
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from handler.errors import BadBatch
from handler.layout import is_recording
from handler.types import canonical_json
from pipeline.errors import OptionsError, sentence
from pipeline.options import parse

MAX_BYTES = 64 * 2**20
MAX_MEMBERS = 100_000
MAX_GLOBS = 100  # each is tried on every recording
TOLD = 10  # lines that an error names
_LONGEST = 300  # characters of what is said of a line
_KEY_BYTES = 1024
_FIELDS = ("key", "glob", "options")
_EXAMPLE = '{"key": "calls/a.mp3"}'


@dataclass(slots=True)
class Problems:
    """What is wrong, by line, counted from 1. The first few are kept, all are counted."""

    count: int = 0
    _told: list[tuple[int, str]] = field(default_factory=list)

    def add(self, number: int, what: str) -> None:
        self.count += 1
        safe = what.encode(errors="replace").decode()  # half a surrogate pair can be said in JSON, and nowhere else
        self._told.append((number, safe if len(safe) <= _LONGEST else f"{safe[:_LONGEST]}…"))
        if len(self._told) > 2 * TOLD:
            self._told = sorted(self._told)[:TOLD]

    def refuse(self, key: str) -> None:
        """`BadBatch` if there is any."""
        if not self.count:
            return
        lines = "; ".join(f"line {number}: {what}" for number, what in sorted(self._told)[:TOLD])
        more = f"; and {self.count - TOLD:,} more" if self.count > TOLD else ""
        wrong = "1 line is wrong" if self.count == 1 else f"{self.count:,} lines are wrong"
        raise BadBatch(f"{wrong} in {key}: {lines}{more}")


@dataclass(frozen=True, slots=True)
class Ask:
    """A line's wish. ``options``: a place in `Lines.options`, None for those of the key's ordinary job."""

    number: int
    options: int | None


@dataclass(slots=True)
class Glob:
    ask: Ask
    text: str
    pattern: re.Pattern[str]
    matched: bool = False

    @property
    def fixed(self) -> str:
        """What every key that matches begins with."""
        return re.split(r"[*?\[]", self.text, maxsplit=1)[0]


@dataclass(slots=True)
class Lines:
    """Of several lines for one key the last; globs in the order of their lines."""

    keys: dict[str, Ask] = field(default_factory=dict)
    globs: list[Glob] = field(default_factory=list)
    options: list[dict[str, Any]] = field(default_factory=list)
    problems: Problems = field(default_factory=Problems)
    _places: dict[bytes, int | str] = field(default_factory=dict)  # of options met before, or what is wrong with them

    def add(self, number: int, text: str) -> None:
        """One line that is not blank."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            return self.problems.add(number, f"this is not JSON ({error})")
        if not isinstance(value, dict):
            return self.problems.add(number, f"this is not an object; write for example {_EXAMPLE}")
        unknown = sorted(set(value) - set(_FIELDS))
        if unknown:
            return self.problems.add(number, f"there is no field {unknown[0]}; there are {', '.join(_FIELDS)}")
        named = [name for name in ("key", "glob") if name in value]
        if len(named) != 1:
            return self.problems.add(number, "a line has either a key or a glob")
        name, wanted = named[0], value[named[0]]
        if not isinstance(wanted, str) or not wanted:
            return self.problems.add(number, f"its {name} is not a text")
        if not _is_key(wanted):
            return self.problems.add(number, f"no key in a bucket can be {wanted}")
        options = self._options(number, value.get("options"))
        if isinstance(options, str):
            return self.problems.add(number, options)
        return self._want(name, wanted, Ask(number, options))

    def _want(self, name: str, wanted: str, ask: Ask) -> None:
        if name == "glob":
            if len(self.globs) == MAX_GLOBS:
                raise BadBatch(f"there are more than {MAX_GLOBS} globs", "Join them, or name the keys.")
            self.globs.append(Glob(ask, wanted, re.compile(fnmatch.translate(wanted))))
        elif not is_recording(wanted):
            self.problems.add(ask.number, f"{wanted} is not the key of a recording")
        else:
            self.keys[wanted] = ask
            if len(self.keys) > MAX_MEMBERS:
                raise BadBatch(f"it asks for more than {MAX_MEMBERS:,} recordings", "Divide it.")

    def _options(self, number: int, value: Any) -> int | str | None:
        """The place of these options, or what is wrong with them."""
        if value is None or value == {}:
            return None
        if not isinstance(value, dict):
            return "its options are not an object"
        try:
            text = canonical_json(value)
        except ValueError as error:
            return f"its options cannot be written as JSON ({error})"
        if text not in self._places:
            try:
                parse(("options", value))
            except OptionsError as error:
                self._places[text] = sentence(error.message, error.hint)
            else:
                self._places[text] = len(self.options)
                self.options.append(value)
        return self._places[text]


def _is_key(text: str) -> bool:
    try:
        return len(text.encode()) <= _KEY_BYTES and "\0" not in text
    except UnicodeEncodeError:
        return False


def read_lines(body: bytes) -> Lines:
    """Every line's wish, and in `Lines.problems` what is wrong with the others. `BadBatch` over a limit."""
    if len(body) > MAX_BYTES:
        raise BadBatch(f"it has {len(body):,} bytes; the limit is {MAX_BYTES:,}", "Divide it.")
    lines = Lines()
    number = 0
    for number, text in _texts(body, lines.problems):
        lines.add(number, text)
    if not number and not lines.problems.count:
        raise BadBatch("there is no line in it", f"Write one object a line, for example {_EXAMPLE}.")
    return lines


def _texts(body: bytes, problems: Problems) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(io.BytesIO(body.removeprefix(b"\xef\xbb\xbf")), start=1):
        try:
            text = line.decode().strip()
        except UnicodeDecodeError:
            problems.add(number, "this is not UTF-8")
            continue
        if text:
            yield number, text
