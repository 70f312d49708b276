"""``dropscribe retry`` and ``dropscribe cache``, as typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_rig import Cli, one_line

from handler.store.memory import MemoryStore
from pipeline.errors import NoAudio


@pytest.fixture
def failed(cli: Cli, bucket: Path, recording: Path) -> Path:
    """A bucket whose only recording has failed."""
    cli.json("submit", recording, "--to", bucket)
    cli.failures = [NoAudio("there is no sound in it").to_detail()]
    assert cli.json("work", bucket, "--drain")["failed"] == 1
    cli.failures = []
    return bucket


def test_retry_of_a_key(cli: Cli, failed: Path) -> None:
    """The named recording is done again and its error is gone."""
    assert cli.json("retry", failed, "talk.wav")["inputs"] == [
        {"key": "talk.wav", "outcome": "retried", "was": "failed"}
    ]
    assert cli.json("work", failed, "--drain")["completed"] == 1
    assert not (failed / "errors" / "talk.wav.json").exists()


def test_retry_says_what_is_not_settled(cli: Cli, failed: Path) -> None:
    """Retrying twice: the second time it is queued already, which is said and is no error."""
    assert "talk.wav (failed) will be done again" in cli("retry", failed, "input/talk.wav").stdout
    again = cli("retry", failed, "talk.wav")
    assert again.exit_code == 0
    assert "still queued" in again.stderr


def test_retry_all_failed(cli: Cli, failed: Path) -> None:
    """--all --failed finds what failed, and then there is nothing left to retry."""
    assert [one["key"] for one in cli.json("retry", failed, "--all", "--failed")["inputs"]] == ["talk.wav"]
    assert "nothing to retry" in cli("retry", failed, "--all").stderr


@pytest.mark.parametrize("args", [[], ["talk.wav", "--all"], ["talk.wav", "--failed"]])
def test_retry_needs_keys_or_all(cli: Cli, failed: Path, args: list[str]) -> None:
    """Which recordings are meant must be clear."""
    result = cli("retry", failed, *args)
    assert result.exit_code == 2
    one_line(result)


def test_retry_of_an_unknown_key_retries_nothing(cli: Cli, failed: Path) -> None:
    """One name that is not there: an error, and the others are left as they were."""
    result = cli("retry", failed, "talk.wav", "nobody.wav")
    assert result.exit_code == 1
    assert "nobody.wav" in one_line(result)
    assert cli.json("status", failed)["counts"] == {"failed": 1}


@pytest.fixture
def worked(cli: Cli, bucket: Path, recording: Path) -> Path:
    """A bucket with one completed recording."""
    cli.json("submit", recording, "--to", bucket)
    cli.json("work", bucket, "--drain")
    return bucket


def test_cache_stats(cli: Cli, worked: Path) -> None:
    """Entries by stage and misses are told in JSON and as a table."""
    told = cli.json("cache", "stats", worked)
    assert told["entries"] == 2
    assert told["stages"]["transcribing"]["entries"] == 1
    assert (told["hits"], told["misses"], told["hit_rate"]) == (0, 2, 0.0)
    shown = cli("cache", "stats", worked).stdout
    assert "transcribing" in shown
    assert "0 hits, 2 misses" in shown


def test_cache_clear_asks(cli: Cli, worked: Path) -> None:
    """Without a terminal and without --yes nothing is deleted."""
    result = cli("cache", "clear", worked)
    assert result.exit_code == 2
    assert "--yes" in one_line(result)
    assert cli.json("cache", "stats", worked)["entries"] == 2


def test_cache_clear(cli: Cli, worked: Path) -> None:
    """With --yes the cache is empty, and results and recordings are where they were."""
    assert cli.json("cache", "clear", worked, "--yes")["references"] == 2
    assert cli.json("cache", "stats", worked)["entries"] == 0
    assert (worked / "results" / "talk.wav.json").exists()
    assert cli.json("status", worked)["counts"] == {"completed": 1}


def test_when_workers_notice_a_retry(cli: Cli) -> None:
    """A retry is no event: on a bucket, it says how long a worker that hears of recordings may take to notice."""
    cli.store = MemoryStore(cli.clock)
    cli.store.drop("input/empty.wav", b"")
    assert cli("work", "s3://calls", "--drain").exit_code == 0
    result = cli("retry", "s3://calls", "empty.wav")
    assert result.exit_code == 0, result.stderr
    assert "within 300 s" in result.stderr
