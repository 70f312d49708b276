"""``dropscribe submit`` with options: where they are put, and which of before apply."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from cli_rig import Cli, Describing, one_line

from handler.errors import AccessDenied
from handler.store.memory import Call, MemoryStore


def test_options_are_a_sidecar_written_first(cli: Cli, bucket: Path, recording: Path) -> None:
    """A folder keeps no metadata: the options lie beside the recording, and were there before it."""
    cli.json("submit", recording, "--to", bucket, "--option", "tag=a", "--option", "tag=b")
    sidecar = bucket / "input" / "talk.wav.options.json"
    assert json.loads(sidecar.read_bytes()) == {"tag": ["a", "b"]}
    assert sidecar.stat().st_mtime_ns <= (bucket / "input" / "talk.wav").stat().st_mtime_ns
    cli.json("work", bucket, "--drain")
    assert json.loads((bucket / "results" / "talk.wav.json").read_bytes())["metadata"]["tags"] == ["a", "b"]


def test_options_are_metadata_where_there_is_some(cli: Cli, recording: Path) -> None:
    """A store with metadata gets recording and options in one write, and no sidecar."""
    cli.store = store = Describing(cli.clock)
    cli.json("submit", recording, "--to", "s3://bucket", "--option", "initial_prompt=a&b=c, näher", "--option", "tag=x")
    assert store.keys("input/") == ("input/talk.wav",)
    query = store.head("input/talk.wav").metadata["dropscribe"]
    assert query.isascii()
    assert parse_qs(query) == {"initial_prompt": ["a&b=c, näher"], "tag": ["x"]}


def test_options_too_long_for_metadata_are_a_sidecar(cli: Cli, recording: Path) -> None:
    """S3 takes 2 KB of metadata; longer options are a sidecar there too, written before the recording."""
    cli.store = store = Describing(cli.clock)
    cli.json("submit", recording, "--to", "s3://bucket", "--option", f"initial_prompt={'long ' * 500}")
    written = [call.key for call in store.calls if call.verb == "PUT"]
    assert written == ["input/talk.wav.options.json", "input/talk.wav"]


def test_options_from_before_are_told(cli: Cli, bucket: Path, recording: Path) -> None:
    """A sidecar that lies there already applies to what is submitted again: one line names it, and so does the JSON.
    It stays; one that is replaced is no news.
    """
    sidecar = bucket / "input" / "talk.wav.options.json"
    [first] = cli.json("submit", recording, "--to", bucket, "--option", "tag=a")["inputs"]
    [second] = cli.json("submit", recording, "--to", bucket, "--option", "tag=b")["inputs"]
    [third] = cli.json("submit", recording, "--to", bucket)["inputs"]
    assert [one["earlier_options"] for one in (first, second, third)] == [None, None, str(sidecar)]
    told = cli("submit", recording, "--to", bucket).stderr.splitlines()
    assert [str(sidecar) in line for line in told] == [True, False]
    assert json.loads(sidecar.read_bytes()) == {"tag": "b"}
    sidecar.unlink()
    assert len(cli("submit", recording, "--to", bucket).stderr.splitlines()) == 1


@pytest.mark.parametrize("args", [[], ["--option", "tag=x"]])
def test_long_options_from_before_are_told(cli: Cli, recording: Path, args: list[str]) -> None:
    """So it is on S3, where options that were too long for metadata lie beside those that are not."""
    cli.store = Describing(cli.clock)
    long = ["--option", f"initial_prompt={'long ' * 500}"]
    [first] = cli.json("submit", recording, "--to", "s3://bucket", *long)["inputs"]
    [second] = cli.json("submit", recording, "--to", "s3://bucket", *args)["inputs"]
    assert first["earlier_options"] is None
    assert second["earlier_options"] == "memory://test/input/talk.wav.options.json"


def test_without_the_right_to_look(cli: Cli, recording: Path) -> None:
    """Credentials that may drop recordings, but not learn what is not there, still can."""

    def deny(call: Call, phase: str) -> None:
        if call.verb == "HEAD" and call.key.endswith(".options.json"):
            raise AccessDenied("s3:ListBucket is denied")

    cli.store = MemoryStore(cli.clock, hook=deny)
    assert cli.json("submit", recording, "--to", "s3://bucket")["inputs"][0]["earlier_options"] is None


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--prefix", "../../up"], "'..'"),
        (["--prefix", "calls/.today/"], "'.today'"),
        (["--option", "langage=en"], "language"),
        (["--option", "summarize=true"], "not supported"),
        (["--timeout", "5"], "--wait"),
    ],
)
def test_mistakes_are_told_before_anything_is_uploaded(
    cli: Cli, bucket: Path, recording: Path, args: list[str], told: str
) -> None:
    """A wrong option leaves the bucket as it was."""
    result = cli("submit", recording, "--to", bucket, *args)
    assert result.exit_code == 2
    assert told in one_line(result)
    assert list(bucket.iterdir()) == []
