"""State machines of AWS Step Functions in JSONata, as far as infra/terraform/ uses them, with answers that tests give.

Takes a definition and what stands for each service's call; gives the calls that were made. Understood are Task, Choice,
Map and Succeed, with Arguments, Output, Items, Assign, Condition; anything else is an error, so that a definition which
uses more is not passed by silence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Call = tuple[str, dict[str, Any]]
Answer = Callable[[str, dict[str, Any]], Any]
"""From the last part of a task's resource and its arguments to the service's answer."""

_COMMON = {"Type", "Comment", "Next", "End"}
_KNOWN = {
    "Task": _COMMON | {"Resource", "Arguments", "Assign", "Output"},
    "Choice": _COMMON | {"Choices", "Default"},
    "Map": _COMMON | {"Items", "ItemProcessor", "Assign", "Output"},
    "Succeed": _COMMON,
}
_MOST_STEPS = 50


@dataclass
class Machine:
    """``calls``: what was asked of services, in order."""

    definition: dict[str, Any]
    answer: Answer
    calls: list[Call] = field(default_factory=list)

    def run(self) -> list[Call]:
        """From the start to the end."""
        assert self.definition["QueryLanguage"] == "JSONata"
        self._run(self.definition, {}, {})
        return self.calls

    def _run(self, machine: dict[str, Any], given: Any, variables: dict[str, Any]) -> Any:
        name = machine["StartAt"]
        for _ in range(_MOST_STEPS):
            state = machine["States"][name]
            assert set(state) <= _KNOWN[state["Type"]], f"{name}: {set(state) - _KNOWN[state['Type']]}"
            given, name = self._step(state, given, variables)
            if name == "":
                return given
        raise AssertionError("it goes round in circles")

    def _step(self, state: dict[str, Any], given: Any, variables: dict[str, Any]) -> tuple[Any, str]:
        """What the next state is given, and its name; empty at the end."""
        states: dict[str, Any] = {"input": given}
        match state["Type"]:
            case "Succeed":
                return given, ""
            case "Choice":
                for choice in state["Choices"]:
                    holds = _value(choice["Condition"], states, variables)
                    assert isinstance(holds, bool)
                    if holds:
                        return given, choice["Next"]
                return given, state["Default"]
            case "Task":
                called = state["Resource"].rpartition(":::")[2], _value(state["Arguments"], states, variables)
                self.calls.append(called)
                states["result"] = self.answer(*called)
            case "Map":
                items = _value(state["Items"], states, variables)
                assert isinstance(items, list)
                assert state["ItemProcessor"]["ProcessorConfig"] == {"Mode": "INLINE"}
                assert len(items) <= 40  # what such a Map begins at once
                states["result"] = [self._run(state["ItemProcessor"], item, dict(variables)) for item in items]
        output = _value(state["Output"], states, variables) if "Output" in state else states["result"]
        variables |= {name: _value(value, states, variables) for name, value in state.get("Assign", {}).items()}
        return output, "" if state.get("End") else state["Next"]


def _value(told: Any, states: dict[str, Any], variables: dict[str, Any]) -> Any:
    """A value of the definition, with what stands between {% and %} evaluated."""
    if isinstance(told, dict):
        return {name: _value(one, states, variables) for name, one in told.items()}
    if isinstance(told, list):
        return [_value(one, states, variables) for one in told]
    if not (isinstance(told, str) and told.startswith("{%")):
        return told
    from jsonata import Jsonata

    assert told.endswith("%}"), told
    expression = Jsonata(told[2:-2].strip())
    for name, value in {**variables, "states": states}.items():
        expression.assign(name, value)
    found = expression.evaluate(None)
    assert found is not None, f"{told} gives nothing"
    return list(found) if not isinstance(found, (str, int, float, bool, dict)) else found
