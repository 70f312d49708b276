"""Whatever people drop ends in a result or in an error that they can act on, and the worker goes on: one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from handler.settings import Settings
from tests.end_to_end import recordings
from tests.end_to_end.bucket_rig import Rig, transcript_of, warnings_of, words_of

MakeRig = Callable[..., Rig]


@dataclass(frozen=True)
class Case:
    """``error``: the class of the error that it ends in, with ``says`` in its message; without one it completes."""

    name: str
    make: Callable[[Path], Path]
    error: str | None = None
    says: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    channels: int = 1
    duration: float | None = None  # seconds, to within a tenth
    speaks: int | None = None  # the channel on which something was heard; the others are empty
    warns: frozenset[str] = frozenset()


def each_channel(count: int) -> Callable[[Path], Path]:
    return lambda folder: recordings.channels(folder, count)


ALONE = {"multichannel": True}
CUT = frozenset({"truncated_media"})

CASES = [
    Case("empty", recordings.empty, "EmptyMedia", "is empty"),
    Case("cut off flac", recordings.cut_flac, speaks=0, warns=CUT),
    Case("cut off mp3", recordings.cut_mp3, speaks=0),
    Case("cut off wav", recordings.cut_wav, duration=2.5, speaks=0, warns=CUT),
    Case("mp4 without its index", recordings.mp4_without_moov, "UnreadableMedia", "damaged"),
    Case("text named wav", recordings.text, "UnreadableMedia", "not a recording"),
    Case("png", recordings.png, "NoAudio", "picture"),
    Case("jpg", recordings.jpg, "NoAudio", "picture"),
    Case("video without sound", recordings.mute_video, "NoAudio", "video without sound"),
    Case("two hours of silence", recordings.silence, duration=7200.0),
    Case("20 channels, mixed", each_channel(20), duration=3.0, speaks=0),
    Case("20 channels, each", each_channel(20), options=ALONE, channels=20, duration=3.0, speaks=3),
    Case("21 channels, mixed", each_channel(21), duration=3.0, speaks=0),
    Case("21 channels, each", each_channel(21), "TooManyChannels", "21 channels", options=ALONE),
    Case("10 ms", recordings.moment, duration=0.01),
    Case("384 kHz", recordings.ultrasonic, duration=3.0, speaks=0),
    Case("over the size limit", recordings.flac, "TooLarge", "20,000", settings={"max_size_bytes": 20_000}),
    Case("over the duration limit", recordings.flac, "TooLong", "2.5 s", settings={"max_duration_seconds": 2.5}),
]
ON_S3 = {"empty", "cut off wav", "text named wav", "video without sound", "20 channels, each", "over the size limit"}


def names(case: Case) -> str:
    return case.name


def check(rig: Rig, case: Case, key: str) -> None:
    """The case's ending is the one that the table says."""
    if case.error is not None:
        error = rig.error(key)
        assert (error["class"], error["retryable"], error["attempts"]) == (case.error, False, 1)
        assert case.says in error["err_msg"]
        return
    result = rig.result(key)
    assert result["metadata"]["channels"] == case.channels
    if case.duration is not None:
        assert result["metadata"]["duration"] == pytest.approx(case.duration, abs=0.1)
    assert warnings_of(result) >= case.warns
    heard = [channel for channel in range(case.channels) if transcript_of(result, channel)]
    assert heard == ([] if case.speaks is None else [case.speaks])


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recordings.flac(tmp_path_factory.mktemp("good"), 1.2)


@pytest.mark.parametrize("case", CASES, ids=names)
def test_in_a_folder(case: Case, make_folder_rig: MakeRig, tmp_path: Path, good: Path) -> None:
    """Dropped into a folder, each case ends as the table says, is settled, and the worker and its engine go on."""
    run(case, make_folder_rig, tmp_path, good, sidecar=case.options or None)


@pytest.mark.parametrize("case", [case for case in CASES if case.name in ON_S3], ids=names)
def test_on_s3(case: Case, make_s3_rig: MakeRig, tmp_path: Path, good: Path) -> None:
    """So it does on S3, where the options come with the object."""
    described = "&".join(f"{name}={str(value).lower()}" for name, value in case.options.items())
    run(case, make_s3_rig, tmp_path, good, metadata={"dropscribe": described} if described else None)


def run(case: Case, make_rig: MakeRig, folder: Path, good: Path, **given: Any) -> None:
    """Drop it with the options ``given``, look at how it ends, and then at a good recording, by the same engine."""
    rig = make_rig(model="sphinx", **case.settings)
    path = case.make(folder)
    key = f"calls/{path.name}"
    rig.drop(key, path, **given)
    rig.drain()
    check(rig, case, key)
    assert rig.settled() == 1
    engine = rig.engine.pid  # type: ignore[attr-defined]
    rig.drop("next/good.flac", good)
    rig.settings = rig.settings.model_copy(update={name: getattr(Settings(), name) for name in case.settings})
    rig.new_worker().sweep()
    assert words_of(rig.result("next/good.flac"))
    assert engine in (None, rig.engine.pid), "an engine had to die for it"  # type: ignore[attr-defined]
