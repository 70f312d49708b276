"""Secrets of every kind are planted around a worker, which then works, fails and is misconfigured: they are in nothing
that it writes or says.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end import recordings

ROOT = Path(__file__).parents[2]
# Names that clients of clouds, hubs and proxies read, and our own. Each value is unlike all others.
PLANTED = {
    "AWS_ACCESS_KEY_ID": "AKIAPLANTED0000001",
    "AWS_SECRET_ACCESS_KEY": "planted-0002-aws-secret",
    "AWS_SESSION_TOKEN": "planted-0003-aws-session",
    "DROPSCRIBE_CALLBACK_SECRET": "whsec_cGxhbnRlZC0wMDA0LWNhbGxiYWNrLXNlY3JldA==",
    "HF_TOKEN": "planted-0005-hub-token",
    "HTTPS_PROXY": "http://me:planted-0006-proxy@127.0.0.1:9",
    "SOMEBODYS_API_KEY": "planted-0007-foreign",
}
IN_FILES = {
    "token": "planted-0008-listen-token",
    "home/.aws/credentials": "[other]\naws_secret_access_key = planted-0009",
}
CALLBACK = "https://me:planted-0010-callback@127.0.0.1:9/hook?token=planted-0011-query"
ALL = [*PLANTED.values(), IN_FILES["token"], "planted-0006", "planted-0009", "planted-0010", "planted-0011"]


def found_in(text: bytes) -> list[str]:
    return [secret for secret in ALL if secret.encode() in text]


@pytest.fixture
def planted(tmp_path: Path) -> dict[str, str]:
    """An environment with secrets in it, and files with some."""
    for name, secret in IN_FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(secret)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "DROPSCRIBE_"))}
    return kept | PLANTED | {
        "HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(ROOT),
        "DROPSCRIBE_LISTEN_TOKEN_FILE": str(tmp_path / "token"),
        "DROPSCRIBE_WORK_DIR": str(tmp_path / "work"),
        "DROPSCRIBE_HOME": str(tmp_path / "models"),
        "DROPSCRIBE_SETTLE_SECONDS": "0",
        "DROPSCRIBE_CALLBACK_RETRIES": "0",
        "DROPSCRIBE_CALLBACK_SECONDS": "0.05",
    }  # fmt: skip


def said(environment: dict[str, str], *arguments: str) -> tuple[int, bytes]:
    """Exit code, and all that the command says, as loud as it can."""
    command = [sys.executable, "-m", "handler.cli", *arguments, "--verbose", "--debug"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.returncode, done.stdout


def test_nothing_that_is_written_or_said_has_a_secret(tmp_path: Path, planted: dict[str, str]) -> None:
    """Result, errors, manifests, records, models' folder and the loudest log, of a recording that is transcribed, one
    that cannot be read, and a callback that is refused: of the callback's URL alone the record and the options speak.
    """
    bucket = tmp_path / "bucket"
    (bucket / "input").mkdir(parents=True)
    (bucket / "input/good.flac.options.json").write_text(f'{{"callback": "{CALLBACK}"}}')
    recordings.flac(tmp_path).rename(bucket / "input/good.flac")
    (bucket / "input/bad.wav").write_bytes(b"no recording at all")
    code, log = said(planted, "work", str(bucket), "--drain", "--model", "sphinx")
    assert code == 0, log
    assert (bucket / "results/good.flac.json").is_file()
    assert (bucket / "errors/bad.wav.json").is_file()
    assert b"engine" in log
    assert found_in(log) == []
    options = {bucket / "input/good.flac.options.json", *(bucket / ".dropscribe/v1/jobs").glob("**/*.json")}
    written = [path for folder in (bucket, tmp_path / "work", tmp_path / "models") for path in folder.rglob("*")]
    files = [path for path in written if path.is_file() and path not in options]
    assert len(files) > 6
    assert {str(path): found for path in files if (found := found_in(path.read_bytes()))} == {}
    assert found_in(b"".join(path.read_bytes() for path in options)) == ["planted-0010", "planted-0011"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"DROPSCRIBE_BEAT_SECONDS": "80"},
        {"DROPSCRIBE_CALLBACK_SECRET": "whsec_planted-0010-no-base64!"},
        {"DROPSCRIBE_LISTEN_TOKEN": "planted-0011-twice"},
        {"AWS_ENDPOINT_URL": "http://me:planted-0010@127.0.0.1:9"},
    ],
    ids=["another setting", "no secret at all", "two of them", "an endpoint with a password"],
)
def test_no_error_tells_a_secret(tmp_path: Path, planted: dict[str, str], wrong: dict[str, str]) -> None:
    """What is set wrong is said, with a traceback when that is asked for, and no secret in it."""
    place = "s3://bucket/prefix" if "AWS_ENDPOINT_URL" in wrong else str(tmp_path / "bucket")
    code, log = said(planted | wrong, "work", place, "--drain", "--model", "sphinx")
    assert code != 0
    assert next(iter(wrong)).encode() in log, log
    assert found_in(log) == []
