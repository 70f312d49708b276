"""Make the bucket, and have its server tell what is dropped into it. Runs once before the workers, and may run again.

Takes AWS's variables, BUCKET, and EVENTS_ARN, the server's name for the webhook (none: nothing is told). Gives exit
code 0 when all is as it should be. Knows nothing of MinIO's own interface: S3's calls do.
"""

from __future__ import annotations

import os
import sys
import time

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

_TRIES = 60
_PAUSE_SECONDS = 1.0
_PREFIX = "input/"
# Not `s3:ObjectCreated:*`, which MinIO takes to mean changes of tags, too.
_EVENTS = [f"s3:ObjectCreated:{name}" for name in ("Put", "Post", "Copy", "CompleteMultipartUpload")]


def set_up(bucket: str, arn: str | None) -> None:
    """Raises boto3's errors."""
    s3 = boto3.client("s3", config=Config(connect_timeout=5, read_timeout=10, retries={"max_attempts": 0}))
    if bucket not in {one["Name"] for one in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket=bucket)
    told = {"QueueArn": arn, "Events": _EVENTS, "Filter": {"Key": {"FilterRules": [_rule("prefix", _PREFIX)]}}}
    s3.put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={"QueueConfigurations": [told]} if arn else {},
    )


def _rule(name: str, value: str) -> dict[str, str]:
    return {"Name": name, "Value": value}


def _is_final(error: BotoCoreError | ClientError) -> bool:
    """The server understood, and says no: a password, a name, an ARN that it does not know."""
    return isinstance(error, ClientError) and error.response["ResponseMetadata"]["HTTPStatusCode"] < 500


def main() -> int:
    bucket, arn = os.environ["BUCKET"], os.environ.get("EVENTS_ARN") or None
    for left in range(_TRIES - 1, -1, -1):
        try:
            set_up(bucket, arn)
        except (BotoCoreError, ClientError) as error:
            if left == 0 or _is_final(error):
                print(f"set-up: {error}", file=sys.stderr)
                return 1
            time.sleep(_PAUSE_SECONDS)  # a server that has just come up refuses for a moment
        else:
            break
    print(f"set-up: s3://{bucket} is there" + (f", and {arn} is told what is dropped into {_PREFIX}" if arn else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
