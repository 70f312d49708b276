"""What tests of batches share: batch files, and what lies in a bucket for one."""

from __future__ import annotations

import json
from typing import Any

from worker_rig import Rig, heard, text_of

from handler.batches import Batches
from handler.store.memory import MemoryStore
from handler.types import SettledMarker, canonical_json

NAME = "all.batch.jsonl"


def lines(*entries: str | dict[str, Any]) -> bytes:
    """A batch file; a text is a key."""
    objects = [{"key": entry} if isinstance(entry, str) else entry for entry in entries]
    return b"".join(json.dumps(one).encode() + b"\n" for one in objects)


GERMAN = {"language": "de"}
OWN = lines({"glob": "*.wav", "options": GERMAN})


GERMAN = {"language": "de"}
OWN = lines({"glob": "*.wav", "options": GERMAN})


def bodies(count: int, folder: str = "calls") -> dict[str, bytes]:
    return {f"{folder}/{number:02}.wav": f"recording {number}".encode() for number in range(count)}


def drop_all(rig: Rig, recordings: dict[str, bytes]) -> None:
    for key, body in recordings.items():
        rig.drop(key, body)


def ended(rig: Rig, name: str = NAME) -> Any:
    """The result of a batch that must have ended; its manifest, marker and counts say the same."""
    result, manifest = rig.result(name), rig.manifest(name)
    assert rig.settled(name) == "completed"
    assert manifest["status"] == "completed"
    assert manifest["counts"] == result["counts"]
    assert manifest["percent"] == 100.0
    assert manifest["source_id"] == result["source_id"] == rig.candidate(name).source.sid
    assert manifest["result"] == f"results/{name}.json"
    assert rig.error(name) is None
    return result


def check_members(rig: Rig, recordings: dict[str, bytes], name: str = NAME) -> None:
    """Every recording is a completed member, and the result that is named has its words."""
    result = ended(rig, name)
    assert [member["key"] for member in result["members"]] == sorted(recordings)
    for member in result["members"]:
        assert member["status"] == "completed", member
        assert heard(rig.json(member["result"])) == text_of(recordings[member["key"]])


def batch_state(rig: Rig, sid: str) -> str | None:
    """How a version of a batch ended that may not be there any more, None if it has not."""
    marker = rig.json(rig.layout.settled_key(sid))
    return None if marker is None else str(marker["outcome"])


def watcher(rig: Rig, store: MemoryStore) -> Batches:
    """Batches without a worker: nobody works on the members."""
    return Batches(store, rig.layout, rig.settings, rig.clock, worker="w", asleep=lambda sid: 0.0)


def settle(rig: Rig, bucket: MemoryStore, key: str, outcome: str = "completed") -> None:
    """A recording is done with, as far as anybody can see."""
    sid = rig.candidate(key).source.sid
    at = "2023-11-14T22:13:21.000Z"
    marker = SettledMarker.model_validate(
        {"key": key, "sid": sid, "outcome": outcome, "job_id": "", "settled_at": at, "reason": ""}
    )
    if outcome != "cancelled":
        bucket.drop(f"{'results' if outcome == 'completed' else 'errors'}/{key}.json", b"{}")
    bucket.drop(rig.layout.settled_key(sid), canonical_json(marker.model_dump(mode="json")))
