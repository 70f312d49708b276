"""Damaged media by the dozen, dropped into a bucket: all are settled, each with a result or an error; nobody dies."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.bucket_rig import Rig
from tests.pipeline import mutate

MakeRig = Callable[..., Rig]

FEW, MANY = 36, 480
FIRST = 48_000  # other mutations than those of tests/pipeline/test_mutations.py
MEDIA_ERRORS = {"EmptyMedia", "UnreadableMedia", "NoAudio", "TooLong", "TooManyChannels"}


def test_damaged_media_in_a_bucket(
    make_folder_rig: MakeRig, tmp_path: Path, speech: Path, request: pytest.FixtureRequest
) -> None:
    """Each seeded mutation of real media ends in a result that keeps Deepgram's contract, or in an error of the
    recording's that is not retried; one engine lives through all of them.
    """
    count = MANY if request.config.getoption("--long", default=False) else FEW
    sources = tmp_path / "sources"
    sources.mkdir()
    made = mutate.sources(sources)
    rig = make_folder_rig(max_duration_seconds=600.0)
    rig.drop("before.flac", speech)
    rig.drain()
    first_engine = rig.engine.pid  # type: ignore[attr-defined]
    rig.bucket.drop("input/sphinx/options.json", b'{"model": "sphinx"}')
    rig.bucket.drop("input/each/options.json", b'{"multichannel": true, "detect_language": true}')
    keys = []
    for number in range(FIRST, FIRST + count):
        original = made[number % len(made)]
        keys.append(f"{('plain', 'each', 'sphinx', 'plain')[number // len(made) % 4]}/{number}{original.suffix}")
        rig.drop(keys[-1], mutate.mutated(original.read_bytes(), random.Random(number)))
    rig.drain()
    results, errors = rig.keys("results/"), rig.keys("errors/")
    assert sorted([*results, *errors]) == sorted(f"{key}.json" for key in ["before.flac", *keys])
    for name in results:
        rig.result(name.removesuffix(".json"))
    outcomes = Counter(rig.error(name.removesuffix(".json"))["class"] for name in errors)
    assert set(outcomes) <= MEDIA_ERRORS, outcomes
    assert rig.settled() == 1 + count
    assert len(results) > count / 4
    assert outcomes["UnreadableMedia"] > 0
    rig.drop("after.flac", speech.read_bytes() + b"\0")
    rig.drain()
    rig.result("after.flac")
    assert rig.engine.pid == first_engine  # type: ignore[attr-defined]
