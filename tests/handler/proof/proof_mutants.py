"""Mistakes that a coordination protocol is prone to, each as a change of the handler's source, and the tests that must
see it.

The first six are the ones of the model that the protocol was designed with (docs/decisions); the others were added
since, the last of them bugs that the simulation found in this code. `FINDINGS` are single courses of
events. A test that is named here must fail on the mutant,
and pass without it.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]

SEEDS = "tests/handler/proof/test_proof_simulation.py::test_some_seeds"
POINTS = "tests/handler/proof/test_proof_crash_points.py::test_single_faults"
FINDINGS = "tests/handler/proof/test_proof_findings.py::"


@dataclass(frozen=True)
class Mutant:
    """``old`` stands once in ``file`` (below handler/) and becomes ``new``. ``caught_by``: node ids, any of which does.

    ``old`` empty: nothing is changed.
    """

    name: str
    file: str
    old: str
    new: str
    caught_by: str = SEEDS

    def applied(self, source: str) -> str:
        assert source.count(self.old) == 1, f"{self.name}: handler/{self.file} does not hold exactly once:\n{self.old}"
        return source.replace(self.old, self.new)


MUTANTS = (
    Mutant(
        "delete-the-lock-on-release",
        "lease.py",
        "        return self._swap(lambda record: {"
        '"state": "waiting", "not_before": self.store_time() + wait if wait else None})\n',
        """        record = self._swap(lambda record: {"state": "waiting", "not_before": None})
        self._records.store.delete(self._records.layout.job_key(record.jid))
        return record
""",
    ),
    Mutant(
        "blind-heartbeat",
        "lease.py",
        "return self._swap(lambda record: {**pointers})",
        "return self._blindly(lambda record: {**pointers})",
    ),
    Mutant(
        "blind-commit",
        "lease.py",
        """        return self._swap(
            lambda record: {
                "state": "done",""",
        """        return self._blindly(
            lambda record: {
                "state": "done",""",
        f"{POINTS}[first-seen]",
    ),
    Mutant(
        "keep-own-copy-of-an-artifact",
        "cache.py",
        "return reference if reference is not None and self._laid(digest, reference, artifact) else None",
        "return reference",
        f"{FINDINGS}test_a_late_artifact_is_adopted",
    ),
    Mutant(
        "no-read-back",
        "store/swap.py",
        "        if found is not None and found.body == body:\n            return Written(found.etag, body)\n",
        "",
        "tests/handler/store/test_swap.py",
    ),
    Mutant(
        "expiry-by-the-workers-clock",
        "job.py",
        "if record.lease_age + found.age <= record.lease_seconds + EXPIRY_SLACK:",
        "if self.clock.time() - (found.store_time - found.age) <= record.lease_seconds + EXPIRY_SLACK:",
    ),
    Mutant(
        "acknowledge-before-publishing",
        "worker/hearing.py",
        "                notice = waiting[0]\n",
        "                notice = waiting[0]\n                notice.done()\n",
    ),
    Mutant(
        "believe-an-event-without-a-head",
        "worker/inputs.py",
        """            noticed = self._intake.notice(key)
        except NotFound:
            return True, 0.0
""",
        """            seen = self.__dict__.setdefault("_seen", {})
            noticed = seen[key] = seen.get(key) or self._intake.notice(key)
        except NotFound:
            return True, 0.0
""",
        f"{FINDINGS}test_an_event_is_not_believed",
    ),
    Mutant(
        "publish-for-a-stale-input",
        "publish.py",
        """            if not self.is_current(ending.subscriber):
                return "superseded"
            try:
                put_bytes""",
        """            try:
                put_bytes""",
        f"{POINTS}[batch-overwritten]",
    ),
    Mutant(
        "evict-blobs-before-references",
        "sweep/references.py",
        """    references = _delete(store, due, hands)
    blobs = _delete(store, shelves.orphans(references), hands)
""",
        """    blobs = _delete(store, shelves.orphans(due), hands)
    references = _delete(store, due, hands)
""",
        "tests/handler/test_sweep.py::test_references_go_before_blobs",
    ),
    Mutant(
        "settle-before-publishing",
        "publish.py",
        """            verdict = self._all(bodies, ending)
""",
        """            self._settle(ending, "completed", "")
            verdict = self._all(bodies, ending)
""",
    ),
    Mutant(
        "a-lower-token-overwrites-a-manifest",
        "progress.py",
        "        return mine.token > theirs.token\n",
        "        return True\n",
    ),
    Mutant(
        "joining-renews-the-lease",
        "job.py",
        """                "lease_age": record.lease_age + found.age if record.state == "running" else 0.0,
""",
        """                "lease_age": 0.0,
""",
        "tests/handler/test_job.py::test_joining_does_not_renew",
    ),
    Mutant(
        "an-outage-is-an-attempt",
        "worker/attempt.py",
        "        except (LeaseLost, Interrupted, StoreError):\n            raise\n",
        "        except (LeaseLost, Interrupted):\n            raise\n",
    ),
    Mutant(
        "the-blob-after-its-reference",
        "cache.py",
        """        if reference.inline is None:
            self._store.upload(self._layout.blob_key(reference.sha256), artifact)
        try:
            self._write(key, reference, None)
            return reference
""",
        """        try:
            self._write(key, reference, None)
            if reference.inline is None:
                self._store.upload(self._layout.blob_key(reference.sha256), artifact)
            return reference
""",
    ),
    Mutant(
        "a-takeover-keeps-the-token",
        "job.py",
        "        return max(int(found.store_time), record.token + 1)\n",
        "        return record.token\n",
        f"{POINTS}[takeover]",
    ),
    Mutant(
        "the-holder-never-stops-itself",
        "lease.py",
        "        return self._lost or self._records.clock.monotonic() >= self.deadline\n",
        "        return self._lost\n",
        "tests/handler/test_lease.py",
    ),
    Mutant(
        "a-beat-cancels-who-has-just-joined",
        "lease.py",
        """            if any(waiting.sid not in unwanted for waiting in record.subscribers):
                return {}
""",
        "",
        f"{FINDINGS}test_who_joins_during_a_cancel",
    ),
    Mutant(
        "a-settled-input-is-run-again",
        "worker/claims.py",
        "        if self._settled_meanwhile(claim):\n            return True\n",
        "",
        f"{FINDINGS}test_settled_while_being_claimed",
    ),
    Mutant(
        "a-takeover-forgets-the-transcript",
        "worker/attempt.py",
        "                self._course.digests |= {name: made.digest for name, made in self._plans.items()}\n",
        "",
        f"{FINDINGS}test_a_takeover_names_what_the_result_was_made_of",
    ),
    Mutant(
        "a-retry-does-not-wait",
        "job.py",
        "            if left > 0:\n",
        "            if left > 3600:\n",
        f"{POINTS}[failure-and-retry]",
    ),
    Mutant(
        "a-members-recording-is-not-asked-for",
        "publish.py",
        "        return self.holds(member.source_key, member.source_sid) and self.holds(",
        "        return self.holds(",
        f"{POINTS}[batch-overwritten]",
    ),
    Mutant(
        "what-is-young-is-swept",
        "sweep/references.py",
        "        return self.now - info.modified > GRACE_SECONDS\n",
        "        return True\n",
        "tests/handler/test_sweep.py",
    ),
    Mutant(
        "an-old-record-speaks-as-late-as-a-claim",
        "worker/endings.py",
        "    return max(record.token, int(noticed.info.store_time) - 1)\n",
        "    return max(record.token, int(noticed.info.store_time))\n",
        f"{FINDINGS}test_claimed_anew_in_the_second_in_which_it_was_noticed",
    ),
    Mutant(
        "the-last-manifest-asks-nobody",
        "publish.py",
        "            is_current = partial(self.is_current, ending.subscriber)",
        "            is_current = lambda: True",
        f"{FINDINGS}test_replaced_while_being_told",
    ),
)

_BLIND_SWAP = '''
    def _blindly(self, changes: Callable[[JobRecord], dict[str, Any]]) -> JobRecord:
        """A mutant's: the write does not say what it replaces."""
        mine = self._record.model_copy(update={**changes(self._record), "lease_age": 0.0})
        body = mine.model_copy(update={"nonce": self._records.clock.new_id()}).model_dump_json().encode()
        self._etag = self._records.store.put(self._records.layout.job_key(mine.jid), body)
        self._record, self.deadline = mine, self._records.clock.monotonic() + mine.lease_seconds
        return mine

    def _swap('''


def mutated_tree(folder: Path, mutant: Mutant | None) -> Path:
    """A folder to import `handler` from, with the mistake in it (None: with none), beside the `pipeline` that is
    there.
    """
    shutil.copytree(ROOT / "handler", folder / "handler", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "pipeline").symlink_to(ROOT / "pipeline")
    if mutant is not None:
        path = folder / "handler" / mutant.file
        source = mutant.applied(path.read_text(encoding="utf-8"))
        if "_blindly" in source:
            source = source.replace("\n    def _swap(", _BLIND_SWAP)
        path.write_text(source, encoding="utf-8")
    return folder
