"""Files that commands write: looked at before the work, and written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from handler.errors import CannotWrite


def check_output(output: Path) -> None:
    """Before minutes are spent on what cannot be written. `CannotWrite`."""
    folder = output.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise CannotWrite(
            f"{output} cannot be written: there is no writable folder {folder}", "Give another path to -o."
        )


def write_output(output: Path, body: bytes) -> None:
    """`CannotWrite`; then there is nothing, or what was there before."""
    temp = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        temp.write_bytes(body)
        temp.replace(output)
    except OSError as error:
        raise CannotWrite(f"{output} cannot be written: {error.strerror}", "Give another path to -o.") from error
    finally:
        temp.unlink(missing_ok=True)
