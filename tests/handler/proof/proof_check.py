"""The end of a run: every input that is there is settled, with a result or an error of its own, and all of it agrees.

Takes the world when every worker has gone home; the violations go to its ledger.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from handler.layout import is_batch, member_key
from pipeline.plan import GENERATING_OUTPUT, TRANSCRIBING

if TYPE_CHECKING:
    from proof_world import World


def words_of(recording: bytes) -> str:
    """What `proof_store.SimEngine` hears in it, but for the take's own word."""
    digest = hashlib.sha256(recording).hexdigest()
    return " ".join(digest[place : place + 8] for place in range(0, 64, 8))


def check_end(world: World) -> None:
    ledger = world.ledger
    for key, sid in ledger.versions.current.items():
        _check_input(world, key, sid)
    for jid, commits in ledger.commits.items():
        tokens = [commit.token for commit in commits]
        if len(set(tokens)) != len(tokens):
            ledger.broken(f"{jid[:8]} was committed twice under one token")
        if len(commits) > 1 and not ledger.may_run_again(jid):
            ledger.broken(f"{jid[:8]} was committed {len(commits)} times")
    for run in ledger.runs:
        if run.stage not in (TRANSCRIBING, GENERATING_OUTPUT):
            ledger.broken(f"an unknown stage {run.stage}")


def _check_input(world: World, key: str, sid: str) -> None:
    ledger, layout = world.ledger, world.layout
    marker, manifest = _read(world, layout.settled_key(sid)), _read(world, layout.progress_key(key))
    if marker is None:
        ledger.broken(f"{key} was never settled")
        return
    outcome = marker["outcome"]
    if manifest is None or (manifest["source_id"], manifest["status"]) != (sid, outcome):
        ledger.broken(f"{key} is {outcome}, its manifest says {manifest and manifest['status']}")
    error = _read(world, layout.error_key(key))
    if outcome == "failed":
        if error is None or error["job_id"] != marker["job_id"]:
            ledger.broken(f"{key} failed, and its error is not there")
        if not _may_fail(world, key, sid):
            ledger.broken(f"{key} failed, and nothing was wrong with it: {marker['reason']}")
    elif outcome == "cancelled":
        if sid not in ledger.versions.cancelled:
            ledger.broken(f"{key} is {outcome}, which nobody wanted")
    elif is_batch(key):
        _check_batch(world, key, sid)
    else:
        _check_result(world, key, world.bodies[key], marker)
    if outcome == "completed" and error is not None:
        ledger.broken(f"{key} is completed and has an error")


def _may_fail(world: World, key: str, sid: str) -> bool:
    if is_batch(key):
        plan = _read(world, world.layout.plan_key(sid))
        made_anew = sid in world.ledger.retried  # by somebody while somebody else still tells of the one before
        return made_anew or (plan is not None and plan["error"] is not None)
    return world.bodies[key] in world.failing


def _check_batch(world: World, key: str, sid: str) -> None:
    """Its result names every member of its plan, and each member's outputs are what it says."""
    ledger, layout = world.ledger, world.layout
    result, plan = _read(world, layout.result_key(key)), _read(world, layout.plan_key(sid))
    if result is None or result["source_id"] != sid:
        ledger.broken(f"{key} is completed without a result")
        return
    if plan is None or [row["key"] for row in result["members"]] != [member for member, _ in plan["members"]]:
        ledger.broken(f"{key} has a result of other members than it was planned with")
    for row in result["members"]:
        member, recording = row["key"], world.bodies.get(row["key"])
        own = row["options"] is not None
        of_member = _member_sid(world, sid, member) if own else ledger.versions.current.get(member)
        marker = _read(world, layout.settled_key(of_member)) if of_member is not None else None
        if recording is None or marker is None or (own and not ledger.versions.is_current(str(of_member))):
            continue  # deleted or replaced since
        undisputed = row["job_id"] == marker["job_id"] and not ledger.retried and not ledger.versions.cancelled
        if undisputed and row["status"] != marker["outcome"]:
            ledger.broken(f"{key} says {row['status']} of {member}, which is {marker['outcome']}")
        if own and marker["outcome"] == "completed":
            _check_result(world, member_key(key, member), recording, marker)


def _member_sid(world: World, batch_sid: str, key: str) -> str | None:
    """The member's that this batch makes of what lies under ``key`` now."""
    versions = world.ledger.versions
    parents = (batch_sid, versions.current.get(key))
    return next((sid for sid, version in versions.of.items() if version.parents == parents), None)


def _check_result(world: World, key: str, recording: bytes, marker: Any) -> None:
    ledger, result = world.ledger, _read(world, world.layout.result_key(key))
    if result is None:
        ledger.broken(f"{key} is completed without a result")
        return
    if result["metadata"]["sha256"] != hashlib.sha256(recording).hexdigest():
        ledger.broken(f"{key} has another recording's result")
    if result["metadata"]["request_id"] != marker["job_id"]:
        ledger.broken(f"{key} has the result of another of its versions")
    [channel] = result["results"]["channels"]
    if not str(channel["alternatives"][0]["transcript"]).lower().startswith(words_of(recording)):
        ledger.broken(f"{key} has other words than were heard")


def _read(world: World, key: str) -> Any:
    body = world.store.peek(key)
    return None if body is None else json.loads(body)
