"""What ``kubectl kustomize`` makes of a folder, for the part of kustomize that infra/kubernetes/ uses.

Takes a folder with a kustomization.yaml; gives its objects. Knows resources, components, a namespace, images, and
patches in JSON Patch's form; whatever else it meets is an error, never passed over. tests/infra/test_kustomize.py
compares it with the real one where that is installed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

_KNOWN = {"apiVersion", "kind", "namespace", "resources", "components", "patches", "images"}
_APART = ("Namespace", "ClusterRole", "ClusterRoleBinding")  # kinds that lie in no namespace


class NotUnderstood(Exception):
    """Something that this reader does not do as kustomize would."""


def build(folder: Path, seen: tuple[Path, ...] = ()) -> list[Object]:
    """The objects, in no order that means anything. `NotUnderstood`."""
    folder = folder.resolve()
    if folder in seen:
        raise NotUnderstood(f"{folder} contains itself")
    made = _load(folder / "kustomization.yaml")
    if unknown := set(made) - _KNOWN:
        raise NotUnderstood(f"{folder.name}/kustomization.yaml: {', '.join(sorted(unknown))}")
    objects: list[Object] = []
    for name in made.get("resources", ()):
        path = folder / name
        objects += build(path, (*seen, folder)) if path.is_dir() else _documents(path)
    for name in made.get("components", ()):
        objects += build(folder / name, (*seen, folder))
    for patch in made.get("patches", ()):
        _patch(objects, patch, folder)
    if "namespace" in made:
        for one in objects:
            _put_into(one, made["namespace"])
    for image in made.get("images", ()):
        _rename(objects, image, folder)
    _unique(objects)
    return objects


def containers(one: Any) -> Iterator[Object]:
    """Every container in an object, however deep."""
    if isinstance(one, dict):
        for name, value in one.items():
            if name in ("containers", "initContainers") and isinstance(value, list):
                yield from value
            yield from containers(value)
    elif isinstance(one, list):
        for value in one:
            yield from containers(value)


def _load(path: Path) -> Object:
    if not path.is_file():
        raise NotUnderstood(f"there is no {path}")
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise NotUnderstood(f"{path} is no object")
    return found


def _documents(path: Path) -> list[Object]:
    if not path.is_file():
        raise NotUnderstood(f"there is no {path}")
    return [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one is not None]


def _put_into(one: Object, namespace: str) -> None:
    if one["kind"] in _APART:
        return
    one["metadata"]["namespace"] = namespace


def _rename(objects: list[Object], image: Object, folder: Path) -> None:
    if set(image) - {"name", "newName", "newTag"}:
        raise NotUnderstood(f"{folder.name}: images: {image}")
    met = [one for one in containers(objects) if one.get("image") == image["name"]]
    if not met:
        raise NotUnderstood(f"{folder.name}: no container has the image {image['name']}")
    for one in met:
        one["image"] = f"{image.get('newName', image['name'])}:{image['newTag']}"


def _patch(objects: list[Object], patch: Object, folder: Path) -> None:
    target = patch.get("target", {})
    if set(patch) != {"target", "patch"} or set(target) != {"kind", "name"}:
        raise NotUnderstood(f"{folder.name}: a patch without a kind and a name, or in another form")
    met = [one for one in objects if (one["kind"], one["metadata"]["name"]) == (target["kind"], target["name"])]
    if len(met) != 1:
        raise NotUnderstood(f"{folder.name}: {len(met)} objects are {target['kind']} {target['name']}")
    operations = yaml.safe_load(patch["patch"])
    if not isinstance(operations, list):
        raise NotUnderstood(f"{folder.name}: a patch that is not in JSON Patch's form")
    for operation in operations:
        _apply(met[0], operation)


def _apply(one: Object, operation: Object) -> None:
    *above, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    place: Any = one
    for part in above:
        place = place[int(part)] if isinstance(place, list) else place[part]
    value = copy.deepcopy(operation.get("value"))
    match operation["op"], place:
        case "add", list() if last == "-":
            place.append(value)
        case "add", dict():
            place[last] = value
        case "replace", dict() if last in place:
            place[last] = value
        case "remove", dict() if last in place:
            del place[last]
        case _:
            raise NotUnderstood(f"{operation['op']} at {operation['path']}")


def _unique(objects: list[Object]) -> None:
    names = [(one["apiVersion"], one["kind"], one["metadata"]["name"]) for one in objects]
    if len(set(names)) < len(names):
        raise NotUnderstood(f"two objects are called the same: {sorted(names)}")
