"""boto3's session, as AWS's own variables and files have it. Takes the environment; gives a `boto3.session.Session`.

boto3 alone reads the region from AWS_DEFAULT_REGION; every other SDK of AWS, its command line and its machines
say AWS_REGION. Here that counts too, and first. boto3 is imported at the first call. Knows nothing of stores.
"""

from __future__ import annotations

import os
from typing import Any


def boto_session() -> Any:
    """Raises what boto3 raises: a profile that is not there, for one."""
    import boto3

    return boto3.session.Session(region_name=os.environ.get("AWS_REGION") or None)
