"""Layers of options to one `Options`: later layers win, and nothing is ignored in silence.

Every error is an `OptionsError` that names the option and the layer it stands in. Knows the layers' names, not
their origin.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from pipeline.errors import OptionsError
from pipeline.options.model import Options, roles
from pipeline.options.names import ALIASES, LATER, NEVER
from pipeline.options.values import MAX_TERMS, BadValue
from pipeline.types import Frozen, Warning

_ROLES = roles()
_NAMES = [*_ROLES, *ALIASES, *LATER, *NEVER]
_INTENSIFIER = re.compile(r":-?\d+(\.\d+)?$")


class Parsed(Frozen):
    """``warnings``: what was accepted but not carried out to the letter; they belong into ``metadata.warnings``."""

    options: Options
    warnings: tuple[Warning, ...] = ()


@dataclass(frozen=True, slots=True)
class _Given:
    """A value as one layer gives it. None takes back what earlier layers gave."""

    value: Any
    source: str
    warnings: tuple[Warning, ...] = ()


def parse_query(text: str) -> dict[str, str | list[str]]:
    """``diarize=true&tag=a&tag=b`` as a mapping; a repeated name becomes a list. Never fails: `parse` is the judge."""
    found: dict[str, list[str]] = {}
    for name, value in parse_qsl(text.strip().removeprefix("?"), keep_blank_values=True):
        found.setdefault(name.strip(), []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def parse(*layers: tuple[str, Mapping[str, Any]]) -> Parsed:
    """One `Options` out of (source, mapping) layers, later ones winning name by name; ``null`` takes an earlier
    value back.

    ``source`` is what a person calls the layer ("options.json"). `OptionsError` for a name that is unknown or not
    built, a value that cannot be, or options that exclude each other.
    """
    merged: dict[str, _Given] = {}
    for source, mapping in layers:
        _lay(merged, _read(source, mapping), source)
    merged = {name: given for name, given in merged.items() if given.value is not None}
    values = {name: given.value for name, given in merged.items()} | _implied(merged)
    told = [warning for given in merged.values() for warning in given.warnings]
    return Parsed(options=Options(**values), warnings=(*told, *_without_effect(values)))


def _read(source: str, mapping: Mapping[str, Any]) -> dict[str, _Given]:
    """One layer, by the options' own names."""
    layer: dict[str, _Given] = {}
    for written, raw in mapping.items():
        name = ALIASES.get(written, written)
        if name not in _ROLES:
            _refuse(source, written, raw)
            continue
        if raw is None:
            layer.setdefault(name, _Given(None, source))
            continue
        raw, warnings = _without_intensifiers(written, raw)
        try:
            value = _ROLES[name].kind.read(raw)
        except BadValue as error:
            raise OptionsError(f"{source}: {written} {error}") from error
        before = layer.get(name)
        if before is not None and before.value is not None:  # the same option under two of its names
            value = _joined(source, name, before.value, value)
            warnings = (*before.warnings, *warnings)
        layer[name] = _Given(value, source, warnings)
    return layer


def _joined(source: str, name: str, before: tuple[str, ...], value: tuple[str, ...]) -> tuple[str, ...]:
    terms = tuple(dict.fromkeys((*before, *value)))
    if len(terms) > MAX_TERMS:
        raise OptionsError(
            f"{source}: {name} has {len(terms)} terms with its other names; at most {MAX_TERMS} are taken"
        )
    return terms


def _lay(merged: dict[str, _Given], layer: dict[str, _Given], source: str) -> None:
    """Put a layer over what is there. A language named later replaces an earlier detect_language, and the reverse."""
    language, detect = layer.get("language"), layer.get("detect_language")
    named = language is not None and language.value is not None
    detected = detect is not None and bool(detect.value)
    if named and detected:
        raise OptionsError(f"{source}: language and detect_language exclude each other; give one of them")
    if named:
        merged.pop("detect_language", None)
    if detected:
        merged.pop("language", None)
    merged.update(layer)


def _implied(given: Mapping[str, _Given]) -> dict[str, bool]:
    """What those given say about those that are not: smart_format ⇒ paragraphs ⇒ punctuate, and the defaults are on."""
    punctuate = given.get("punctuate")
    if punctuate is None or punctuate.value:
        return {}
    for name in ("smart_format", "paragraphs"):
        other = given.get(name)
        if other is not None and other.value:
            raise OptionsError(
                f"{other.source}: {name} needs punctuate, which is switched off in {punctuate.source}",
                f"Leave out {name}, or punctuate.",
            )
    return {"paragraphs": False}


def _without_effect(values: Mapping[str, Any]) -> list[Warning]:
    """The warnings for what is taken but does less than it says, or nothing."""
    warnings = []
    if values.get("smart_format"):
        message = (
            "Numbers, dates and currencies are not rewritten yet; smart_format turned on punctuate and paragraphs."
        )
        warnings.append(Warning(parameter="smart_format", type="not_built_yet", message=message))
    if values.get("version") not in (None, "latest"):
        message = "The version is that of the weights on disk; metadata.model_info has it."
        warnings.append(Warning(parameter="version", type="unsupported_value", message=message))
    return warnings


def _without_intensifiers(written: str, raw: Any) -> tuple[Any, tuple[Warning, ...]]:
    """Deepgram's ``keywords=word:2``: nothing here could weigh a term, so the weight goes, and a warning says so."""
    if written != "keywords":
        return raw, ()
    entries = raw if isinstance(raw, (list, tuple)) else [raw]
    plain = [_INTENSIFIER.sub("", entry) if isinstance(entry, str) else entry for entry in entries]
    if plain == list(entries):
        return raw, ()
    message = "Intensifiers cannot be honoured; the keywords are taken without them."
    return plain, (Warning(parameter="keywords", type="unsupported_value", message=message),)


def _refuse(source: str, name: str, raw: object) -> None:
    """Raise for a name that is no option; unless it is a known one that is switched off, which is what it is anyway."""
    if name in LATER or name in NEVER:
        if raw is None or raw is False or (isinstance(raw, str) and raw.strip().lower() == "false") or raw == []:
            return
        if name in LATER:
            raise OptionsError(f"{source}: {name} is not built yet ({LATER[name]}); leave it out")
        raise OptionsError(f"{source}: {name} is not supported: {NEVER[name]}; leave it out")
    shown = name if len(name) <= 60 else name[:57] + "…"
    close = difflib.get_close_matches(name.strip().lower().replace("-", "_"), _NAMES, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise OptionsError(f"{source}: there is no option {shown!r}{hint}")
