"""The bucket itself makes trouble: objects that cannot be read or that vanish, a bucket that cannot be written."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from handler.cli import main
from handler.errors import EXIT_NO_PERMISSION, AccessDenied
from handler.store.memory import Call, Phase
from tests.end_to_end.bucket_rig import Rig, words_of

MakeRig = Callable[..., Rig]

NOT_WRITABLE = Path("/sys/class")  # a folder in which nobody can make anything, root included


class Denied:
    """A hook: requests of these verbs on keys that begin so are not allowed."""

    def __init__(self, prefix: str, *verbs: str) -> None:
        self.prefix, self.verbs = prefix, verbs

    def __call__(self, call: Call, phase: Phase) -> None:
        if phase == "before" and call.verb in self.verbs and call.key.startswith(self.prefix):
            raise AccessDenied(f"not allowed: {call.verb} {call.key}")


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("verbs", [("GET",), ("GET", "HEAD")], ids=["not to be read", "not even to be asked about"])
def test_an_unreadable_recording(make_memory_rig: MakeRig, verbs: tuple[str, ...], speech: Path) -> None:
    """A recording that the credentials may not read ends in a retryable error after three attempts; others go on."""
    rig = make_memory_rig(Denied("input/secret.flac", *verbs))
    rig.drop("secret.flac", speech)
    rig.drain()
    error = rig.error("secret.flac")
    assert (error["class"], error["retryable"], error["attempts"]) == ("AccessDenied", True, 3)
    rig.drop("open.flac", speech.read_bytes() + b"\0")
    rig.drain()
    assert words_of(rig.result("open.flac"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_file(folder_rig: Rig, speech: Path) -> None:
    """A file without the permission to read it ends in a retryable error."""
    folder_rig.drop("secret.flac", speech)
    (folder_rig.bucket.path / "input/secret.flac").chmod(0)  # type: ignore[attr-defined]
    folder_rig.drain()
    error = folder_rig.error("secret.flac")
    assert (error["class"], error["retryable"]) == ("AccessDenied", True)


@pytest.mark.parametrize(
    ("verb", "prefix", "phase"),
    [
        ("LIST", "input/", "after"),
        ("HEAD", "input/a.flac", "after"),
        ("PUT", ".dropscribe/v1/jobs/", "after"),
        ("PUT", ".dropscribe/v1/stages/", "before"),
        ("PUT", "results/", "before"),
    ],
    ids=["after the listing", "after the HEAD", "after the claim", "while it runs", "before the result"],
)
def test_a_recording_that_vanishes(
    make_memory_rig: MakeRig, verb: str, prefix: str, phase: Phase, speech: Path
) -> None:
    """A recording deleted at any moment leaves no error; the worker is not held up, and goes on with the next one."""
    deleted: list[str] = []

    def vanish(call: Call, now: Phase) -> None:
        if not deleted and (call.verb, now) == (verb, phase) and call.key.startswith(prefix):
            deleted.append("a.flac")
            rig.reader.delete("input/a.flac")

    rig = make_memory_rig(vanish)
    rig.drop("a.flac", speech)
    rig.drain()
    assert deleted
    assert rig.keys("errors/") == []
    if phase == "after":
        assert rig.keys("results/") == []
    rig.drop("b.flac", speech)
    rig.drain()
    assert words_of(rig.result("b.flac"))


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(not NOT_WRITABLE.is_dir(), reason="no folder here that not even root can write to")
def test_a_worker_refuses_a_bucket_it_cannot_write(tmp_path: Path) -> None:
    """On a bucket that cannot be written, the worker ends at once: one line, and the exit code for permissions."""
    env = {"DROPSCRIBE_MODEL": "sphinx", "DROPSCRIBE_WORK_DIR": str(tmp_path)}
    result = CliRunner(env=env).invoke(main, ["work", str(NOT_WRITABLE), "--drain"])
    assert result.exit_code == EXIT_NO_PERMISSION
    [line] = result.stderr.splitlines()
    assert line.startswith("dropscribe: cannot write ")
    assert str(NOT_WRITABLE) in line


class Unwritable:
    """A hook: writes are let through until ``left`` have been made; then none is, until ``left`` is raised."""

    def __init__(self, left: float) -> None:
        self.left = left
        self.written: list[str] = []

    def __call__(self, call: Call, phase: Phase) -> None:
        if call.verb not in ("PUT", "DELETE"):
            return
        if phase == "after":
            self.written.append(call.key)
        elif len(self.written) >= self.left:
            raise AccessDenied(f"not allowed: {call.verb} {call.key}")


def test_a_bucket_that_becomes_unwritable(make_memory_rig: MakeRig, speech: Path) -> None:
    """From whichever write on the bucket refuses: nothing is settled, no error is said, and once it is writable again
    the recording gets its result, without an attempt charged.
    """
    whole = Unwritable(math.inf)
    rig = make_memory_rig(whole)
    rig.drop("a.flac", speech)
    rig.drain()
    last = next(number for number, key in enumerate(whole.written) if "/settled/" in key)
    assert last >= 8, whole.written
    for number in range(last + 1):
        bucket = Unwritable(number)
        rig = make_memory_rig(bucket)
        rig.drop("a.flac", speech)
        rig.sweep(4)
        assert rig.settled() == 0, f"settled although write {number} ({whole.written[number]}) failed"
        assert rig.keys("errors/") == []
        assert rig.unsettled() == ["a.flac"]
        bucket.left = math.inf
        rig.drain()
        assert words_of(rig.result("a.flac"))
        [job] = rig.keys(".dropscribe/v1/jobs/")
        record = json.loads(rig.read(f".dropscribe/v1/jobs/{job}") or b"")
        assert (record["state"], record["attempts"]) == ("done", 0)
