"""Secrets among the settings: from the environment or from files, and in no error."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from handler.errors import SettingsError
from handler.settings import SECRETS, Settings, load_settings

SECRET = "whsec_c2VjcmV0IG9mIGEgdGVzdA=="


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """NAME_FILE names a file that holds the secret, as orchestrators mount them; its line end does not count."""
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n")
    monkeypatch.setenv(f"DROPSCRIBE_{name.upper()}_FILE", str(path))
    found = getattr(load_settings(), name)
    assert found.get_secret_value() == SECRET
    assert SECRET not in repr(load_settings())


@pytest.mark.parametrize("held", [b"", b"\n", b"\xff\xfe", b"x" * 70_000, None])
def test_a_useless_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: bytes | None) -> None:
    """A file that is empty, no text, far too large or missing is an error that names the variable and the file."""
    path = tmp_path / "secret"
    if held is not None:
        path.write_bytes(held)
    monkeypatch.setenv("DROPSCRIBE_CALLBACK_SECRET_FILE", str(path))
    with pytest.raises(SettingsError, match="DROPSCRIBE_CALLBACK_SECRET_FILE") as caught:
        load_settings()
    assert str(path) in caught.value.message


def test_two_secrets_are_one_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both the secret and a file with one: nobody can know which is meant, and neither is told."""
    path = tmp_path / "secret"
    path.write_text(SECRET)
    monkeypatch.setenv("DROPSCRIBE_CALLBACK_SECRET_FILE", str(path))
    monkeypatch.setenv("DROPSCRIBE_CALLBACK_SECRET", "whsec_another")
    with pytest.raises(SettingsError, match="both set") as caught:
        load_settings()
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_no_traceback_tells_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another setting is refused for does not show the secrets beside it, not even with --debug."""
    monkeypatch.setenv("DROPSCRIBE_CALLBACK_SECRET", SECRET)
    monkeypatch.setenv("DROPSCRIBE_LISTEN_TOKEN", SECRET)
    monkeypatch.setenv("DROPSCRIBE_BEAT_SECONDS", "80")
    with pytest.raises(SettingsError, match="BEAT_SECONDS") as caught:
        load_settings()
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_every_secret_can_be_mounted() -> None:
    """Whatever is a secret has a file of its own beside it, and is kept from the hub's processes."""
    secret = [name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)]
    assert sorted(secret) == sorted(SECRETS)
    assert all(f"{name}_file" in Settings.model_fields for name in secret)
