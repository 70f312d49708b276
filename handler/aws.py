"""boto3's session, as AWS's own variables and files have it. Takes the environment; gives a `boto3.session.Session`.

boto3 alone reads the region from AWS_DEFAULT_REGION; every other SDK of AWS, its command line and its machines
say AWS_REGION. Here that counts too, and first. boto3 is imported at the first call. Knows nothing of stores.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit


def boto_session() -> Any:
    """Raises what boto3 raises: a profile that is not there, for one. ValueError for an endpoint with a password."""
    for name, value in os.environ.items():
        if name.startswith("AWS_ENDPOINT_URL"):
            refuse_password(value, name)
    import boto3

    return boto3.session.Session(region_name=os.environ.get("AWS_REGION") or None)


def refuse_password(url: str, name: str) -> None:
    """ValueError if there is a user or a password in ``url``: boto3 would write it into its errors, and sends it to
    nobody. ``name`` is told in its place.
    """
    if "@" in urlsplit(url).netloc:
        raise ValueError(f"{name} has a user or a password in it; credentials are AWS_ACCESS_KEY_ID's business")
