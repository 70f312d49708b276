"""What people call the speakers: a ``speakers.json``, ``{"0": "Alice", "1": "Bob"}``.

Takes its bytes; gives the names that can be used, and in words what is wrong with the rest. Whatever is wrong, there is
an answer: a name is no reason to lose a transcript. Does not know where the file lies.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from pipeline.formats.captions.spoken import clean

MAX_BYTES = 64 * 1024
MAX_NAME = 100  # characters
MAX_NAMES = 1_000

_KEY = re.compile(r"\d{1,4}(:\d{1,4})?", re.ASCII)
_EXAMPLE = 'Write an object of speakers and names, for example {"0": "Alice", "1": "Bob"}.'
_SHOWN = 3  # entries that a message names


class Names(NamedTuple):
    """``names``: by ``"0"``, or by channel and speaker, ``"1:0"``. ``problem``: empty if there is none."""

    names: dict[str, str]
    problem: str = ""


def read_names(body: bytes) -> Names:
    """Never fails."""
    if len(body) > MAX_BYTES:
        return Names({}, f"it is {len(body):,} bytes long; names fit into {MAX_BYTES:,}.")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return Names({}, f"it is not JSON. {_EXAMPLE}")
    if not isinstance(value, dict):
        return Names({}, f"it is not a JSON object. {_EXAMPLE}")
    good = {key: clean(name) for key, name in value.items() if _is_name(key, name)}
    if len(good) > MAX_NAMES:
        return Names({}, f"it has {len(good):,} names; at most {MAX_NAMES:,} are taken.")
    bad = [key for key in value if key not in good]
    if not bad:
        return Names(good)
    shown = ", ".join(repr(clean(key)[:MAX_NAME]) for key in bad[:_SHOWN]) + (" …" if len(bad) > _SHOWN else "")
    return Names(good, f"these entries are left out: {shown}. {_EXAMPLE}")


def _is_name(key: str, name: object) -> bool:
    return _KEY.fullmatch(key) is not None and isinstance(name, str) and 0 < len(clean(name)) <= MAX_NAME
