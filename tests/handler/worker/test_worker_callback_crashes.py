"""A worker with a callback to make that dies at any of its requests, reads included: the receiver gets the result."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from functools import partial

import pytest
from callback_rig import Scripted, refused
from worker_rig import Rig

from handler.callbacks.courier import Courier
from handler.callbacks.transport import Answer
from handler.fakes import OwnedClock, ScriptedEngine
from handler.settings import Settings
from handler.store.memory import Call, MemoryStore, Phase
from pipeline.errors import NoAudio

HOPELESS = NoAudio("there is no sound in it").to_detail()
SPEECH = b"somebody talks"
MOST_POINTS = 300


class Died(BaseException):
    pass


def dropped(settings: Settings) -> tuple[Rig, MemoryStore]:
    clock = OwnedClock()
    bucket = MemoryStore(clock)
    rig = Rig(bucket, clock, settings)
    rig.drop("a.wav.options.json", json.dumps({"callback": "https://hooks.example/"}).encode())
    rig.drop("a.wav", SPEECH)
    return rig, bucket


def dying_at(fatal: int) -> Callable[[Call, Phase], None]:
    events = itertools.count(1)

    def hook(call: Call, phase: Phase) -> None:
        if next(events) >= fatal:
            raise Died

    return hook


@pytest.mark.parametrize(
    ("answers", "failures", "output"),
    [
        ([], [], "results/a.wav.json"),
        (refused(2), [], "results/a.wav.json"),
        (refused(99), [], "results/a.wav.json"),
        ([], [HOPELESS], "errors/a.wav.json"),
    ],
    ids=["accepted", "refused twice", "never accepted", "a failure"],
)
def test_killed_at_every_request(
    worker_settings: Settings, answers: list[Answer], failures: list[object], output: str
) -> None:
    """Killed just before or just after any request: the next worker settles the input, and its callback is delivered
    (or given up after its tries) with the stored bytes; never more often than there were deaths on top.
    """
    for fatal in range(1, MOST_POINTS):
        rig, bucket = dropped(worker_settings)
        network = Scripted(list(answers))
        courier = partial(Courier, transport=network, side_by_side=0)
        changes = {"callback_retries": 3, "scan_seconds": 1000}  # scans in between would be more of the same points
        engine = ScriptedEngine(failures=failures)  # type: ignore[arg-type]
        died = False
        try:
            rig.worker(engine, store=bucket.client(dying_at(fatal)), courier=courier, **changes).run(drain=True)
        except Died:
            died = True
        # What is settled has its callback: delivered, or in the bucket.
        if rig.settled("a.wav") is not None:
            assert rig.keys(rig.layout.pending) or rig.keys(rig.layout.delivered), fatal
        rig.worker(ScriptedEngine(failures=failures), courier=courier, **changes).run(drain=True)  # type: ignore[arg-type]
        assert rig.settled("a.wav") == ("failed" if failures else "completed"), fatal
        [key] = rig.keys(rig.layout.delivered)
        assert rig.json(key)["outcome"] == ("given_up" if len(answers) > 3 else "delivered"), fatal
        assert rig.keys(rig.layout.pending) == [], fatal
        assert {one.body for one in network.sent} == {rig.body(output)}, fatal
        ideal = min(len(answers) + 1, 4)
        assert ideal - 1 <= len(network.sent) <= ideal + died, fatal
        if len(answers) <= 3:
            assert len(network.sent) >= ideal, fatal
        if not died:
            assert fatal > 40
            return
    raise AssertionError("it never came to an end")
