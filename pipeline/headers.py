"""What the beginning of a file of weights says: which class of model it is, and whether all of the file is there.

Takes files, gives words. Nothing is unpickled, and only beginnings are read. Knows nothing of what a model is for.
"""

from __future__ import annotations

import json
import re
import tarfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.errors import ModelUnavailable

COPY = "Copy the model again, with all of its files."

_NEMO_CONFIG = "model_config.yaml"
_NEMO_WEIGHTS = "model_weights.ckpt"
_TARGET = re.compile(rb"^target:[ \t]*['\"]?([\w.]+)", re.MULTILINE)
_LONGEST = 16 << 20  # bytes of a header


def class_in(config: Path) -> str:
    """The class that a separator's configuration names; empty where there is none."""
    try:
        found: Any = json.loads(config.read_bytes())
    except (OSError, ValueError):
        return ""
    return str(found.get("class", "")) if isinstance(found, dict) else ""


def class_of(nemo: Path) -> str:
    """The class of the model in a ``.nemo``. `ModelUnavailable`, OSError."""
    stat = nemo.stat()
    found, wrong = _inspect(nemo, stat.st_size, stat.st_mtime_ns)
    if wrong:
        raise ModelUnavailable(f"{nemo} is damaged, or no model of NeMo's: {wrong}", COPY)
    return found


@lru_cache(maxsize=64)
def _inspect(nemo: Path, size: int, mtime_ns: int) -> tuple[str, str]:
    """The class, or what is wrong. Of a compressed one only the beginning is read, where the configuration lies."""
    try:
        with tarfile.open(nemo) as tar:
            found, weights = "", False
            while (member := tar.next()) is not None:
                name = member.name.removeprefix("./")
                if name == _NEMO_CONFIG and member.isfile() and member.size <= _LONGEST:
                    opened = tar.extractfile(member)
                    match = _TARGET.search(opened.read() if opened is not None else b"")
                    found = match[1].decode().rpartition(".")[2] if match else ""
                    if found and _is_compressed(nemo):
                        return found, ""
                weights = weights or name == _NEMO_WEIGHTS
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        return "", str(error) or type(error).__name__
    if not found:
        return "", f"there is no {_NEMO_CONFIG} that names a class"
    return found, "" if weights else f"there is no {_NEMO_WEIGHTS}"


def _is_compressed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def wrong_safetensors(path: Path) -> str:
    """What its header tells of its length: eight bytes, so many of JSON, and the tensors one behind the other."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_LONGEST, path.stat().st_size):
            return "it has no header"
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            whole = 8 + length + max(ends, default=0)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            return "its header cannot be read"
    size = path.stat().st_size
    return "" if size == whole else f"it has {size:,} bytes instead of {whole:,}"
