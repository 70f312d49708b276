"""The path is NeMo's, frame by frame."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.stages.alignment.viterbi import viterbi
from tests.pipeline.alignment.ctc_reference import random_emissions


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore")  # NeMo's own imports
def test_same_path_as_nemo() -> None:
    """On 120 random texts `viterbi_decoding` is in the same state in every frame."""
    import torch
    from nemo.collections.asr.parts.utils.aligner_utils import viterbi_decoding

    rng = np.random.default_rng(11)
    for _ in range(120):
        columns = int(rng.integers(2, 40))
        frames = int(rng.integers(2, 240))
        emissions = random_emissions(rng, frames, columns)
        blank = columns - 1
        tokens = rng.integers(0, blank, size=int(rng.integers(1, max(2, frames // 2)))).astype(np.int32)
        states = np.full(2 * len(tokens) + 1, blank)
        states[1::2] = tokens
        (theirs,) = viterbi_decoding(
            torch.from_numpy(emissions)[None],
            torch.from_numpy(states)[None],
            torch.tensor([frames]),
            torch.tensor([len(states)]),
            torch.device("cpu"),
        )
        spans = viterbi(emissions, tokens, blank)
        if spans is None:
            assert frames < 2 * len(tokens)
            continue
        ours = np.searchsorted(spans[:, 0], np.arange(frames), "right") * 2
        for nth, (start, stop) in enumerate(spans):
            ours[start:stop] = 2 * nth + 1
        assert ours.tolist() == theirs
