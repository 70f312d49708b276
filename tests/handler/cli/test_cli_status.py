"""``dropscribe status``: every recording's state from two listings and the manifests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_rig import Cli, one_line

from handler.clock import VirtualClock
from handler.layout import Layout
from handler.overview import overview
from handler.settings import load_settings
from handler.store.memory import MemoryStore
from handler.types import Manifest
from pipeline.errors import NoAudio
from pipeline.formats.times import iso_time


def test_the_queue_in_order(cli: Cli) -> None:
    """Recordings that nobody has begun are queued, numbered in the order in which they were dropped."""
    clock = VirtualClock()
    cli.clock, cli.store = clock, (store := MemoryStore(clock))
    for name in ("b.wav", "a.wav", "c.wav"):
        store.drop(f"input/{name}", b"x")
        clock.advance(10)
    store.drop("input/c.wav.options.json", b"{}")
    told = cli.json("status", "s3://bucket")
    assert told["counts"] == {"queued": 3}
    assert [(row["key"], row["position"]) for row in told["inputs"]] == [("a.wav", 2), ("b.wav", 1), ("c.wav", 3)]
    assert all(row["status"] == row["stage"] == "queued" for row in told["inputs"])


def test_each_state_is_told(cli: Cli, bucket: Path, recording: Path) -> None:
    """Completed, failed and queued recordings stand in one table, each with its own state and message."""
    cli("submit", recording, "--to", bucket)
    cli.json("work", bucket, "--drain")
    (bucket / "input" / "silent.wav").write_bytes(b"nothing to hear")
    cli.failures = [NoAudio("there is no sound in it").to_detail()]
    cli.json("work", bucket, "--drain")
    (bucket / "input" / "new.wav").write_bytes(b"somebody talks")
    rows = {row["key"]: row for row in cli.json("status", bucket)["inputs"]}
    assert {key: row["status"] for key, row in rows.items()} == {
        "talk.wav": "completed", "silent.wav": "failed", "new.wav": "queued",
    }  # fmt: skip
    assert rows["talk.wav"]["result"] == "results/talk.wav.json"
    assert "there is no sound in it" in rows["silent.wav"]["message"]
    assert rows["new.wav"]["position"] == 1
    shown = cli("status", bucket).stdout
    assert all(key in shown for key in rows)
    assert "1 completed, 1 failed, 1 queued" in shown


def manifest(store: MemoryStore, key: str, **fields: object) -> Manifest:
    """What a worker would write for the version that lies there now."""
    layout = Layout.of(store.url, load_settings())
    basic: dict[str, object] = {
        "job_id": "j", "source_id": layout.source(store.client().head(f"input/{key}")).sid, "key": key,
        "status": "processing", "stage": "transcribing", "percent": 37.5, "message": "Transcribing 612 s of 1742 s",
        "eta_seconds": 41.0, "token": 1, "queued_at": "2023-11-14T22:13:20.000Z",
        "updated_at": "2023-11-14T22:13:20.000Z", "worker": "w",
    }  # fmt: skip
    made = Manifest.model_validate({**basic, **fields})
    store.drop(f"progress/{key}.json", made.model_dump_json().encode())
    return made


def test_a_running_job(cli: Cli) -> None:
    """Stage, percent, remaining time and message are the manifest's."""
    cli.clock = VirtualClock()
    cli.store = store = MemoryStore(cli.clock)
    store.drop("input/a.wav", b"x")
    made = manifest(store, "a.wav")
    [row] = cli.json("status", "s3://bucket")["inputs"]
    assert (row["status"], row["stage"], row["percent"], row["eta_seconds"]) == (
        "processing",
        "transcribing",
        37.5,
        41.0,
    )
    assert row["position"] is None
    assert "612 s of 1742 s" in cli("status", "s3://bucket").stdout
    one = cli.json("status", "s3://bucket", "a.wav")
    assert one["manifest"] == json.loads(made.model_dump_json())
    assert {**row, "manifest": one["manifest"]} == one


def test_the_last_news(cli: Cli) -> None:
    """The table says how long ago something was last heard of a recording, under a name that says so."""
    cli.clock = clock = VirtualClock()
    cli.store = store = MemoryStore(clock)
    store.drop("input/a.wav", b"x")
    clock.advance(1000)
    manifest(store, "a.wav", updated_at=iso_time(clock.time()))
    clock.advance(41)
    head, row, _ = cli("status", "s3://bucket").stdout.splitlines()
    assert "LAST NEWS" in head
    assert "41 s ago" in row


UGLY = "a\nb\x1b[2J\u2028c\x9b.wav"
PLAIN = r"a\nb\x1b[2J\u2028c\x9b.wav"


def test_control_characters_stay_on_their_line(cli: Cli) -> None:
    """A key with line breaks and escape sequences is one row of a table, and moves no cursor."""
    cli.clock = VirtualClock()
    cli.store = store = MemoryStore(cli.clock)
    store.drop(f"input/{UGLY}", b"x")
    made = manifest(store, UGLY, message="first\nsecond", worker="w\x07")
    _, row, _ = cli("status", "s3://bucket").stdout.splitlines()
    assert row.startswith(PLAIN + "  processing")
    assert r"first\nsecond" in row
    shown = cli("status", "s3://bucket", UGLY).stdout
    assert PLAIN in shown
    assert r"w\x07" in shown
    assert all(line.isprintable() for line in shown.splitlines())
    assert cli.json("status", "s3://bucket")["inputs"][0]["key"] == made.key == UGLY


@pytest.mark.parametrize("status", ["completed", "processing"])
def test_an_older_versions_manifest_says_nothing(cli: Cli, status: str) -> None:
    """A recording that was replaced is queued again, whatever its predecessor's manifest says."""
    cli.clock = VirtualClock()
    cli.store = store = MemoryStore(cli.clock)
    store.drop("input/a.wav", b"x")
    manifest(store, "a.wav", status=status, stage=status, percent=99.0, result="results/a.wav.json")
    store.drop("input/a.wav", b"another")
    [row] = cli.json("status", "s3://bucket")["inputs"]
    assert (row["status"], row["percent"], row["result"]) == ("queued", 0.0, None)
    assert cli.json("status", "s3://bucket", "a.wav")["manifest"] is None


def test_requests_do_not_grow_with_what_has_no_manifest(cli: Cli) -> None:
    """Two thousand queued recordings are told from listings alone."""
    store = MemoryStore(VirtualClock())
    for number in range(2000):
        store.drop(f"input/{number:04}.wav", b"x")
    assert len(overview(store, Layout.of(store.url, load_settings()))) == 2000
    assert store.counts()["GET"] == 0
    assert store.counts()["LIST"] <= 4


def test_a_key_may_be_typed_with_the_prefix(cli: Cli, bucket: Path, recording: Path) -> None:
    """`input/talk.wav`, as the shell completes it, is the recording talk.wav."""
    cli("submit", recording, "--to", bucket)
    assert cli.json("status", bucket, "input/talk.wav")["key"] == "talk.wav"
    shown = cli("status", bucket, "talk.wav")
    assert shown.exit_code == 0
    assert "queued" in shown.stdout


def test_an_unknown_key_is_told(cli: Cli, bucket: Path) -> None:
    """A name that is not there is an error that says so."""
    result = cli("status", bucket, "nobody.wav")
    assert result.exit_code == 1
    assert "nobody.wav" in one_line(result)


def test_an_empty_bucket_is_no_error(cli: Cli, bucket: Path) -> None:
    """Nothing dropped yet: a sentence for people, an empty list for programs."""
    assert "no recordings" in cli("status", bucket).stdout
    assert cli.json("status", bucket)["inputs"] == []


def test_watch_ends_with_its_recording(cli: Cli) -> None:
    """--watch of one key looks again until it is done; with --json each look is one line."""

    class Finishing(VirtualClock):
        looks = 0

        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            self.looks += 1
            if self.looks == 2:
                done = manifest(store, "a.wav", status="completed", stage="completed", percent=100.0)
                store.drop(f".dropscribe/v1/settled/{done.source_id}", b"{}")

    cli.clock = Finishing()
    cli.store = store = MemoryStore(cli.clock)
    store.drop("input/a.wav", b"x")
    manifest(store, "a.wav")
    result = cli("status", "s3://bucket", "a.wav", "--watch", "--json")
    assert result.exit_code == 0
    looks = [json.loads(line) for line in result.stdout.splitlines()]
    assert [look["status"] for look in looks] == ["processing", "processing", "completed"]
