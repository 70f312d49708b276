"""A folder for a bucket and an environment for commands, with nothing of the machine's own settings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cli_rig import Cli


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str | None]:
    """The environment of a command: quick, forced to sphinx, with a work directory of its own."""
    foreign: dict[str, str | None] = {name: None for name in os.environ if name.startswith(("DROPSCRIBE_", "AWS_"))}
    return foreign | {
        "DROPSCRIBE_MODEL": "sphinx",
        "DROPSCRIBE_WORK_DIR": str(tmp_path / "work"),
        "DROPSCRIBE_HOME": str(tmp_path / "home"),
        "DROPSCRIBE_SETTLE_SECONDS": "0",
        "DROPSCRIBE_SCAN_SECONDS": "0.05",
        "DROPSCRIBE_BACKOFF_SECONDS": "0.05",
    }


@pytest.fixture
def cli(env: dict[str, str | None]) -> Cli:
    return Cli(env)


@pytest.fixture
def s3_cli(cli: Cli, aws_environment: str, s3_bucket: str) -> tuple[Cli, str]:
    """Commands with the credentials of `aws_environment`, and a prefix for models."""
    for name in [name for name in cli.env if name.startswith("AWS_")]:
        del cli.env[name]
    return cli, f"s3://{s3_bucket}/models"


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    """A folder for a bucket, which is there and empty."""
    path = tmp_path / "bucket"
    path.mkdir()
    return path


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Bytes that the scripted engine takes for a recording."""
    path = tmp_path / "talk.wav"
    path.write_bytes(b"a recording of somebody who talks")
    return path
