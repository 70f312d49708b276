"""Whether a body is the one that its ETag names, where an ETag is an MD5: for servers that keep no checksums.

Takes S3's answers and what came of their bodies; says whether to believe it. What an ETag is cannot be known
beforehand: encrypted objects, multipart uploads and some servers have others. So a body that does not fit is asked for
once more: the same bytes a second time are the object, and the ETag is something else; other bytes were damaged on
the way. Knows nothing of requests.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

_MD5 = re.compile("[0-9a-f]{32}")


class Md5Etags:
    """One for each store: it learns what that server's ETags are. Safe to use from several threads."""

    def __init__(self) -> None:
        self._fitted = False  # some ETag was the MD5 of its object
        self._other = False  # some was not, and none was before

    def md5(self, reply: Mapping[str, Any]) -> str | None:
        """What the MD5 of the answer's object should be, in hex; None where its ETag is none."""
        etag = str(reply.get("ETag", "")).strip('"')
        encrypted = reply.get("SSECustomerAlgorithm") or reply.get("ServerSideEncryption", "AES256") != "AES256"
        return None if self._other or encrypted or _MD5.fullmatch(etag) is None else etag

    def fits(self, md5: str, body: bytes, doubted: bytes | None) -> bool:
        """Whether to believe ``body``; ``doubted`` is what came instead the last time, if that was not believed."""
        return self.agrees(md5, hashlib.md5(body, usedforsecurity=False).hexdigest(), again=body == doubted)

    def agrees(self, md5: str, found: str, *, again: bool) -> bool:
        """The same of digests. ``again``: the same bytes as the last time, which were not believed."""
        if md5 == found:
            self._fitted = True
            return True
        if again and not self._fitted:
            self._other = True
        return again
