"""What a listing costs: by where an S3 store's requests go."""

from __future__ import annotations

import pytest

from handler.clock import SystemClock
from handler.store.s3 import S3Store, bills_requests


@pytest.mark.parametrize(
    ("endpoint", "billed"),
    [
        ("https://s3.eu-central-1.amazonaws.com", True),
        ("https://s3.cn-north-1.amazonaws.com.cn", True),
        ("https://s3.dualstack.eu-west-1.api.aws", True),
        ("https://0123abcd.r2.cloudflarestorage.com", True),
        ("https://storage.googleapis.com", True),
        ("https://s3.us-west-004.backblazeb2.com", True),
        ("http://127.0.0.1:9000", False),
        ("http://[::1]:9000", False),
        ("http://minio:9000", False),
        ("https://s3.example.org/amazonaws.com", False),
        ("https://notamazonaws.com", False),
    ],
)
def test_whose_listings_are_on_a_bill(endpoint: str, billed: bool) -> None:
    """A service that takes money for a listing is known by its host; any other server is somebody's own."""
    assert bills_requests(endpoint) is billed


def test_a_store_goes_by_where_its_requests_go(aws_environment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that AWS's variables name is one's own; where none is named, requests go to AWS, and are paid for."""
    assert S3Store("b", clock=SystemClock()).listing == "own"
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    assert S3Store("b", clock=SystemClock()).listing == "paid"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", aws_environment)
    assert S3Store("b", clock=SystemClock()).listing == "own"
