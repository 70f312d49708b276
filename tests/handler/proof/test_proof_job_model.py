"""A job's record against a model of it: claims, beats, commits, failures, waits and cancels, in any order and at any
time.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from protocol_rig import JOB, LEASE, SETTINGS, commit, record_of, subscriber, trouble, worker

from handler.answers import Busy, Finished, Later
from handler.clock import VirtualClock
from handler.errors import LeaseLost
from handler.job import EXPIRY_SLACK, Jobs
from handler.lease import Lease
from handler.store.memory import MemoryStore

WORKERS = st.sampled_from(["one", "two", "three"])
INPUTS = st.sampled_from(["a.wav", "b.wav", "c.wav"])
SECONDS = st.sampled_from([0, 1, 5, 30, LEASE - 1, LEASE, LEASE + 1, LEASE + 2, LEASE + 3, 500])
LIMITED = SETTINGS.model_copy(update={"max_takeovers": 2, "max_attempts": 3})


@dataclass
class Model:
    """What the record ought to say. Times are of the one clock; ``written``: of the last write."""

    state: str
    token: int
    worker: str
    waiting: list[str]
    written: float
    used: float = 0.0  # seconds of the lease that were gone at the last write
    not_before: float = 0.0
    attempts: int = 0
    takeovers: int = 0
    hopeless: bool = False


@dataclass
class Held:
    """A lease as its holder believes in it. ``until``: when it stops itself; ``cancelled``: it has not noticed that."""

    lease: Lease
    worker: str
    until: float
    over: bool = False
    cancelled: bool = False


class AJob(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore(self.clock)
        self.jobs: dict[str, Jobs] = {
            name: worker(self.store, name, settings=LIMITED) for name in ("one", "two", "three")
        }
        self.model: Model | None = None
        self.held: list[Held] = []
        self.token = 0

    # ── what happens ─────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(seconds=SECONDS)
    def time_goes_on(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(name=WORKERS, key=INPUTS)
    def claim(self, name: str, key: str) -> None:
        now, sid = self.clock.time(), subscriber(key).sid
        got = self.jobs[name].claim(JOB, subscriber(key), now)
        model = self.model
        if model is None:
            self.model = Model("running", int(now), name, [sid], now)
            self._took(got, name)
        elif model.state == "done" or (model.state == "dead" and (sid in model.waiting or model.hopeless)):
            assert isinstance(got, Finished)
        elif model.state in ("dead", "cancelled"):
            self._claims(got, name, [sid], attempts=0, takeovers=0)
        elif model.state == "waiting" and now < model.not_before:
            assert isinstance(got, Later)
            assert got.seconds == model.not_before - now
            self._joins(sid, now)
        elif model.state == "waiting" or model.worker == name:
            self._claims(got, name, _with(model.waiting, sid))
        elif model.used + now - model.written <= LEASE + EXPIRY_SLACK:
            assert isinstance(got, Busy)
            assert got.subscribed
            self._joins(sid, now)
        elif model.takeovers < LIMITED.max_takeovers:
            self._claims(got, name, _with(model.waiting, sid), takeovers=model.takeovers + 1)
        else:
            assert isinstance(got, Finished)
            model.state, model.hopeless = "dead", False
            model.token, model.waiting = max(int(now), model.token + 1), _with(model.waiting, sid)

    @rule(which=st.integers(0, 5))
    def beat(self, which: int) -> None:
        held = self._some(which)
        if held is not None and self._may(held, lambda: held.lease.beat(percent=1.0)):
            held.until = self.clock.time() + LEASE

    @rule(which=st.integers(0, 5))
    def commit(self, which: int) -> None:
        held = self._some(which)
        if held is not None and self._may(held, lambda: commit(held.lease)):
            self._ends(held, "done")

    @rule(which=st.integers(0, 5), hopeless=st.booleans())
    def fail(self, which: int, hopeless: bool) -> None:
        held, now, model = self._some(which), self.clock.time(), self.model
        if held is None or not self._may(held, lambda: held.lease.fail(trouble(retryable=not hopeless))):
            return
        assert model is not None
        model.attempts += 1
        dead = hopeless or model.attempts >= LIMITED.max_attempts
        model.hopeless = hopeless
        self._ends(held, "dead" if dead else "waiting")
        if not dead:
            model.not_before = record_of(self.store).not_before or 0.0
            longest = 1.5 * LIMITED.backoff_seconds * 2 ** (model.attempts - 1)
            assert longest / 3 <= model.not_before - now <= longest

    @rule(which=st.integers(0, 5), wait=st.sampled_from([0.0, 7.0]))
    def release(self, which: int, wait: float) -> None:
        held = self._some(which)
        if held is not None and self._may(held, lambda: held.lease.release(wait)):
            assert self.model is not None
            self.model.not_before = self.clock.time() + wait if wait else 0.0
            self._ends(held, "waiting")

    @rule(which=st.integers(0, 5), keys=st.sets(INPUTS))
    def cancel(self, which: int, keys: set[str]) -> None:
        """By a beat that found nobody of ``keys`` waiting."""
        held, unwanted = self._some(which), {subscriber(key).sid for key in keys}
        if held is not None and self._may(held, lambda: held.lease.cancel(unwanted)):
            assert self.model is not None
            if set(self.model.waiting) <= unwanted:
                self._ends(held, "cancelled")
            else:
                held.until = self.clock.time() + LEASE

    @rule(name=WORKERS, key=INPUTS)
    def withdraw(self, name: str, key: str) -> None:
        """By somebody who cancels one input."""
        sid, model, now = subscriber(key).sid, self.model, self.clock.time()
        self.jobs[name].withdraw(JOB.jid, sid)
        if model is not None and model.state in ("running", "waiting") and sid in model.waiting:
            model.waiting = [one for one in model.waiting if one != sid]
            model.used = model.used + now - model.written if model.state == "running" else 0.0
            model.written = now
            if not model.waiting:
                model.state = "cancelled"
                for held in self.held:
                    held.cancelled = True

    @rule(name=WORKERS)
    def revive(self, name: str) -> None:
        """By ``dropscribe retry``."""
        model = self.model
        if model is None or model.state not in ("dead", "cancelled"):
            return
        record, found = self.jobs[name].read(JOB.jid)
        self.jobs[name].revive(record, found)
        model.state, model.attempts, model.takeovers, model.not_before, model.waiting = "waiting", 0, 0, 0.0, []

    # ── what must hold ───────────────────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def the_record_says_so(self) -> None:
        model = getattr(self, "model", None)
        if model is None:
            return
        record = record_of(self.store)
        assert (record.state, record.token) == (model.state, model.token)
        assert (record.attempts, record.takeovers) == (model.attempts, model.takeovers)
        assert [one.sid for one in record.subscribers] == model.waiting
        assert record.worker == model.worker
        assert record.token >= self.token
        self.token = record.token

    @invariant()
    def one_holder_at_most(self) -> None:
        believing = [held for held in getattr(self, "held", []) if not held.over and not held.lease.lost]
        valid = [held for held in believing if self._is_valid(held)]
        assert len(valid) <= 1
        workers = {held.worker for held in believing if not held.cancelled}
        # Nobody else takes a lease over while its holder still believes in it.
        if self.model is not None and self.model.state == "running":
            assert workers <= {self.model.worker}

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _some(self, which: int) -> Held | None:
        return self.held[-1 - which % len(self.held)] if self.held else None

    def _is_valid(self, held: Held) -> bool:
        model = self.model
        ours = model is not None and (model.state, model.token) == ("running", held.lease.token)
        return ours and not held.over and self.clock.time() < held.until

    def _may(self, held: Held, act: object) -> bool:
        """Do it, if the lease is good, or see it refused."""
        if self._is_valid(held):
            act()  # type: ignore[operator]
            assert self.model is not None
            self.model.written, self.model.used = self.clock.time(), 0.0
            return True
        with pytest.raises(LeaseLost):
            act()  # type: ignore[operator]
        held.over = True
        assert held.lease.lost
        return False

    def _ends(self, held: Held, state: str) -> None:
        assert self.model is not None
        self.model.state, held.over = state, True

    def _joins(self, sid: str, now: float) -> None:
        model = self.model
        assert model is not None
        if sid not in model.waiting:
            model.waiting.append(sid)
            model.used = model.used + now - model.written if model.state == "running" else 0.0
            model.written = now

    def _claims(self, got: object, name: str, waiting: list[str], **changes: int) -> None:
        model, now = self.model, self.clock.time()
        assert model is not None
        model.state, model.worker, model.waiting = "running", name, waiting
        model.token = max(int(now), model.token + 1)
        model.written, model.used, model.not_before, model.hopeless = now, 0.0, 0.0, False
        model.attempts = changes.get("attempts", model.attempts)
        model.takeovers = changes.get("takeovers", model.takeovers)
        self._took(got, name)

    def _took(self, got: object, name: str) -> None:
        assert isinstance(got, Lease)
        for held in self.held:  # a claim of one's own again: the earlier lease is forgotten
            held.over = held.over or held.worker == name
        self.held.append(Held(got, name, self.clock.time() + LEASE))


def _with(waiting: list[str], sid: str) -> list[str]:
    return waiting if sid in waiting else [*waiting, sid]


def test_any_course_of_a_job(long: bool) -> None:
    """Whoever does what and when: the record says what the model says, and nobody holds what another has."""
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        AJob,
        settings=settings(
            max_examples=5000 if long else 300,
            stateful_step_count=40,
            deadline=None,
            database=None,
            derandomize=not long,
        ),
    )
