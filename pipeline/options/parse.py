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
from pipeline.options.names import ALIASES, REFUSED
from pipeline.options.values import MAX_TERMS, BadValue
from pipeline.types import Frozen, Warning

_ROLES = roles()
_NAMES = [*_ROLES, *ALIASES, *REFUSED]
# In one place they are a mistake; over several places, the later one replaces the others.
_EXCLUSIVE = (("language", ("detect_language",)), ("speakers", ("min_speakers", "max_speakers")))
# What changes nothing by itself, and what it needs.
_NEEDED = {("speakers", "min_speakers", "max_speakers"): "diarize", ("callback_method",): "callback"}
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
    _check_speakers(merged)
    told = [warning for given in merged.values() for warning in given.warnings]
    values = {name: given.value for name, given in merged.items()} | _implied(merged)
    effective, without = _effective(values)
    return Parsed(options=Options(**effective), warnings=(*told, *without))


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
    """Put a layer over what is there. Of options that exclude each other the one named later replaces the earlier."""
    for name, others in _EXCLUSIVE:
        if not _asked(layer, name):
            continue
        for other in others:
            if _asked(layer, other):
                raise OptionsError(f"{source}: {name} and {other} exclude each other; give one of them")
            merged.pop(other, None)
    for name, others in _EXCLUSIVE:
        if any(_asked(layer, other) for other in others):
            merged.pop(name, None)
    merged.update(layer)


def _asked(layer: Mapping[str, _Given], name: str) -> bool:
    given = layer.get(name)
    return given is not None and given.value not in (None, False)


def _check_speakers(given: Mapping[str, _Given]) -> None:
    least, most = given.get("min_speakers"), given.get("max_speakers")
    if least is not None and most is not None and least.value > most.value:
        raise OptionsError(
            f"{least.source}: min_speakers is {least.value}, more than max_speakers, which is {most.value} in "
            f"{most.source}",
            "Let min_speakers be no larger than max_speakers.",
        )


def _implied(given: Mapping[str, _Given]) -> dict[str, bool]:
    """What those given say about those that are not: smart_format ⇒ paragraphs ⇒ punctuate, dictation ⇒ punctuate,
    and the defaults are on.
    """
    punctuate = given.get("punctuate")
    if punctuate is None or punctuate.value:
        return {}
    for name in ("smart_format", "paragraphs", "dictation"):
        other = given.get(name)
        if other is not None and other.value:
            raise OptionsError(
                f"{other.source}: {name} needs punctuate, which is switched off in {punctuate.source}",
                f"Leave out {name}, or punctuate.",
            )
    return {"paragraphs": False}


def _effective(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[Warning]]:
    """The options without those that change nothing beside the others (they would make another job of it), and the
    warnings for them and for what is taken but does less than it says.
    """
    kept, warnings = dict(values), []
    for names, needed in _NEEDED.items():
        if values.get(needed):
            continue
        for name in names:
            if kept.pop(name, None) is not None:
                message = f"{name} has no effect without {needed}."
                warnings.append(Warning(parameter=name, type="no_effect", message=message))
    if values.get("version") not in (None, "latest"):
        message = "The version is that of the weights on disk; metadata.model_info has it."
        warnings.append(Warning(parameter="version", type="unsupported_value", message=message))
    return kept, warnings


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
    if name in REFUSED:
        if raw is None or raw is False or (isinstance(raw, str) and raw.strip().lower() == "false") or raw == []:
            return
        raise OptionsError(f"{source}: {name} is not supported: {REFUSED[name]}; leave it out")
    shown = name if len(name) <= 60 else name[:57] + "…"
    close = difflib.get_close_matches(name.strip().lower().replace("-", "_"), _NAMES, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise OptionsError(f"{source}: there is no option {shown!r}{hint}")
