"""infra/kubernetes/ as tests look at it: the objects of each overlay, their pods, and what stands in Dockerfile."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

from docs_rig import ROOT, text_of
from kustomize_reader import Object, build

KUBERNETES = ROOT / "infra" / "kubernetes"
OVERLAYS = ("queue", "scan")


@dataclass(frozen=True)
class Pod:
    """A pod's template and the object that it is in. ``job``: the spec of the job that makes it, of those that jobs
    make.
    """

    overlay: str
    owner: Object
    template: Object
    job: Object | None = None

    def __str__(self) -> str:
        return f"{self.overlay}-{self.owner['kind']}-{self.owner['metadata']['name']}"

    @property
    def spec(self) -> Object:
        return self.template["spec"]  # type: ignore[no-any-return]

    @property
    def labels(self) -> Object:
        return self.template["metadata"]["labels"]  # type: ignore[no-any-return]

    @property
    def container(self) -> Object:
        [only] = self.spec["containers"]
        return only  # type: ignore[no-any-return]

    @property
    def works(self) -> bool:
        """Whether it transcribes."""
        return bool(self.container["args"][0] == "work")


@dataclass(frozen=True)
class Cluster:
    """What an overlay makes."""

    name: str
    objects: tuple[Object, ...] = field(repr=False)

    def of(self, kind: str) -> list[Object]:
        return [one for one in self.objects if one["kind"] == kind]

    def names(self, kind: str) -> set[str]:
        return {one["metadata"]["name"] for one in self.of(kind)}

    @property
    def variables(self) -> dict[str, str]:
        """What the pods' environment holds."""
        [settings] = self.of("ConfigMap")
        return settings["data"]  # type: ignore[no-any-return]

    def pods(self) -> Iterator[Pod]:
        for one in self.objects:
            match one["kind"]:
                case "Deployment":
                    yield Pod(self.name, one, one["spec"]["template"])
                case "ScaledJob":
                    job = one["spec"]["jobTargetRef"]
                    yield Pod(self.name, one, job["template"], job)
                case "CronJob":
                    job = one["spec"]["jobTemplate"]["spec"]
                    yield Pod(self.name, one, job["template"], job)


@cache
def cluster(name: str) -> Cluster:
    return Cluster(name, tuple(build(KUBERNETES / "overlays" / name)))


def component(name: str) -> list[Object]:
    """The objects of one of the components, without an overlay."""
    return build(KUBERNETES / "components" / name)


def all_pods() -> list[Pod]:
    return [pod for name in OVERLAYS for pod in cluster(name).pods()]


def image_environment() -> dict[str, str]:
    """The variables that Dockerfile sets in the last stages."""
    lines = text_of("Dockerfile").replace("\\\n", " ").splitlines()
    found: dict[str, str] = {}
    for line in lines:
        if line.startswith("ENV "):
            found |= dict(re.findall(r"(\w+)=(\S+)", line))
    return found


def image_user() -> int:
    """The number of the user that the image runs as."""
    users = set(re.findall(r"^USER (\d+)", text_of("Dockerfile"), re.MULTILINE))
    [only] = users
    return int(only)


def size(text: str) -> float:
    """Bytes, from what Kubernetes writes for them."""
    found = re.fullmatch(r"(\d+)(Ki|Mi|Gi|Ti)?", text)
    assert found is not None, text
    return int(found[1]) * 1024.0 ** ("", "Ki", "Mi", "Gi", "Ti").index(found[2] or "")
