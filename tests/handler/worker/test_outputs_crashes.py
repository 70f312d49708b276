"""A worker that dies at any request while it publishes captions: the next one leaves the same bytes, and no others."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from outputs_rig import ask, forms, shown
from worker_rig import Died, Mortal, Rig, check_right, points, text_of

from handler.fakes import ScriptedEngine
from handler.retry import Retry

SPEECH = b"somebody talks"
KINDS = ("srt", "txt")


def dies(rig: Rig, at: int, after: bool) -> bool:
    """Drain with a worker that dies there; False if it came to its end before. No JSON without its forms."""
    try:
        rig.worker(store=Mortal(rig.store, at, after)).run(drain=True)
    except Died:
        return True
    return False


def bodies(rig: Rig) -> dict[str, bytes | None]:
    return {key: rig.body(key) for key in rig.keys("results/")}


def test_dying_with_a_first_result(fresh: Callable[[], Rig]) -> None:
    """Wherever the first worker dies: whenever the JSON lies there its forms do, and in the end all is right."""
    for at, after in points():
        rig = fresh()
        ask(rig, "a.wav", *KINDS)
        rig.drop("a.wav", SPEECH)
        died = dies(rig, at, after)
        halfway = bodies(rig)
        if "results/a.wav.json" in halfway:
            assert set(halfway) == {"results/a.wav.json", "results/a.wav.srt", "results/a.wav.txt"}
        rig.clock.sleep(200)
        rig.worker().run(drain=True)
        check_right(rig, "a.wav", SPEECH)
        assert forms(rig, "a.wav") == list(KINDS), (at, after)
        assert shown(rig, "a.wav") == text_of(SPEECH)
        assert halfway.items() <= bodies(rig).items(), (at, after)  # the same bytes again
        if not died:
            break
    assert at > 8


def test_dying_with_other_wishes(fresh: Callable[[], Rig]) -> None:
    """Wherever a worker dies that puts other forms in the place of earlier ones: in the end there are the new ones
    alone, and no stage was run.
    """
    for (at, after), pause in itertools.product(points(), (0, 5)):
        rig = fresh()
        ask(rig, "a.wav", *KINDS)
        rig.drop("a.wav", SPEECH)
        rig.worker().run(drain=True)
        ask(rig, "a.wav", "vtt")
        Retry(rig.jobs()).key("a.wav")
        rig.clock.sleep(70)  # options are remembered for a minute
        died = dies(rig, at, after)
        rig.clock.sleep(pause)  # the next worker may come within the same second, and have the same token
        rig.worker(engine := ScriptedEngine()).run(drain=True)
        assert engine.ran == []
        assert forms(rig, "a.wav") == ["vtt"], (at, after, pause)
        check_right(rig, "a.wav", SPEECH)
        if not died:
            break
    assert at > 5


def test_dying_with_a_replaced_recording(fresh: Callable[[], Rig]) -> None:
    """Wherever a worker dies while its recording is replaced by one that asks for nothing: no form of the old one is
    left.
    """
    for at, after in points():
        rig = fresh()
        ask(rig, "a.wav", *KINDS)
        rig.drop("a.wav", SPEECH)
        died = dies(rig, at, after)
        rig.store.delete("input/a.wav.options.json")
        rig.drop("a.wav", b"replaced")
        rig.clock.sleep(200)
        rig.worker().run(drain=True)
        check_right(rig, "a.wav", b"replaced")
        assert forms(rig, "a.wav") == [], (at, after)
        if not died:
            break
    assert at > 8
