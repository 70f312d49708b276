"""Callbacks on the command line: a drain that delivers, what ``status`` tells of them, settings that cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from callback_rig import Receiver, answer
from cli_rig import Cli, one_line


def drop(bucket: Path, url: str, name: str = "talk.wav") -> None:
    folder = bucket / "input"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.options.json").write_text(json.dumps({"callback": url}))
    (folder / name).write_bytes(name.encode())


def test_from_the_drop_to_the_receiver(cli: Cli, bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drained worker leaves no callback behind, and ``status`` says how each one ended, in JSON and for people."""
    with Receiver(answer(500)) as receiver:
        monkeypatch.setenv("DROPSCRIBE_CALLBACK_ALLOW", f"127.0.0.1:{receiver.port}")
        monkeypatch.setenv("DROPSCRIBE_CALLBACK_SECONDS", "0.05")
        drop(bucket, receiver.url("/hook?token=s3cret"))
        drop(bucket, "http://me:s3cret@10.0.0.1/", "refused.wav")
        drop(bucket, receiver.url(), "none.wav")
        (bucket / "input" / "none.wav.options.json").unlink()
        told = cli.json("work", bucket, "--drain")
        assert told["completed"] == 3
        assert [one.body for one in receiver.received] == [(bucket / "results" / "talk.wav.json").read_bytes()] * 2
    rows = {row["key"]: row["callback"] for row in cli.json("status", bucket)["inputs"]}
    assert rows["none.wav"] is None
    assert (rows["talk.wav"]["status"], rows["talk.wav"]["attempts"]) == ("delivered", 2)
    assert rows["refused.wav"]["status"] == "failed"
    assert cli.json("status", bucket, "talk.wav")["callback"] == rows["talk.wav"]
    assert cli.json("status", bucket, "none.wav")["callback"] is None
    shown = cli("status", bucket).stdout + cli("status", bucket, "talk.wav").stdout
    assert "Callback failed" in " ".join(shown.split())
    assert "1 callbacks delivered" in shown
    assert "s3cret" not in shown + json.dumps(rows)


@pytest.mark.parametrize(
    ("name", "value"), [("DROPSCRIBE_CALLBACK_SECRET", "hunter2"), ("DROPSCRIBE_CALLBACK_ALLOW", "http://hooks")]
)
def test_settings_that_cannot_be(
    cli: Cli, bucket: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """A secret or a list that cannot be is one line, before anything starts, and the secret is not in it."""
    monkeypatch.setenv(name, value)
    result = cli("work", bucket, "--drain")
    assert result.exit_code == 2
    line = one_line(result)
    assert name in line
    assert "hunter2" not in line
