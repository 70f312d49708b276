"""Signatures of what is sent, as https://www.standardwebhooks.com describes them, so that receivers have libraries for
them.

Takes the operator's secrets; gives the headers of one try. Knows nothing of where it goes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

from handler.errors import SettingsError

PREFIX = "whsec_"
_LEAST, _MOST = 24, 64  # bytes of a key


def parse_secrets(text: str) -> tuple[bytes, ...]:
    """The keys of ``DROPSCRIBE_CALLBACK_SECRET``: one, or several between spaces while one replaces another.

    `SettingsError`, which does not show them.
    """
    return tuple(_key(word) for word in text.split())


def headers(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """``timestamp``: epoch seconds of this try. Without a key nothing is signed."""
    found = {"webhook-id": message_id, "webhook-timestamp": str(timestamp)}
    if keys:
        found["webhook-signature"] = " ".join(signature(key, message_id, timestamp, body) for key in keys)
    return found


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """``v1,`` and the HMAC-SHA256 of ``<id>.<timestamp>.<body>`` in base64."""
    made = hmac.new(key, f"{message_id}.{timestamp}.".encode(), hashlib.sha256)
    made.update(body)
    return "v1," + base64.b64encode(made.digest()).decode()


def _key(word: str) -> bytes:
    try:
        key = base64.b64decode(word.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not word.startswith(PREFIX) or not _LEAST <= len(key) <= _MOST:
        raise SettingsError(
            f"DROPSCRIBE_CALLBACK_SECRET: a secret is {PREFIX} and {_LEAST} to {_MOST} random bytes in base64",
            f'Make one: echo "{PREFIX}$(head -c 32 /dev/urandom | base64)"',
        )
    return key
