"""The proof's book-keeper: sees every write that any store applies, and says at once which promise it breaks.

Takes writes with their writer, and what was done to the writers (crashes, pauses, outages); gives violations in words.
Knows what the bucket's format promises (docs/format.md); nothing of how the handler keeps it. The simulation and the
crash-point enumeration share it, so both prove the same.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import proof_outputs as outputs
from proof_versions import Versions

from handler.layout import Layout, job_id_of
from pipeline.plan import TRANSCRIBING

USER = "user"  # the writer's name when no worker writes: uploads, deletions, commands
AGE_SLACK = 1.0  # seconds: the store may tell its times in whole seconds


@dataclass(slots=True)
class StageRun:
    """A stage that an engine finished, and whether its artifact became the stored one."""

    worker: str
    job: str
    stage: str
    stored: bool = False


@dataclass(slots=True)
class Commit:
    token: int
    result: str  # digest under stages/
    created: float


@dataclass
class Ledger:
    """One run's observations. ``violations`` are the broken promises so far, each once."""

    layout: Layout
    violations: list[str] = field(default_factory=list)
    trace: Callable[[str, str], None] = lambda who, what: None
    settled: set[str] = field(default_factory=set)  # sids that were so at some time
    retried: set[str] = field(default_factory=set)  # sids and jids that somebody asked to be run again
    evicted: set[str] = field(default_factory=set)  # keys of artifacts that were taken away
    disturbed: dict[str, str] = field(default_factory=dict)  # worker → what was done to it first
    jobs_of: dict[str, tuple[str, str]] = field(default_factory=dict)  # job_id → (jid, sid)
    commits: defaultdict[str, list[Commit]] = field(default_factory=lambda: defaultdict(list))
    artifacts: defaultdict[str, set[bytes]] = field(default_factory=lambda: defaultdict(set))  # by stage key
    failures: Counter[str] = field(default_factory=Counter)  # jid[:16] → attempts that the engine let fail
    charged: Counter[str] = field(default_factory=Counter)
    takeovers: Counter[str] = field(default_factory=Counter)
    runs: list[StageRun] = field(default_factory=list)
    manifests: dict[str, Any] = field(default_factory=dict)  # by key, as they lie there
    stored: int = 0
    subscribers: int = 0  # inputs that a commit served beside the first

    def __post_init__(self) -> None:
        self.versions = Versions(self.layout)

    def broken(self, what: str) -> None:
        self.trace("LEDGER", what)
        if what not in self.violations:
            self.violations.append(what)

    # ── what the world reports ───────────────────────────────────────────────────────────────────────────────────────

    def disturb(self, worker: str, how: str) -> None:
        """A crash, a pause beyond the lease, or a store without an answer: it may lose a lease, and work, by that."""
        self.disturbed.setdefault(worker, how)

    def ran(self, worker: str, job: str, stage: str) -> None:
        self.runs.append(StageRun(worker, job, stage))

    @property
    def ideal(self) -> int:
        """Stage runs that had to be: whose artifact was kept (the first, and after an eviction another one), or was
        lost with a worker that something was done to.
        """
        return sum(1 for run in self.runs if run.stored or run.worker in self.disturbed)

    def retry(self, sid: str) -> None:
        """Somebody asks for this input to be done again; of a batch, for its members, too."""
        asked = {sid, *(one for one, version in self.versions.of.items() if version.parents[:1] == (sid,))}
        self.retried |= asked | {jid for jid, waiting in self.jobs_of.values() if waiting in asked}

    def may_run_again(self, jid: str) -> bool:
        """Whether there was a reason to: somebody asked for it, or an artifact was taken away."""
        gone = any(self.layout.stage_key(commit.result) in self.evicted for commit in self.commits[jid])
        return gone or jid in self.retried

    # ── what the store reports ───────────────────────────────────────────────────────────────────────────────────────

    def wrote(self, writer: str, now: float, key: str, old: tuple[bytes, float] | None, body: bytes, peek: Any) -> None:
        """``old``: the body and the time of the write that is replaced. ``peek`` reads the bucket as it is now."""
        layout = self.layout
        if key.startswith(layout.input):
            if writer != USER:
                self.broken(f"{writer} wrote the input {key}")
        elif key.startswith(layout.job_key("").removesuffix(".json")):
            self._job(writer, now, old, body, peek)
        elif key.startswith(layout.stage_key("").removesuffix(".json")):
            self._stage(writer, key, old, body, peek)
        elif key.startswith(layout.results):
            self._say(writer, outputs.result(self, key, old[0] if old is not None else None, body))
        elif key.startswith(layout.progress):
            if old is not None and writer != USER:
                self._say(writer, outputs.manifest(self, key, old[0], body))
            self.manifests[key] = json.loads(body)
        elif key.startswith(layout.settled_key("")):
            self._say(writer, outputs.settled(self, body, peek))

    def acknowledged(self, writer: str, key: str, sid: str) -> None:
        """A message was taken off the queue that was sent when ``key`` held the version ``sid``."""
        self._say(writer, outputs.acknowledged(self, key, sid))

    def _say(self, writer: str, wrongs: Iterable[str]) -> None:
        for wrong in wrongs:
            self.broken(f"{writer} {wrong}")

    def deleted(self, writer: str, key: str, body: bytes | None) -> None:
        """``body``: what lay there; None if nothing did."""
        layout = self.layout
        if writer == USER:
            if key.startswith(layout.stage_key("").removesuffix(".json")):
                self.evicted.add(key)
            return
        mended = (layout.errors, layout.dead_key("").removesuffix(".json"))  # what a later success takes away
        if body is None or key.startswith(mended):
            return
        told = json.loads(body)
        if key.startswith(layout.settled_key("")):
            later = self.manifests.get(layout.progress_key(told["key"]), {})
            if told["outcome"] == "cancelled" or (later.get("source_id") == told["sid"] and later["worker"] != writer):
                return  # somebody claimed it anew while the marker was on its way: the end is theirs
        if key.startswith(layout.results) and told.get("source_id") in self.versions.cancelled:
            return  # of a batch that was cancelled while somebody ended it
        self.broken(f"{writer} deleted {key}")

    # ── each kind of object ──────────────────────────────────────────────────────────────────────────────────────────

    def _job(self, writer: str, now: float, old: tuple[bytes, float] | None, body: bytes, peek: Any) -> None:
        new = json.loads(body)
        jid = new["jid"]
        for waiting in new["subscribers"]:
            self.jobs_of[job_id_of(jid, waiting["sid"])] = (jid, waiting["sid"])
        before = json.loads(old[0]) if old is not None else None
        if before is not None:
            assert old is not None
            if new["token"] < before["token"]:
                self.broken(f"{writer} let the token of {jid[:8]} fall")
            elif new["token"] > before["token"]:
                self._claimed(writer, now - old[1], now, before, new)
            else:
                self._same_claim(writer, before, new, peek)
            self._charges(writer, before, new)
        if new["state"] == "done" and (before is None or before["state"] != "done"):
            self._committed(writer, before, new)

    def _claimed(self, writer: str, age: float, now: float, old: dict[str, Any], new: dict[str, Any]) -> None:
        name = f"{writer} claimed {new['jid'][:8]}"
        if new["state"] not in ("running", "dead"):
            self.broken(f"{name}, which is {new['state']} by that")
        if old["state"] == "running" and old["worker"] != new["worker"]:
            if old["lease_age"] + age <= old["lease_seconds"] - AGE_SLACK:
                self.broken(f"{name} from {old['worker']}, whose lease was alive")
            if old["worker"] not in self.disturbed:
                self.broken(f"{name} from {old['worker']}, to whom nothing had happened")
        if old["state"] == "waiting" and (old["not_before"] or 0) > now + AGE_SLACK:
            self.broken(f"{name} before its time")
        if old["state"] == "done" and new["jid"] not in self.retried:
            reference = self.layout.stage_key(old["result"])
            if reference not in self.evicted:
                self.broken(f"{name}, which was done, with all its artifacts there")

    def _same_claim(self, writer: str, old: dict[str, Any], new: dict[str, Any], peek: Any) -> None:
        name = f"{writer} made {new['jid'][:8]} {new['state']}"
        if new["worker"] != old["worker"]:
            self.broken(f"{name} in another worker's name, without a new token")
        waited, wait = ({one["sid"] for one in record["subscribers"]} for record in (old, new))
        if new["state"] == "cancelled":
            wait = set()
        if old["state"] in ("running", "waiting") and writer != USER:
            for sid in waited - wait:
                if self.versions.wanted(sid) and peek(self.layout.settled_key(sid)) is None:
                    self.broken(f"{name} and sent {self.versions.of[sid].key} away, which is there and wanted")
        if old["state"] == new["state"] or (old["state"] in ("running", "waiting") and new["state"] == "cancelled"):
            return
        if old["state"] == "running":
            if writer != old["worker"]:
                self.broken(f"{name} without holding it")
        elif not (writer == USER and new["state"] == "waiting"):
            self.broken(f"{name} again, which was {old['state']}")

    def _charges(self, writer: str, old: dict[str, Any], new: dict[str, Any]) -> None:
        jid = new["jid"]
        if new["attempts"] > old["attempts"]:
            self.charged[jid[:16]] += new["attempts"] - old["attempts"]
            if self.charged[jid[:16]] > self.failures[jid[:16]]:
                self.broken(f"{writer} charged {jid[:8]} with an attempt that did not fail")
        if new["takeovers"] > old["takeovers"]:
            self.takeovers[jid] += 1

    def _committed(self, writer: str, old: dict[str, Any] | None, new: dict[str, Any]) -> None:
        name = f"{writer} committed {new['jid'][:8]}"
        held = old is not None and (old["state"], old["token"], old["worker"]) == ("running", new["token"], writer)
        if not held:
            self.broken(f"{name} without its lease")
        results = self.artifacts[self.layout.stage_key(new["result"])]
        if not results:
            self.broken(f"{name} with a result that was never stored")
        self.commits[new["jid"]].append(Commit(new["token"], new["result"], new["committed_at"]))
        self.subscribers += len(new["subscribers"]) - 1
        if TRANSCRIBING not in new["stages"]:
            self.broken(f"{name} without naming the transcript that it was made of")
            return
        made_from = self.artifacts[self.layout.stage_key(new["stages"][TRANSCRIBING])]
        if not any(takes(result) == takes(kept) for result in results for kept in made_from):
            self.broken(f"{name} with a result of another transcript than the one that is kept")

    def _stage(self, writer: str, key: str, old: tuple[bytes, float] | None, body: bytes, peek: Any) -> None:
        new = json.loads(body)
        artifact = self._artifact(new, peek)
        if artifact is None:
            self.broken(f"{writer} referred to a blob that is not there")
            return
        if old is not None:
            try:
                before = self._artifact(json.loads(old[0]), peek)
            except ValueError:
                before = None
            if before is not None:
                if before != artifact:
                    self.broken(f"{writer} replaced a good artifact of {new['stage']}")
                return
        self.artifacts[key].add(artifact)
        self.stored += 1
        for run in reversed(self.runs):
            if run.worker == writer and run.stage == new["stage"]:
                run.stored = True
                break

    def _artifact(self, reference: dict[str, Any], peek: Any) -> bytes | None:
        if reference.get("inline") is not None:
            return str(reference["inline"]).encode()
        found: bytes | None = peek(self.layout.blob_key(reference["sha256"]))
        return found


def takes(artifact: bytes) -> set[bytes]:
    """The words that tell one run of an engine from another (`proof_world.SimEngine`)."""
    return {take.lower() for take in re.findall(rb"(?i)\btake[0-9]+", artifact)}
