"""``dropscribe cancel``, ``dead``, ``delete`` and the place in the queue, as typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_rig import Cli, one_line

from handler.clock import VirtualClock
from handler.store.memory import MemoryStore
from pipeline.errors import NoAudio


@pytest.fixture
def queued(cli: Cli, bucket: Path, recording: Path) -> Path:
    """A bucket with a recording that nobody has begun."""
    cli.json("submit", recording, "--to", bucket)
    return bucket


@pytest.fixture
def worked(cli: Cli, queued: Path) -> Path:
    """… whose only recording is done."""
    cli.json("work", queued, "--drain")
    return queued


@pytest.fixture
def failed(cli: Cli, queued: Path) -> Path:
    """… whose only recording has failed."""
    cli.failures = [NoAudio("there is no sound in it").to_detail()]
    cli.json("work", queued, "--drain")
    cli.failures = []
    return queued


# ── cancel ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_cancel(cli: Cli, queued: Path) -> None:
    """A queued recording is cancelled, says so, and a worker leaves it alone; a retry has it done after all."""
    assert "talk.wav is cancelled" in cli("cancel", queued, "input/talk.wav").stdout
    assert cli.json("status", queued)["counts"] == {"cancelled": 1}
    assert cli.json("work", queued, "--drain")["completed"] == 0
    assert cli.json("retry", queued, "talk.wav")["inputs"][0]["was"] == "cancelled"
    assert cli.json("work", queued, "--drain")["completed"] == 1


def test_cancel_of_a_batch_and_a_recording(cli: Cli, queued: Path) -> None:
    """Of recordings that were cancelled by the same command it is not said that they are still transcribed."""
    (queued / "input" / "all.batch.jsonl").write_text('{"key": "talk.wav"}\n')
    told = cli("cancel", queued, "talk.wav", "all.batch.jsonl").stdout.splitlines()
    assert told[0] == "talk.wav is cancelled."
    assert "Its other recordings are still transcribed" in told[1]
    cli.json("retry", queued, "all.batch.jsonl")
    assert "Its recordings are still transcribed" in cli("cancel", queued, "all.batch.jsonl").stdout


def test_cancel_in_json(cli: Cli, queued: Path) -> None:
    """--json says what became of each recording."""
    assert cli.json("cancel", queued, "talk.wav")["inputs"] == [
        {"key": "talk.wav", "outcome": "cancelled", "was": "queued", "others": 0}
    ]


def test_cancel_twice(cli: Cli, queued: Path) -> None:
    """What is cancelled already is no failure of the second command."""
    cli.json("cancel", queued, "talk.wav")
    again = cli("cancel", queued, "talk.wav")
    assert again.exit_code == 0
    assert "cancelled before" in again.stderr


def test_cancel_of_what_is_done(cli: Cli, worked: Path) -> None:
    """A completed recording cannot be cancelled: exit code 1, and its result is where it was."""
    result = cli("cancel", worked, "talk.wav")
    assert result.exit_code == 1
    assert "has completed already" in result.stderr
    assert (worked / "results" / "talk.wav.json").exists()


def test_cancel_of_an_unknown_key_cancels_nothing(cli: Cli, queued: Path) -> None:
    """One name that is not there: an error, and the others are left as they were."""
    result = cli("cancel", queued, "talk.wav", "nobody.wav")
    assert result.exit_code == 1
    assert "nobody.wav" in one_line(result)
    assert cli.json("status", queued)["counts"] == {"queued": 1}


# ── dead letters ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_dead_list(cli: Cli, failed: Path) -> None:
    """What failed for good is listed with its recordings, class, message, attempts and time."""
    [job] = cli.json("dead", "list", failed)["jobs"]
    assert (job["keys"], job["error_class"], job["attempts"]) == (["talk.wav"], "NoAudio", 1)
    assert job["message"] == "there is no sound in it"
    assert job["at"].endswith("Z")
    shown = cli("dead", "list", failed).stdout
    assert "talk.wav" in shown
    assert "there is no sound in it" in shown


def test_no_dead(cli: Cli, worked: Path) -> None:
    """Nothing has failed: a sentence for people, an empty list for programs."""
    assert "No job has failed" in cli("dead", "list", worked).stderr
    assert cli.json("dead", "list", worked)["jobs"] == []


@pytest.mark.parametrize("args", [["input/talk.wav"], ["--all"]])
def test_dead_retry(cli: Cli, failed: Path, args: list[str]) -> None:
    """By key or all: it is tried again, and then there is no dead letter."""
    assert cli.json("dead", "retry", failed, *args)["inputs"] == [
        {"key": "talk.wav", "outcome": "retried", "was": "failed"}
    ]
    assert cli.json("dead", "list", failed)["jobs"] == []
    assert cli.json("work", failed, "--drain")["completed"] == 1


def test_dead_retry_of_what_is_not_dead(cli: Cli, failed: Path) -> None:
    """A name that is not among the dead is an error, and nothing is retried."""
    result = cli("dead", "retry", failed, "talk.wav", "other.wav")
    assert result.exit_code == 1
    assert "other.wav" in one_line(result)
    assert len(cli.json("dead", "list", failed)["jobs"]) == 1


@pytest.mark.parametrize("args", [[], ["talk.wav", "--all"]])
def test_dead_retry_needs_keys_or_all(cli: Cli, failed: Path, args: list[str]) -> None:
    """Which jobs are meant must be clear."""
    result = cli("dead", "retry", failed, *args)
    assert result.exit_code == 2
    one_line(result)


# ── delete ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_delete_asks(cli: Cli, worked: Path) -> None:
    """Without a terminal and without --yes nothing is deleted."""
    result = cli("delete", worked, "talk.wav")
    assert result.exit_code == 2
    assert "--yes" in one_line(result)
    assert (worked / "results" / "talk.wav.json").exists()


def test_delete(cli: Cli, worked: Path) -> None:
    """What went is named; the recording stays, is not done again, and the cache is as it was."""
    result = cli("delete", worked, "talk.wav", "--yes")
    assert result.stdout.splitlines() == ["deleted progress/talk.wav.json", "deleted results/talk.wav.json"]
    assert (worked / "input" / "talk.wav").exists()
    assert cli.json("cache", "stats", worked)["entries"] == 2
    assert cli.json("work", worked, "--drain")["completed"] == 0
    assert "nothing to delete" in cli("delete", worked, "talk.wav", "--yes").stderr


def test_delete_and_purge(cli: Cli, worked: Path) -> None:
    """--purge empties the cache of it; --json names all that went."""
    told = cli.json("delete", worked, "talk.wav", "--purge", "--yes")
    assert sum("/stages/" in key for key in told["removed"]) == 2
    assert (told["recording"], told["settled"], told["shared"]) == (True, True, 0)
    assert cli.json("cache", "stats", worked)["entries"] == 0


def test_delete_of_a_recording_that_is_gone(cli: Cli, worked: Path) -> None:
    """What was made of a deleted recording can still be deleted."""
    (worked / "input" / "talk.wav").unlink()
    assert "results/talk.wav.json" in cli.json("delete", worked, "talk.wav", "--yes")["removed"]


def test_delete_of_an_unknown_key(cli: Cli, worked: Path) -> None:
    """A name of which there is nothing is an error that says so."""
    result = cli("delete", worked, "nobody.wav", "--yes")
    assert result.exit_code == 1
    assert "nobody.wav" in one_line(result)


def test_delete_of_what_is_queued(cli: Cli, queued: Path) -> None:
    """It is said that a queued recording will still be transcribed."""
    assert "still queued" in cli("delete", queued, "talk.wav", "--yes").stderr


def test_delete_first_and_purge_later(cli: Cli, worked: Path) -> None:
    """A recording whose outputs and whose file have gone can be purged by its key."""
    cli.json("delete", worked, "talk.wav", "--yes")
    (worked / "input" / "talk.wav").unlink()
    assert cli("delete", worked, "talk.wav", "--yes").exit_code == 1
    assert cli.json("delete", worked, "input/talk.wav", "--purge", "--yes")["key"] == "talk.wav"
    assert cli.json("cache", "stats", worked)["entries"] == 0


def test_delete_says_who_else_uses_it(cli: Cli, worked: Path) -> None:
    """What stays is said to stay for a recording that lies there."""
    (worked / "input" / "again.wav").write_bytes((worked / "input" / "talk.wav").read_bytes())
    cli.json("work", worked, "--drain")
    assert "2 cached artifacts stay: another recording" in cli("delete", worked, "talk.wav", "--purge", "--yes").stderr


# ── names that may hold anything ─────────────────────────────────────────────────────────────────────────────────────


def test_control_characters_are_shown_not_sent(cli: Cli) -> None:
    """A key with control characters moves no cursor and colours nothing, whatever is done with its recording."""
    key, shown = "a\x1b[31mb\rc.wav", "a\\x1b[31mb\\rc.wav"
    clock = VirtualClock()
    cli.clock, cli.store = clock, (store := MemoryStore(clock))
    cli.failures = [NoAudio("no \x1b[31msound").to_detail()]
    store.drop(f"input/{key}", b"talk")
    clock.advance(10)
    cli.json("work", "s3://bucket", "--drain")
    url = "s3://bucket"
    for command in (
        ["dead", "list", url],
        ["dead", "retry", url, "--all"],
        ["cancel", url, key],
        ["cancel", url, key],
        ["delete", url, key, "--yes"],
    ):
        result = cli(*command)
        assert shown in result.stdout + result.stderr, command
        assert not {"\x1b", "\r"} & set(result.stdout + result.stderr), command


# ── the place in the queue ───────────────────────────────────────────────────────────────────────────────────────────


def test_the_place_of_one(cli: Cli) -> None:
    """`status KEY` tells the same place in the queue as the table does, and people read it."""
    clock = VirtualClock()
    cli.clock, cli.store = clock, (store := MemoryStore(clock))
    for name in ("done.wav", "c.wav", "b.wav", "a.wav"):
        store.drop(f"input/{name}", name.encode())
        clock.advance(10)
    cli.json("cancel", "s3://bucket", "done.wav")
    places = {row["key"]: row["position"] for row in cli.json("status", "s3://bucket")["inputs"]}
    assert places == {"done.wav": None, "c.wav": 1, "b.wav": 2, "a.wav": 3}
    for key, place in places.items():
        assert cli.json("status", "s3://bucket", key)["position"] == place
    assert "number 2" in cli("status", "s3://bucket", "b.wav").stdout
