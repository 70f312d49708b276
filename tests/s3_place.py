"""Where tests may write on an S3 server that is somebody's: under a prefix made for them, and nowhere else.

Takes ``s3://bucket/prefix`` and AWS's own variables, credentials and endpoint included; gives a client, the bucket's
name and a prefix that nothing else has. What was made is removed again: the objects, and the bucket if it was not
there.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from handler.aws import boto_session


@dataclass(frozen=True)
class Place:
    """``prefix`` has no slash at its end. ``client``: a boto3 client of the server."""

    client: Any
    bucket: str
    prefix: str

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"

    def empty(self) -> None:
        """Remove all objects and unfinished uploads under the prefix, as any server can."""
        while found := self.client.list_objects_v2(Bucket=self.bucket, Prefix=f"{self.prefix}/").get("Contents"):
            for entry in found:
                self.client.delete_object(Bucket=self.bucket, Key=entry["Key"])
        with contextlib.suppress(self.client.exceptions.ClientError):  # a server without that listing
            begun = self.client.list_multipart_uploads(Bucket=self.bucket, Prefix=f"{self.prefix}/")
            for upload in begun.get("Uploads", ()):
                self.client.abort_multipart_upload(Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"])


@contextlib.contextmanager
def given_place(url: str) -> Iterator[Place]:
    """The bucket of ``url``, made if it is not there, and then removed."""
    scheme, _, rest = url.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not bucket:
        pytest.exit(f"--s3 {url}: give s3://BUCKET or s3://BUCKET/PREFIX", returncode=2)
    client = boto_session().client("s3")
    made = _make(client, bucket)
    try:
        yield Place(client, bucket, prefix.strip("/"))
    finally:
        if made:
            client.delete_bucket(Bucket=bucket)
        client.close()


@contextlib.contextmanager
def made_place(given: Place) -> Iterator[Place]:
    """A new prefix within ``given``'s."""
    name = f"dropscribe-test-{uuid.uuid4().hex[:12]}"
    place = Place(given.client, given.bucket, f"{given.prefix}/{name}".strip("/"))
    try:
        yield place
    finally:
        place.empty()


def _make(client: Any, bucket: str) -> bool:
    """Whether it had to be made. Where it can neither be seen nor made, one line says so, and nothing is run."""
    from botocore.exceptions import BotoCoreError

    try:
        client.head_bucket(Bucket=bucket)
    except client.exceptions.ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            pytest.exit(f"--s3: the bucket {bucket} may not be looked at: {error}", returncode=1)
    except BotoCoreError as error:
        pytest.exit(f"--s3: no answer: {error}", returncode=1)
    else:
        return False
    region = client.meta.region_name
    outside = {} if region in (None, "us-east-1", "aws-global") else {"LocationConstraint": region}
    try:
        client.create_bucket(Bucket=bucket, **({"CreateBucketConfiguration": outside} if outside else {}))
    except client.exceptions.ClientError as error:
        pytest.exit(f"--s3: there is no bucket {bucket}, and none can be made: {error}", returncode=1)
    return True
