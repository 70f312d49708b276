"""The weights that demucs' authors publish become a folder that `pipeline.models.demucs` loads.

Takes one file, ``.safetensors`` as demucs 4.1 has them on the hub or ``.th`` as older ones, or a folder with a bag's
YAML and its files; gives a folder with the constructor's arguments as JSON and the weights as safetensors. A ``.th`` is
a pickle: torch reads it with ``weights_only=True``, and the few classes that these files need beside tensors are named
here, so nothing in it can run. Of a bag only the model that makes the voices is taken: htdemucs_ft has four, and one of
them is enough. Knows nothing of the network; files are fetched by hand or with the hub's own client.
"""

from __future__ import annotations

import inspect
import json
import re
import shutil
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from pipeline.errors import ModelUnavailable, PipelineError
from pipeline.models.demucs import VOICES, WEIGHTS, load_demucs, write_arguments
from pipeline.models.failures import reason

_CLASS = "demucs.htdemucs.HTDemucs"
_PARTIAL = ".partial"
_GLOBAL = re.compile(r"GLOBAL (\S+)")  # in torch's message


def convert_demucs(source: Path, folder: Path) -> None:
    """``source``, converted, in ``folder``, which must not exist; it is loaded once to see whether it can be.

    `ModelUnavailable`: it is no HTDemucs, has no voices or several models that make them, or the extra is missing.
    """
    if folder.exists():
        raise ModelUnavailable(f"there is something in {folder} already", "Remove it, or name another folder.")
    partial = folder.with_name(folder.name + _PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        arguments, state = _read(_model_of(source) if source.is_dir() else source)
        partial.mkdir(parents=True)
        _write(partial, arguments, state)
        load_demucs(partial).unload()
        partial.replace(folder)
    except (PipelineError, MemoryError):
        raise
    except ImportError as error:
        raise ModelUnavailable(
            f"a conversion needs what is not installed: {reason(error)}",
            "Install the extra models: `pip install 'dropscribe[models]'`.",
        ) from error
    except Exception as error:  # torch, pickle, yaml and safetensors raise a dozen kinds
        raise ModelUnavailable(f"{source} cannot be converted: {reason(error)}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(folder: Path, arguments: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    from safetensors.torch import save_file

    write_arguments(folder, dict(arguments))
    save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, folder / WEIGHTS)


def _model_of(bag: Path) -> Path:
    """The file of the one model in the bag that makes the voices."""
    import yaml  # type: ignore[import-untyped]

    (described,) = sorted(bag.glob("*.yaml"))
    content = yaml.safe_load(described.read_text())
    names, weights = content["models"], content.get("weights")
    if weights is not None:
        sources = [_sources(bag, name) for name in names]
        names = [name for name, own, made in zip(names, weights, sources, strict=True) if own[made.index(VOICES)] != 0]
    if len(names) != 1:
        raise ModelUnavailable(f"{len(names)} models of the bag {described.name} make the voices, not one")
    return _file(bag, names[0])


def _sources(bag: Path, name: str) -> list[str]:
    arguments, _ = _read(_file(bag, name))
    return list(arguments["sources"])


def _file(bag: Path, name: str) -> Path:
    """Named by its signature alone, or with a checksum behind it."""
    found = sorted(path for path in bag.iterdir() if path.suffix in (".safetensors", ".th") and _of(path) == name)
    if not found:
        raise ModelUnavailable(f"the bag in {bag} has no file of its model {name}")
    return found[0]


def _of(path: Path) -> str:
    return path.stem.partition("-")[0]


def _read(file: Path) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """The constructor's arguments by name, and the tensors."""
    named, args, kwargs, state = _safetensors(file) if file.suffix == ".safetensors" else _pickle(file)
    if named != _CLASS:
        raise ModelUnavailable(f"{file.name} is a {named}, not an HTDemucs")
    if "__quantized" in state:
        raise ModelUnavailable(f"{file.name} is quantized", "Take the weights that are not.")
    from demucs.htdemucs import HTDemucs

    known = inspect.signature(HTDemucs.__init__).parameters
    given = dict(zip([name for name in known if name != "self"], args, strict=False)) | dict(kwargs)
    # As demucs itself does: checkpoints carry arguments that later versions dropped.
    return {name: value for name, value in given.items() if name in known}, state


def _safetensors(file: Path) -> tuple[str, Any, Any, Mapping[str, Any]]:
    """As demucs.hf writes them: the class's name and its arguments are JSON in the file's metadata."""
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        told = opened.metadata() or {}
        if "structure" in told:
            raise ModelUnavailable(f"{file.name} is quantized", "Take the weights that are not.")
        state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    args, kwargs = (json.loads(told.get(part, empty), object_hook=_fraction) for part, empty in _PARTS)
    return told.get("klass", "file without a class"), args, kwargs, state


_PARTS = (("args", "[]"), ("kwargs", "{}"))


def _fraction(value: dict[str, Any]) -> Any:
    return Fraction(value["numerator"], value["denominator"]) if value.get("_type") == "fraction" else value


def _pickle(file: Path) -> tuple[str, Any, Any, Mapping[str, Any]]:
    """As demucs.states writes them; older ones keep numpy's numbers among the figures of their training."""
    import numpy as np
    import torch
    from demucs.htdemucs import HTDemucs
    from numpy._core.multiarray import scalar

    numbers = [type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")]
    scalars = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("_core", "core")]  # numpy 2 and before
    try:
        with torch.serialization.safe_globals([HTDemucs, Fraction, np.dtype, *numbers, *scalars]):
            package = torch.load(file, "cpu", weights_only=True)
    except UnpicklingError as error:  # whose advice is to do what must not be done
        named = _GLOBAL.search(str(error))
        what = f"refers to {named[1]}, which could run code" if named else "is no checkpoint of torch's"
        raise ModelUnavailable(f"{file.name} {what}", "Take the weights that demucs' authors publish.") from error
    klass = package["klass"]
    return f"{klass.__module__}.{klass.__qualname__}", package["args"], package["kwargs"], package["state"]
