"""What every store asks of a key before it writes. Takes a key, gives its UTF-8 bytes; knows nothing of any one
store.
"""

from __future__ import annotations

from handler.errors import BadKey

KEY_LIMIT = 1024  # bytes of UTF-8; S3's own limit, prefix included


def encoded(key: str, *, prefix: str = "") -> bytes:
    """The bytes of ``prefix`` + ``key``. `BadKey` if the key is empty, too long, or cannot be sent to any store."""
    if not key:
        raise BadKey("a key cannot be empty", "Give the object a name.")
    if "\0" in key:
        raise BadKey(f"the key {key!r} holds a NUL character", "Rename the object.")
    try:
        whole = (prefix + key).encode()
    except UnicodeEncodeError:
        raise BadKey(f"the key {key!r} is not valid Unicode", "Rename the object.") from None
    if len(whole) > KEY_LIMIT:
        raise BadKey(f"the key {key[:60]!r}… is {len(whole)} bytes long, over {KEY_LIMIT}", "Use a shorter key.")
    return whole


def one_condition(if_absent: bool, if_match: str | None) -> None:
    """ValueError if a caller asks for both conditions: no object can be absent and have an ETag."""
    if if_absent and if_match is not None:
        raise ValueError("if_absent and if_match exclude each other")
