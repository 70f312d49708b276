"""Bodies of S3 responses, which boto3 neither retries nor resumes. Gives whole, verified bytes or `Unavailable`.

Takes a function that asks for the object from an offset on. Knows nothing of clients, buckets or keys.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handler.clock import Clock
from handler.errors import Unavailable
from handler.store.base import Info
from handler.store.files import removed_on_error

ATTEMPTS = 8  # requests for one object
PIECE = 1 << 17  # bytes read at a time: few enough that a slow line does not make a stop wait for long


class Torn(Exception):
    """The body ended early, or its checksum (known at its end) is wrong."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response whose body has yet to be read; ``offset`` is where in the object the body starts, in bytes."""

    offset: int
    body: Any  # botocore's StreamingBody


def download(
    ask: Callable[[int], Answer], info: Info, path: Path, clock: Clock, check: Callable[[], None] = lambda: None
) -> str:
    """Stream into ``path`` the object that ``ask(offset)`` gives; returns its SHA-256 in hex.

    A torn body is continued where it ended, a damaged one begun again; `Unavailable` after `ATTEMPTS` requests. The
    size must be ``info.size`` and the digest ``info.sha256``, where the store vouches for one. Other errors of
    ``ask`` pass through. ``check`` is called before each request and for each piece; what it raises passes through.
    """
    error: Exception | None = None
    digest, done = hashlib.sha256(), 0
    with removed_on_error(path), path.open("wb") as out:
        for attempt in range(ATTEMPTS):
            pause(clock, attempt)
            check()
            try:
                answer = ask(done)
                if answer.offset != done:  # the server does not know Range
                    digest, done = hashlib.sha256(), _rewind(out)
                with contextlib.closing(chunks(answer.body)) as pieces:
                    for chunk in pieces:
                        check()
                        out.write(chunk)
                        digest.update(chunk)
                        done += len(chunk)
            except (Torn, Unavailable) as torn:
                error = torn
            else:
                if done == info.size and info.sha256 in (None, digest.hexdigest()):
                    return digest.hexdigest()
                error = Torn(f"{done} of {info.size} bytes came, or others than the store vouches for")
            if done >= info.size:  # all of it, and wrong: nothing to continue
                digest, done = hashlib.sha256(), _rewind(out)
        raise Unavailable(f"{info.key} does not arrive whole in {ATTEMPTS} requests: {error}") from error


def pause(clock: Clock, attempt: int) -> None:
    """Before the second request and each further one: jittered, longer each time, at most 5 s."""
    if attempt:
        clock.sleep(min(5.0, 0.1 * 2**attempt) * clock.random())


def chunks(body: Any) -> Generator[bytes, None, None]:
    """The body in pieces of at most `PIECE` bytes; `Torn` if it ends early or its checksum is wrong. Closes it."""
    from botocore.exceptions import BotoCoreError
    from urllib3.exceptions import HTTPError

    try:
        while True:
            try:
                chunk = body.read(PIECE)
            except (BotoCoreError, HTTPError, http.client.HTTPException, OSError) as error:
                raise Torn(str(error)) from error
            if not chunk:
                return
            yield chunk
    finally:
        body.close()


def _rewind(out: Any) -> int:
    out.seek(0)
    out.truncate()
    return 0
