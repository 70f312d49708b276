"""``dropscribe doctor``: a list of checks, each with what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_rig import Cli

from handler.cli.doctor import examine
from handler.cli.doctor.finding import Context, Finding
from handler.cli.runtime import Runtime
from handler.clock import VirtualClock
from handler.errors import AccessDenied
from handler.settings import load_settings
from handler.store.memory import Call, MemoryStore


def checks(cli: Cli, *args: str | Path, code: int = 0) -> dict[str, dict[str, Any]]:
    result = cli("doctor", *args, "--json")
    assert result.exit_code == code, result.output
    told = json.loads(result.stdout)
    assert told["ok"] == (code == 0)
    return {check["name"]: check for check in told["checks"]}


def test_a_healthy_machine(cli: Cli) -> None:
    """With nothing wrong every check is ok or warns, the engine has answered, and the exit code is 0."""
    found = checks(cli)
    assert {"python", "packages", "settings", "work directory", "model", "engine"} <= set(found)
    assert "fail" not in {check["status"] for check in found.values()}
    assert cli.engines[0].jobs == 1
    assert cli.engines[0].closed
    assert "bucket" not in found


def test_a_healthy_bucket(cli: Cli, bucket: Path, recording: Path) -> None:
    """A bucket is asked whether it answers, lists and honours conditions; nothing is left in it."""
    cli("submit", recording, "--to", bucket)
    found = checks(cli, bucket)
    assert found["recordings"]["detail"].startswith("1 in")
    assert found["conditional writes"]["status"] == "ok"
    assert [path.name for path in bucket.rglob("*.wav")] == ["talk.wav"]
    assert not list((bucket / ".dropscribe").rglob("probe/*"))


def test_the_table_says_what_to_do(cli: Cli) -> None:
    """For people: each check in a row, and an arrow before what to do."""
    cli.env["DROPSCRIBE_MODEL"] = "auto"
    result = cli("doctor")
    assert result.exit_code == 0
    assert "→ Its transcripts are poor" in result.stdout


def test_a_missing_bucket_fails_alone(cli: Cli, tmp_path: Path) -> None:
    """A bucket that is not there fails its checks with the reason; the machine's checks are told all the same."""
    found = checks(cli, tmp_path / "nowhere", code=1)
    assert "no folder" in found["bucket"]["detail"]
    assert [check["status"] for check in found.values()].count("fail") == 5
    assert sum("no folder" in check["detail"] for check in found.values()) == 1
    assert found["engine"]["status"] == "ok"
    assert not (tmp_path / "nowhere").exists()


def test_an_input_that_leads_out(cli: Cli, bucket: Path, tmp_path: Path) -> None:
    """A link out of the bucket in the place of `input/` fails its check, which says where it leads; one that stays in
    the bucket does not.
    """
    (tmp_path / "data").mkdir()
    (bucket / "input").symlink_to(tmp_path / "data")
    found = checks(cli, bucket, code=1)["recordings"]
    assert found["status"] == "fail"
    assert str(bucket / "input") in found["detail"]
    assert str(tmp_path / "data") in found["detail"]
    assert found["advice"]
    (bucket / "input").unlink()
    (bucket / "archive").mkdir()
    (bucket / "input").symlink_to("archive")
    assert checks(cli, bucket)["recordings"]["status"] == "ok"


def test_a_bucket_that_may_not_be_written(cli: Cli) -> None:
    """A missing permission is that check's failure, with the hint."""

    def deny(call: Call, phase: str) -> None:
        if call.verb == "PUT":
            raise AccessDenied("s3:PutObject is denied")

    cli.clock = VirtualClock()
    cli.store = MemoryStore(cli.clock, hook=deny)
    found = checks(cli, "s3://closed", code=1)
    assert found["conditional writes"]["status"] == "fail"
    assert "Give these credentials the permission" in found["conditional writes"]["detail"]
    assert found["recordings"]["status"] == "ok"


@pytest.mark.parametrize(
    ("name", "value", "check", "status", "advice"),
    [
        ("DROPSCRIBE_MODLE", "sphinx", "settings", "warn", "DROPSCRIBE_MODEL"),
        ("DROPSCRIBE_MODEL", "large-v3", "model", "fail", "pipeline fetch large-v3"),
        ("DROPSCRIBE_WORK_DIR", "/proc/nowhere", "work directory", "fail", "DROPSCRIBE_WORK_DIR"),
    ],
)
def test_what_is_wrong_comes_with_advice(cli: Cli, name: str, value: str, check: str, status: str, advice: str) -> None:
    """A typing error in a setting, a model that is not here, a useless work directory: told, with what to do."""
    cli.env[name] = value
    found = checks(cli, code=1 if status == "fail" else 0)[check]
    assert found["status"] == status
    assert advice in found["advice"]


def test_an_engine_that_dies(cli: Cli) -> None:
    """An engine that does not answer is a failure that says how it ended."""
    cli.failures = [None]
    assert "SIGKILL" in checks(cli, code=1)["engine"]["detail"]


def test_one_broken_check_does_not_stop_the_others() -> None:
    """A check that raises has failed; those after it are still made."""

    def broken(context: Context) -> Finding:
        raise RuntimeError("a mistake in the check")

    def fine(context: Context) -> Finding:
        return Finding(status="ok", detail="fine")

    context = Context(settings=load_settings(), runtime=Runtime(), url=None)
    found = dict(examine([("a", broken), ("b", fine)], context))
    assert found["a"].status == "fail"
    assert "a mistake in the check" in found["a"].detail
    assert found["b"].status == "ok"
