"""The artifact of diarization: small, exact enough, and never believed when it is damaged."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.stages.assignment import Turn
from pipeline.stages.turns import Diarization, diarization, turns
from tests.pipeline.diarization.listeners import INFO

STEP = 0.08


@given(frames=st.integers(0, 60), speakers=st.integers(0, 5), seed=st.integers(0, 2**32 - 1), half=st.booleans())
@settings(max_examples=100, deadline=None)
def test_posteriors_survive_the_file(frames: int, speakers: int, seed: int, half: bool) -> None:
    """To JSON and back every posterior is where it was, within a 255th's half."""
    given_ = np.random.default_rng(seed).random((frames, speakers)).astype(np.float16 if half else np.float32)
    kept = Diarization.model_validate_json(diarization(given_, STEP, INFO).model_dump_json())
    assert kept.posteriors().shape == (frames, speakers)
    assert not given_.size or np.abs(kept.posteriors() - given_.astype(np.float32)).max() <= 0.5 / 255 + 1e-6
    assert kept.turns == turns(given_, STEP)


def test_turns_overlap_and_bridge_short_pauses() -> None:
    """Two who speak at once have a turn each; a breath does not end a turn, a real pause does."""
    heard = np.zeros((40, 3), np.float32)
    heard[2:10, 1] = 0.9
    heard[6:20, 0] = 0.5
    heard[12:16, 1] = 0.8  # 0.16 s after its last frame
    heard[22:30, 1] = 0.8  # 0.48 s after
    assert turns(heard, STEP) == (Turn(0.16, 1.28, 1), Turn(0.48, 1.6, 0), Turn(1.76, 2.4, 1))


def test_ten_hours_are_of_moderate_size() -> None:
    """Ten hours of lively talk among four take less than 2 MB of JSON."""
    rng = np.random.default_rng(0)
    frames = 450_000
    who = np.repeat(rng.integers(0, 4, frames // 30), 30)
    logits = np.where(who[:, None] == np.arange(4), 5.0, -5.0) + rng.normal(0, 0.5, (frames, 4))
    kept = diarization((1 / (1 + np.exp(-logits))).astype(np.float16), STEP, INFO)
    assert len(kept.model_dump_json()) < 2_000_000


@pytest.mark.parametrize(
    "packed",
    [
        "no base64!",
        base64.b64encode(b"no zlib").decode(),
        base64.b64encode(zlib.compress(b"\x00" * 7)).decode(),
        base64.b64encode(zlib.compress(b"\x00" * 9)).decode(),
        base64.b64encode(zlib.compress(b"\x00" * 8)[:-6]).decode()[:-4] + "====",
    ],
)
def test_damaged_posteriors_are_not_believed(packed: str) -> None:
    """Bytes that are not exactly the posteriors raise ValueError."""
    kept = Diarization(step=STEP, frames=4, speakers=2, packed=packed)
    with pytest.raises(ValueError, match=r"damaged|there are"):
        kept.posteriors()


def test_a_bomb_is_not_unpacked() -> None:
    """Of a quarter of a gigabyte in a few bytes no more is made than shows that it is too much."""
    bomb = base64.b64encode(zlib.compress(bytes(1 << 28))).decode()
    with pytest.raises(ValueError, match="there are 9 posteriors, not 8"):
        Diarization(step=STEP, frames=4, speakers=2, packed=bomb).posteriors()
