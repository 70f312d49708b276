"""``dropscribe models``: what there is, and how it gets from here to there."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, get_args

import pytest
from cli_rig import Cli, model_rows, one_line
from pydantic import SecretStr

from handler.errors import EXIT_NO_PERMISSION, EXIT_UNAVAILABLE, EXIT_USAGE
from handler.models.hub import convert, fetch
from handler.settings import Settings
from pipeline import weights as weights_of
from pipeline.errors import ModelUnavailable
from pipeline.family import FAMILY


@pytest.fixture
def home(tmp_path: Path, fixed_whisper: Path) -> Path:
    """The folder of fetched models, with one in it that somebody fetched from the hub."""
    path = tmp_path / "home"
    shutil.copytree(fixed_whisper, path / "small")
    record = weights_of.describe(path / "small", repo="Systran/faster-whisper-small", commit="c" * 40)
    weights_of.write_record(path / "small", record)
    return path


# ── list ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_list_shows_what_is_here_and_what_could_be(cli: Cli, home: Path) -> None:
    """Models on disk with their revision, and the family that is not here with licence and size of the download."""
    found = model_rows(cli.json("models", "list"))
    here = found["small", "local"]
    assert (here["version"], here["licence"], here["languages"]) == ("c" * 12, "MIT", "multilingual")
    assert here["folder"] == str(home / "small")
    assert here["size"] == sum(path.stat().st_size for path in (home / "small").iterdir())
    for name, known in FAMILY.items():
        if name != "small":
            row = found[name, "hub"]
            assert (row["licence"], row["size"], row["revision"]) == (known.licence, known.size, "")
            assert row["languages"] == ("English" if ".en" in name or "distil" in name else "multilingual")
    assert found["sphinx", "package"]["backend"] == "sphinx"
    shown = cli("models", "list").stdout
    assert "not here" in shown
    assert "cccccccccccc" in shown


def test_no_model_that_may_not_be_sold_is_known() -> None:
    """What the catalog offers by itself may be used commercially."""
    assert {known.licence for known in FAMILY.values()} <= {"MIT", "Apache-2.0", "BSD-2-Clause", "CC-BY-4.0"}


def test_a_licence_is_never_guessed(cli: Cli, home: Path, fixed_whisper: Path) -> None:
    """A model under a known name that came from elsewhere, and one of one's own, have a licence nobody knows."""
    shutil.copytree(fixed_whisper, home / "our-own")
    shutil.copytree(fixed_whisper, home / "tiny")
    weights_of.write_record(home / "tiny", weights_of.describe(home / "tiny", repo="acme/tiny", commit="d" * 40))
    found = model_rows(cli.json("models", "list"))
    assert found["our-own", "local"]["licence"] == "unknown"
    assert found["tiny", "local"]["licence"] == "unknown"
    assert found["our-own", "local"]["languages"] == "multilingual"


def test_list_verify_finds_what_is_damaged(cli: Cli, home: Path) -> None:
    """One flipped bit of the weights is named, and the command says so with its exit code; without --verify it is not
    looked for.
    """
    assert cli("models", "list", "--verify").exit_code == 0
    body = bytearray((home / "small/model.bin").read_bytes())
    body[-1] ^= 1
    stamp = (home / "small/model.bin").stat()
    (home / "small/model.bin").write_bytes(body)
    os.utime(home / "small/model.bin", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # as a failing disk does it
    assert cli("models", "list").exit_code == 0
    result = cli("models", "list", "--verify", "--json")
    assert result.exit_code == EXIT_UNAVAILABLE
    assert "model.bin" in one_line(result)
    assert model_rows(json.loads(result.stdout))["small", "local"]["problem"] == "model.bin: not the recorded checksum"


def test_list_shows_incomplete_models(cli: Cli, home: Path) -> None:
    """A model that lacks a file is shown with what it lacks."""
    (home / "small/tokenizer.json").unlink()
    assert model_rows(cli.json("models", "list"))["small", "local"]["problem"] == "there is no tokenizer.json"


def test_list_of_a_bucket(s3_cli: tuple[Cli, str], home: Path, s3_client: Any, s3_bucket: str) -> None:
    """Models in a bucket, those that are here as well in one row; --verify compares the objects' sizes."""
    cli, url = s3_cli
    cli.json("models", "push", "small", url)
    assert model_rows(cli.json("models", "list", url))["small", "local,bucket"]["version"] == "c" * 12
    shutil.rmtree(home)
    assert model_rows(cli.json("models", "list", url))["small", "bucket"]["licence"] == "MIT"
    s3_client.put_object(Bucket=s3_bucket, Key=f"models/small/{'c' * 16}/model.bin", Body=b"short")
    result = cli("models", "list", url, "--verify")
    assert result.exit_code == EXIT_UNAVAILABLE
    assert "model.bin has 5 bytes" in one_line(result)


# ── push and pull ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_model_goes_through_a_bucket(s3_cli: tuple[Cli, str], home: Path) -> None:
    """Pushed here, pulled there: the same revision, whole; pushed again, nothing is sent."""
    cli, url = s3_cli
    pushed = cli.json("models", "push", "small", url)
    assert (pushed["revision"], pushed["already"]) == ("c" * 40, False)
    assert cli.json("models", "push", "small", url)["already"]
    shutil.rmtree(home)
    pulled = cli.json("models", "pull", "small", "--from", url)
    assert pulled["revision"] == "c" * 40
    assert Path(pulled["folder"]).parent == home
    assert model_rows(cli.json("models", "list", "--verify"))["small", "local"]["problem"] == ""


def test_the_configured_bucket_is_pulled_from(s3_cli: tuple[Cli, str], home: Path, tmp_path: Path) -> None:
    """With DROPSCRIBE_MODELS on a bucket, pull needs no --from, and it is the workers' own copy that is renewed."""
    cli, url = s3_cli
    cli.json("models", "push", "small", url)
    cli.env["DROPSCRIBE_MODELS"], cli.env["DROPSCRIBE_HOME"] = url, str(tmp_path / "other")
    first = cli.json("models", "pull", "small")
    assert Path(first["folder"]).is_relative_to(tmp_path / "other" / "mirrors")
    body = bytearray((home / "small/model.bin").read_bytes())
    body[-1] ^= 1
    (home / "small/model.bin").write_bytes(body)
    (home / "small" / weights_of.RECORD).unlink()
    cli.json("models", "push", home / "small", url)
    second = cli.json("models", "pull", "small")
    assert second["revision"] != first["revision"]
    assert Path(first["folder"]).is_dir(), "a running worker reads it"


def test_a_folder_is_a_source_and_a_place(cli: Cli, home: Path, tmp_path: Path) -> None:
    """push and pull know folders, too: a share that every machine mounts."""
    share = tmp_path / "share"
    cli.json("models", "push", "small", share)
    cli.env["DROPSCRIBE_HOME"] = str(tmp_path / "other")
    pulled = cli.json("models", "pull", "small", "--from", share)
    assert (pulled["revision"], Path(pulled["folder"]).parent) == ("c" * 40, tmp_path / "other")


def test_pull_says_what_is_there(s3_cli: tuple[Cli, str], home: Path) -> None:
    """A model that the bucket has not got, or has at another revision, is one line with what it has."""
    cli, url = s3_cli
    cli.json("models", "push", "small", url)
    for name, said in (("large-v3", "There is small"), (f"small@{'0' * 12}", "c" * 12)):
        result = cli("models", "pull", name, "--from", url)
        assert result.exit_code == EXIT_UNAVAILABLE
        assert said in one_line(result)


def test_troubles_are_one_line(s3_cli: tuple[Cli, str], home: Path) -> None:
    """What cannot be pushed, pulled or listed says what to do."""
    cli, url = s3_cli
    for args, code, said in (
        (("push", "sphinx", url), EXIT_USAGE, "comes with its package"),
        (("push", "tiny", url), EXIT_UNAVAILABLE, "python -m pipeline fetch tiny"),
        (("push", "small", "gs://bucket/x"), EXIT_USAGE, "no place"),
        (("push", "small@1234567", url), EXIT_UNAVAILABLE, "1234567"),
        (("push", "small@latest", url), EXIT_USAGE, "revision"),
        (("pull", "small", "--as", "x"), EXIT_USAGE, "--convert"),
        (("pull", "small", "--from", f"{url}x"), EXIT_UNAVAILABLE, "no model small"),
    ):
        result = cli("models", *args)
        assert result.exit_code == code, (args, result.stderr)
        assert said in one_line(result), args


def test_without_credentials_the_permission_is_named(cli: Cli, home: Path, tmp_path: Path, s3_endpoint: str) -> None:
    """Who may not read the bucket is told so, with the exit code of a missing permission."""
    cli.env |= {
        "AWS_ENDPOINT_URL": s3_endpoint, "AWS_CONFIG_FILE": str(tmp_path / "none"), "AWS_REGION": "us-east-1",
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"), "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
    result = cli("models", "list", "s3://some-bucket/models")
    assert result.exit_code == EXIT_NO_PERMISSION
    assert "s3:ListBucket" in one_line(result)


# ── the hub's processes ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_hubs_process_gets_no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What talks to the hub knows the folder and the name, and no secret of buckets or callbacks."""
    fields = Settings.model_fields.items()
    ours = [f"DROPSCRIBE_{name.upper()}" for name, field in fields if SecretStr in get_args(field.annotation)]
    assert "DROPSCRIBE_CALLBACK_SECRET" in ours
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", *ours):
        monkeypatch.setenv(name, "hush")
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror")
    seen: list[tuple[list[str], dict[str, str]]] = []

    def run(arguments: Any, environment: Any) -> int:
        seen.append((list(arguments), dict(environment)))
        return 0

    fetch("large-v3@0123456", tmp_path, run)
    convert("acme/whisper", tmp_path, "int8", "ours", run)
    assert [arguments[2] for arguments, _ in seen] == ["fetch", "convert"]
    assert seen[0][0][-1] == "large-v3@0123456"
    for _, environment in seen:
        assert "hush" not in environment.values()
        assert (environment["HF_ENDPOINT"], environment["DROPSCRIBE_HOME"]) == ("http://mirror", str(tmp_path))
    with pytest.raises(ModelUnavailable, match="stands above"):
        fetch("tiny", tmp_path, lambda arguments, environment: 1)


def test_an_option_of_theirs_is_no_option(tmp_path: Path) -> None:
    """A name that looks like an option reaches the process as a name."""
    with pytest.raises(ModelUnavailable):
        fetch("--help", tmp_path)


# ── doctor ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_doctor_looks_into_the_bucket_of_models(s3_cli: tuple[Cli, str], home: Path, tmp_path: Path) -> None:
    """A model that a worker would bring from the bucket is no failure, and none is brought for a look; one that is not
    there is.
    """
    cli, url = s3_cli
    cli.json("models", "push", "small", url)
    cli.env |= {"DROPSCRIBE_MODELS": url, "DROPSCRIBE_HOME": str(tmp_path / "bare"), "DROPSCRIBE_MODEL": "small"}
    for model, status, said in (
        ("small", "warn", "the bucket has small"),
        ("auto", "warn", "the bucket has small"),
        ("large-v3", "fail", "models push large-v3"),
    ):
        cli.env["DROPSCRIBE_MODEL"] = model
        found = {check["name"]: check for check in json.loads(cli("doctor", "--json").stdout)["checks"]}
        assert found["model"]["status"] == status
        assert said in found["model"]["advice"]
    assert not (tmp_path / "bare").exists()
