"""The reader of kustomizations that other tests rest on: the same as kustomize's own, and strict about all else."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from docs_rig import ROOT
from kustomize_reader import NotUnderstood, build

KUBERNETES = ROOT / "infra" / "kubernetes"
OVERLAYS = sorted(path.parent for path in KUBERNETES.glob("overlays/*/kustomization.yaml"))


def by_name(objects: list[Any]) -> list[Any]:
    return sorted(objects, key=lambda one: (one["kind"], one["metadata"]["name"]))


@pytest.mark.parametrize("folder", OVERLAYS, ids=lambda path: path.name)
def test_it_is_what_kustomize_makes(folder: Path) -> None:
    """Each overlay comes out as kubectl's own kustomize makes it, object by object."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed: the reader was not compared with it")
    made = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=True, timeout=120)
    assert by_name(build(folder)) == by_name(list(yaml.safe_load_all(made.stdout)))


def test_with_the_operators_component(tmp_path: Path) -> None:
    """An overlay that names the component for Prometheus' operator gets its object, in the overlay's namespace."""
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    file = tmp_path / "kubernetes/overlays/queue/kustomization.yaml"
    file.write_text(f"{file.read_text()}components:\n  - ../../components/prometheus-operator\n")
    [monitor] = [one for one in build(file.parent) if one["kind"] == "PodMonitor"]
    assert monitor["metadata"] == {"name": "worker", "namespace": "dropscribe"}


def test_every_file_is_used() -> None:
    """No file of infra/kubernetes/ lies there that no kustomization reads."""
    read = set()
    for file in KUBERNETES.rglob("kustomization.yaml"):
        made = yaml.safe_load(file.read_text())
        read |= {file.resolve()} | {(file.parent / name).resolve() for name in made["resources"]}
    assert {path.resolve() for path in KUBERNETES.rglob("*") if path.is_file()} <= read
    assert len(OVERLAYS) == 2


@pytest.mark.parametrize(
    "more",
    [
        "namePrefix: x-",
        "resources: [missing.yaml]",
        "images: [{name: nobody, newTag: '1'}]",
        "patches: [{target: {kind: ConfigMap, name: nobody}, patch: '[]'}]",
        "patches: [{target: {kind: ConfigMap, name: one}, patch: 'data: {}'}]",
        "patches: [{target: {kind: ConfigMap, name: one}, patch: '[{op: replace, path: /data/b, value: c}]'}]",
        "resources: [one.yaml, one.yaml]",
        "resources: [.]",
    ],
)
def test_what_it_does_not_know_is_an_error(tmp_path: Path, more: str) -> None:
    """Anything beyond what it does as kustomize does is refused, never left out in silence."""
    (tmp_path / "one.yaml").write_text("{apiVersion: v1, kind: ConfigMap, metadata: {name: one}, data: {a: b}}")
    made = {"resources": ["one.yaml"]} | yaml.safe_load(more)
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(made))
    with pytest.raises(NotUnderstood):
        build(tmp_path)
