"""``dropscribe cache prune``, as typed: what is given, what is told, and that nothing young goes."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest
from cli_rig import Cli, one_line

from handler.cli.amounts import age, amount

DAY = 24 * 3600


@pytest.fixture
def worked(cli: Cli, bucket: Path, recording: Path) -> Path:
    """A bucket with one completed recording, all of whose objects were written ten days ago."""
    cli.json("submit", recording, "--to", bucket)
    cli.json("work", bucket, "--drain")
    for path in bucket.rglob("*"):
        if path.is_file() and "input" not in path.parts:
            then = path.stat().st_mtime - 10 * DAY
            os.utime(path, (then, then))
    return bucket


def references(bucket: Path) -> int:
    return len(list((bucket / ".dropscribe" / "v1" / "stages").glob("*.json")))


def test_prune_by_age(cli: Cli, worked: Path) -> None:
    """What is older than asked for goes, in numbers that are told; nothing else does."""
    assert cli.json("cache", "prune", worked, "--older-than", "11d")["references"] == 0
    told = cli.json("cache", "prune", worked, "--older-than", "9d")
    assert (told["references"], told["left_references"], told["left_bytes"], told["dry_run"]) == (2, 0, 0, False)
    assert told["cache_bytes"] > 0
    assert references(worked) == 0
    assert cli.json("status", worked)["counts"] == {"completed": 1}
    assert (worked / "results" / "talk.wav.json").exists()


def test_prune_by_size(cli: Cli, worked: Path) -> None:
    """The cache is brought down to the size that is given."""
    assert cli.json("cache", "prune", worked, "--max-size", "1GB")["references"] == 0
    assert cli.json("cache", "prune", worked, "--max-size", "0")["left_bytes"] == 0
    assert references(worked) == 0


def test_prune_results(cli: Cli, worked: Path) -> None:
    """Old results go only when asked for, and their recordings stay done."""
    assert cli.json("cache", "prune", worked)["outputs"] == 0
    assert cli.json("cache", "prune", worked, "--results-older-than", "9d")["outputs"] == 2
    assert not (worked / "results" / "talk.wav.json").exists()
    assert cli.json("work", worked, "--drain")["completed"] == 0
    assert cli.json("status", worked)["counts"] == {"completed": 1}


def test_settings_are_the_defaults(cli: Cli, worked: Path) -> None:
    """Without options the settings' limits hold; an option wins over its setting."""
    cli.env["DROPSCRIBE_CACHE_TTL_SECONDS"] = str(9 * DAY)
    cli.env["DROPSCRIBE_RESULTS_TTL_SECONDS"] = str(9 * DAY)
    told = cli.json("cache", "prune", worked, "--older-than", "30d", "--dry-run")
    assert (told["references"], told["outputs"]) == (0, 2)
    cli.env["DROPSCRIBE_CACHE_BYTES"] = "0"
    assert cli.json("cache", "prune", worked, "--older-than", "30d", "--dry-run")["references"] == 2
    assert cli.json("cache", "prune", worked)["references"] == 2


def test_a_dry_run_says_so(cli: Cli, worked: Path) -> None:
    """It tells a person what would go, and nothing goes; the real one tells the same in the past tense."""
    before = sorted(worked.rglob("*"))
    args = ("cache", "prune", worked, "--older-than", "9d", "--results-older-than", "9d")
    told = cli(*args, "--dry-run")
    assert told.exit_code == 0
    assert "2 references and 0 blobs of the cache would be removed" in told.stdout
    assert "2 results, errors and manifests would be removed" in told.stdout
    assert "the cache would hold 0 references" in told.stdout
    assert sorted(worked.rglob("*")) == before
    assert "2 references and 0 blobs of the cache removed" in cli(*args).stdout


def test_less_than_a_day_is_a_day(cli: Cli, bucket: Path, recording: Path) -> None:
    """What was made today stays, whatever is asked for, and a person is told why."""
    cli.json("submit", recording, "--to", bucket)
    cli.json("work", bucket, "--drain")
    result = cli("cache", "prune", bucket, "--older-than", "1s", "--max-size", "0", "--results-older-than", "1s")
    assert "younger than a day stays" in result.stdout
    assert references(bucket) == 2
    assert (bucket / "results" / "talk.wav.json").exists()


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("30d", 30 * DAY), ("1.5 h", 5400), ("90m", 5400), ("2W", 14 * DAY), ("1s", 1), ("5min", 300)],
)
def test_ages(given: str, seconds: float) -> None:
    """Lengths of time are written as people write them."""
    assert age(given) == seconds


@pytest.mark.parametrize(
    ("given", "count"),
    [("10GB", 10**10), ("1.5GiB", 3 * 2**29), ("500 mb", 5 * 10**8), ("1024", 1024), ("0", 0), ("2T", 2 * 10**12)],
)
def test_sizes(given: str, count: int) -> None:
    """Sizes are written as people write them; a bare number is bytes."""
    assert amount(given) == count


@pytest.mark.parametrize("given", ["30", "d", "", "-1d", "0d", "1e3d", "30 days ago", "9" * 30 + "d", "1,5d", "٣d\0"])
def test_ages_that_cannot_be(given: str) -> None:
    """What is no length of time is refused, with how one looks; a bare number most of all."""
    with pytest.raises(click.BadParameter, match="for example 30d"):
        age(given)


@pytest.mark.parametrize("given", ["GB", "", "-1", "10XB", "1e9", "9" * 30, "ten"])
def test_sizes_that_cannot_be(given: str) -> None:
    """What is no size is refused, with how one looks."""
    with pytest.raises(click.BadParameter, match="for example 10GB"):
        amount(given)


@pytest.mark.parametrize(("option", "value"), [("--older-than", "30"), ("--max-size", "10XB")])
def test_mistakes_are_one_line(cli: Cli, worked: Path, option: str, value: str) -> None:
    """A slip names the option and removes nothing."""
    result = cli("cache", "prune", worked, option, value)
    assert result.exit_code == 2
    assert option in one_line(result)
    assert references(worked) == 2
