"""Bytes into a local file. Takes chunks, gives a file and the SHA-256 of what is in it; knows nothing of stores."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

CHUNK = 1 << 20  # bytes read at a time


@contextlib.contextmanager
def removed_on_error(path: Path) -> Iterator[None]:
    """A half-written ``path`` never outlives the error that cut it short."""
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def receive(path: Path, chunks: Iterable[bytes], check: Callable[[], None] = lambda: None) -> str:
    """Write ``chunks`` into ``path`` (replaced); returns their SHA-256 in hex. OSError of the local disk passes
    through, and so does what ``check``, called before each chunk is written, raises.
    """
    digest = hashlib.sha256()
    with removed_on_error(path), path.open("wb") as out:
        for chunk in chunks:
            check()
            digest.update(chunk)
            out.write(chunk)
    return digest.hexdigest()
