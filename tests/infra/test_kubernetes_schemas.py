"""Every object of infra/kubernetes/ is one that an API server takes: by the schemas of Kubernetes and of the others."""

from __future__ import annotations

import copy
import tomllib
from typing import Any

import jsonschema
import pytest
from cluster import OVERLAYS, cluster, component
from crd_schemas import SCHEMAS
from docs_rig import text_of

VERSIONS = ("1.31", "1.37")  # the oldest with all that is used (podFailurePolicy is stable from then on), and today's

EVERY = [*((name, one) for name in OVERLAYS for one in cluster(name).objects)]
EVERY += [("component", one) for one in component("prometheus-operator")]


def check(one: Any, version: str) -> None:
    """`jsonschema.ValidationError` for what an API server would refuse or prune."""
    validate = pytest.importorskip("kubernetes_validate", reason="the extra `dev` is not installed whole").validate
    if one["kind"] not in SCHEMAS:
        validate(one, version, strict=True)
        return
    jsonschema.validate(one, SCHEMAS[one["kind"]])
    if one["kind"] == "ScaledJob":
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {}, "spec": one["spec"]["jobTargetRef"]}
        validate(job, version, strict=True)


def called(given: tuple[str, Any]) -> str:
    return f"{given[0]}-{given[1]['kind']}-{given[1]['metadata']['name']}"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("given", EVERY, ids=called)
def test_it_has_its_kinds_form(given: tuple[str, Any], version: str) -> None:
    """Each object keeps its kind's schema to the letter: no field that is unknown, none of a wrong type."""
    check(given[1], version)


def scaled_job() -> Any:
    [one] = cluster("queue").of("ScaledJob")
    return copy.deepcopy(one)


MISTAKES: dict[str, Any] = {
    "a number that must be a string": lambda spec: spec["triggers"][0]["metadata"].update(queueLength=1),
    "a truth that must be a string": lambda spec: spec["triggers"][0]["metadata"].update(scaleOnInFlight=False),
    "a field that no trigger has": lambda spec: spec["triggers"][0]["metadata"].update(queueUrl="x"),
    "no queue": lambda spec: spec["triggers"][0]["metadata"].pop("queueURLFromEnv"),
    "a field that no ScaledJob has": lambda spec: spec.update(maxReplicas=3),
    "a strategy that there is not": lambda spec: spec["scalingStrategy"].update(strategy="fair"),
    "no job": lambda spec: spec.pop("jobTargetRef"),
    "a field that no job has": lambda spec: spec["jobTargetRef"].update(backOffLimit=1),
    "a policy without an action": lambda spec: spec["jobTargetRef"]["podFailurePolicy"]["rules"][1].pop("action"),
    "a container without a name": lambda spec: spec["jobTargetRef"]["template"]["spec"]["containers"][0].pop("name"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_seen(mistake: str) -> None:
    """The schemas refuse what KEDA would refuse, or drop without a word."""
    one = scaled_job()
    check(one, VERSIONS[-1])
    MISTAKES[mistake](one["spec"])
    with pytest.raises(jsonschema.ValidationError):
        check(one, VERSIONS[-1])


def test_the_tools_are_installed_where_it_counts() -> None:
    """What these tests skip without is part of the extra that `./run test` installs."""
    extra = tomllib.loads(text_of("pyproject.toml"))["project"]["optional-dependencies"]["dev"]
    names = {line.split(">")[0].split("[")[0] for line in extra}
    assert {"kubernetes-validate", "jsonschema", "promql-parser", "pyyaml"} <= names
