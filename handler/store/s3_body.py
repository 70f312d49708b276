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
from handler.store.s3_digest import Md5Etags

ATTEMPTS = 8  # requests for one object
PIECE = 1 << 17  # bytes read at a time: few enough that a slow line does not make a stop wait for long


class Torn(Exception):
    """The body ended early, or its checksum (known at its end) is wrong."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response whose body has yet to be read; ``offset`` is where in the object the body starts, in bytes. ``md5``:
    of the whole object, if its ETag may be that.
    """

    offset: int
    body: Any  # botocore's StreamingBody
    md5: str | None = None


def download(
    ask: Callable[[int], Answer],
    info: Info,
    path: Path,
    clock: Clock,
    etags: Md5Etags,
    check: Callable[[], None] = lambda: None,
) -> str:
    """Stream into ``path`` the object that ``ask(offset)`` gives; returns its SHA-256 in hex.

    A torn body is continued where it ended, a damaged one begun again; `Unavailable` after `ATTEMPTS` requests. The
    size must be ``info.size`` and the digest ``info.sha256``, where the store vouches for one; without one, the ETag
    must agree (`Md5Etags`). Other errors of ``ask`` pass through. ``check`` is called before each request and for each
    piece; what it raises passes through.
    """
    error: Exception | None = None
    digest, done = Digests(), 0
    doubted = ""
    with removed_on_error(path), path.open("wb") as out:
        for attempt in range(ATTEMPTS):
            pause(clock, attempt)
            check()
            try:
                answer = ask(done)
                if answer.offset != done:  # the server does not know Range
                    digest, done = Digests(), _rewind(out)
                with contextlib.closing(chunks(answer.body)) as pieces:
                    for chunk in pieces:
                        check()
                        out.write(chunk)
                        digest.update(chunk)
                        done += len(chunk)
            except (Torn, Unavailable) as torn:
                error = torn
            else:
                sha256, md5 = digest.hex()
                if done == info.size and _believed(info, answer, sha256, md5, etags, again=sha256 == doubted):
                    return sha256
                error, doubted = Torn(f"{done} of {info.size} bytes came, or others than the store vouches for"), sha256
            if done >= info.size:  # all of it, and wrong: nothing to continue
                digest, done = Digests(), _rewind(out)
        raise Unavailable(f"{info.key} does not arrive whole in {ATTEMPTS} requests: {error}") from error


class Digests:
    """The SHA-256 that is the content's name, and the MD5 that an ETag may be."""

    def __init__(self) -> None:
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)

    def update(self, chunk: bytes) -> None:
        self._sha256.update(chunk)
        self._md5.update(chunk)

    def hex(self) -> tuple[str, str]:
        return self._sha256.hexdigest(), self._md5.hexdigest()


def _believed(info: Info, answer: Answer, sha256: str, md5: str, etags: Md5Etags, *, again: bool) -> bool:
    if info.sha256 is not None:
        return info.sha256 == sha256
    return answer.md5 is None or etags.agrees(answer.md5, md5, again=again)


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
