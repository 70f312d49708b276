"""What the S3 store says of refusals, of what is not there and of settings that cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from handler.clock import SystemClock, VirtualClock
from handler.errors import (
    AccessDenied,
    NotFound,
    Refused,
    SettingsError,
    StoreError,
    Unavailable,
    UnsafeStore,
)
from handler.store.s3 import S3Store


def test_denied_names_the_permission(faulty_store: S3Store, proxy: Any) -> None:
    """Each refused request names the IAM action and the key that it was refused for."""
    for action, key, ask in (
        ("s3:PutObject", "p/a", lambda: faulty_store.put("a", b"x")),
        ("s3:PutObject", "p/a", lambda: faulty_store.put("a", b"x", if_absent=True)),
        ("s3:GetObject", "p/a", lambda: faulty_store.get("a")),
        ("s3:GetObject", "p/a", lambda: faulty_store.head("a")),
        ("s3:ListBucket", "p/in/", lambda: list(faulty_store.list("in/"))),
        ("s3:DeleteObject", "p/a", lambda: faulty_store.delete("a")),
    ):
        proxy.faults[:] = ["AccessDenied"]
        with pytest.raises(AccessDenied) as raised:
            ask()
        assert action in raised.value.message
        assert f"/{key}" in raised.value.message


@pytest.mark.parametrize(("fault", "error"), [("ExpiredToken", AccessDenied), ("NotImplemented", UnsafeStore)])
def test_other_refusals(faulty_store: S3Store, proxy: Any, fault: str, error: type[StoreError]) -> None:
    """Credentials that ran out, and a server that does not know conditional writes, are called what they are."""
    proxy.faults[:] = [fault]
    with pytest.raises(error):
        faulty_store.put("a", b"x", if_absent=True)


def test_missing_bucket(aws_environment: str) -> None:
    """A bucket that does not exist says so, and never passes for an absent object or a lost race."""
    store = S3Store("no-such-bucket", clock=SystemClock())
    for ask in (
        lambda: list(store.list("")),
        lambda: store.get("a"),
        lambda: store.put("a", b"x"),
        lambda: store.put("a", b"x", if_absent=True),
        lambda: store.put("a", b"x", if_match="0" * 32),
    ):
        with pytest.raises(StoreError, match="there is no bucket no-such-bucket") as raised:
            ask()
        assert not isinstance(raised.value, NotFound | Refused)
    store.close()


def test_no_server(s3_store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody at the endpoint is `Unavailable`, whose hint names the variable to check."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    store = S3Store("b", clock=VirtualClock())
    with pytest.raises(Unavailable, match="no answer") as raised:
        store.put("a", b"x", if_absent=True)
    assert "AWS_ENDPOINT_URL" in raised.value.hint
    store.close()


def test_no_credentials(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials the error says which variables to set."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    store = S3Store(s3_bucket, clock=SystemClock())
    with pytest.raises(AccessDenied, match="no AWS credentials") as raised:
        store.head("a")
    assert "AWS_ACCESS_KEY_ID" in raised.value.hint
    store.close()


@pytest.mark.parametrize(("name", "value"), [("AWS_PROFILE", "nobody"), ("AWS_ENDPOINT_URL", "not a url")])
def test_impossible_aws_settings(aws_environment: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A profile that is not there or an endpoint that is no URL is an error of the settings, with one line."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError):
        S3Store("b", clock=SystemClock())
