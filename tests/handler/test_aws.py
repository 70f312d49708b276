"""What of AWS's variables reaches the clients."""

from __future__ import annotations

from pathlib import Path

import pytest

from handler.aws import boto_session
from handler.errors import SettingsError, Usage
from handler.sqs import open_sqs
from handler.store.s3 import boto_clients


@pytest.mark.parametrize(
    ("given", "region"),
    [
        ({"AWS_REGION": "eu-north-1"}, "eu-north-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-3"}, "eu-west-3"),
        ({"AWS_REGION": "eu-north-1", "AWS_DEFAULT_REGION": "eu-west-3"}, "eu-north-1"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": "eu-west-3"}, "eu-west-3"),
        ({}, None),
    ],
)
def test_the_region(
    aws_environment: str, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], region: str | None
) -> None:
    """AWS_REGION is the region, as everywhere else in AWS; where it is not set, what boto3 reads."""
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert boto_session().region_name == region
    if region is not None:
        client = boto_clients()(1)
        assert client.meta.region_name == region
        client.close()


def test_a_queue_needs_no_more_than_the_region(aws_environment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With AWS_REGION alone, as the documents and the errors have it, a queue can be opened."""
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    client = boto_session().client("sqs")
    client.create_queue(QueueName="of-a-region")
    client.close()
    open_sqs("of-a-region").close()


def test_an_endpoint_takes_no_password(aws_environment: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user and a password in an endpoint's URL, of the environment or of AWS's configuration, are refused before
    boto3 can tell them, and not told by the refusal.
    """
    with monkeypatch.context() as patched:
        patched.setenv("AWS_ENDPOINT_URL_SQS", "http://me:planted@127.0.0.1:9")
        for opened in (boto_session, boto_clients, lambda: open_sqs("a-queue")):
            with pytest.raises((ValueError, SettingsError, Usage), match="AWS_ENDPOINT_URL_SQS has a user") as caught:
                opened()
            assert "planted" not in str(caught.value)
    (tmp_path / "config").write_text("[default]\nendpoint_url = http://me:planted@127.0.0.1:9\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    with pytest.raises(SettingsError, match="the endpoint has a user") as caught:
        boto_clients()(1)
    assert "planted" not in str(caught.value)
