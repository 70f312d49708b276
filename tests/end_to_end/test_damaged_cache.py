"""Artifacts in the bucket that were damaged, swapped or removed are a miss: made again, mended, and never published."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.bucket_rig import Rig, transcript_of

MakeRig = Callable[..., Rig]

STAGES = ".dropscribe/v1/stages/"
BLOBS = ".dropscribe/v1/blobs/"


def artifact(rig: Rig, stage: str) -> str:
    """The key of the reference to the stage's artifact."""
    [key] = [key for key in rig.keys("") if key.startswith(STAGES) and _reference(rig, key)["stage"] == stage]
    return key


def _reference(rig: Rig, key: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(rig.read(key) or b"")
    return found


def other_words(rig: Rig, key: str) -> None:
    """Somebody edits what was heard, and leaves the digest as it was."""
    body = (rig.read(key) or b"").replace(b"Bravo", b"Omega")
    rig.store.put(key, body)


def half(rig: Rig, key: str) -> None:
    body = rig.read(key) or b""
    rig.store.put(key, body[: len(body) // 2])


def nothing(rig: Rig, key: str) -> None:
    rig.store.put(key, b"")


def other_blob(rig: Rig, key: str) -> None:
    other_words(rig, BLOBS + str(_reference(rig, key)["sha256"]))


def half_a_blob(rig: Rig, key: str) -> None:
    half(rig, BLOBS + str(_reference(rig, key)["sha256"]))


def no_blob(rig: Rig, key: str) -> None:
    rig.store.delete(BLOBS + str(_reference(rig, key)["sha256"]))


INLINE = [other_words, half, nothing]
BLOB = [other_blob, half_a_blob, no_blob, half]


@pytest.mark.parametrize(
    ("inline_bytes", "damage"),
    [*((1 << 18, damage) for damage in INLINE), *((0, damage) for damage in BLOB)],
    ids=[*(f"inline, {damage.__name__}" for damage in INLINE), *(f"blob, {damage.__name__}" for damage in BLOB)],
)
@pytest.mark.parametrize("stage", ["transcribing", "generating_output"])
def test_a_damaged_artifact(
    make_folder_rig: MakeRig, inline_bytes: int, damage: Callable[[Rig, str], None], stage: str, speech: Path
) -> None:
    """Whatever became of a stored artifact, the same bytes dropped again get the same words, and the cache is mended:
    the drop after that runs nothing.
    """
    rig = make_folder_rig(inline_bytes=inline_bytes)
    rig.drop("first.flac", speech)
    rig.drain()
    heard = transcript_of(rig.result("first.flac"))
    assert heard == "Alpha Bravo."
    damage(rig, artifact(rig, stage))
    again = {"utterances": False} if stage == "transcribing" else None  # so that only the transcript can be a hit
    rig.drop("second.flac", speech, sidecar=again)
    rig.drain()
    assert transcript_of(rig.result("second.flac")) == heard
    assert stage in rig.manifest("second.flac")["timings"], "a damaged artifact was taken for a good one"
    rig.drop("third.flac", speech, sidecar={"paragraphs": False} if again else None)
    rig.drain()
    assert transcript_of(rig.result("third.flac")) == heard
    assert stage in rig.manifest("third.flac")["cached_stages"]
    assert stage not in rig.manifest("third.flac")["timings"]


def test_a_damaged_source_record(folder_rig: Rig, speech: Path) -> None:
    """A record of a recording's hash that cannot be read costs a download, nothing else."""
    folder_rig.drop("a.flac", speech)
    folder_rig.drain()
    [sid] = folder_rig.keys(".dropscribe/v1/sources/")
    folder_rig.store.put(f".dropscribe/v1/sources/{sid}", b"{")
    folder_rig.store.delete(f".dropscribe/v1/settled/{sid.removesuffix('.json')}")
    folder_rig.new_worker()
    folder_rig.drain()
    folder_rig.result("a.flac")


def test_a_damaged_job_record(folder_rig: Rig, speech: Path) -> None:
    """A job's record that cannot be read is written anew, and the job is done again."""
    folder_rig.drop("a.flac", speech)
    folder_rig.drain()
    [jid] = folder_rig.keys(".dropscribe/v1/jobs/")
    folder_rig.store.put(f".dropscribe/v1/jobs/{jid}", b"not a record")
    folder_rig.drop("b.flac", speech)
    folder_rig.drain()
    folder_rig.result("b.flac")
