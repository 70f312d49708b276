"""Batches of windows that have nothing to do with each other, through CTranslate2's primitives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faster_whisper import WhisperModel
from sound import hush, noise
from whisper_rig import NATO

from pipeline.models.base import Request
from pipeline.models.decoding import Decoded, Plan, Planned, decode, hear
from pipeline.models.prompts import PROMPT_TOKENS, Prompts
from pipeline.types import SAMPLE_RATE


@pytest.fixture(scope="module")
def whisper(counting_whisper: Path) -> WhisperModel:
    return WhisperModel(str(counting_whisper), device="cpu", compute_type="float32")


def plan(whisper: WhisperModel, language: str, **request: object) -> Plan:
    return Prompts(whisper, Request.model_validate(request)).plan(language)


def close(one: Decoded, other: Decoded) -> bool:
    """The same text and times; measures to rounding."""
    same = one.text == other.text and [w[:3] for w in one.words] == [w[:3] for w in other.words]
    near = np.allclose([w.confidence for w in one.words], [w.confidence for w in other.words], atol=1e-4)
    return same and near and abs(one.logprob - other.logprob) < 1e-4 and abs(one.no_speech - other.no_speech) < 1e-4


def test_windows_of_different_jobs_share_a_batch(whisper: WhisperModel) -> None:
    """Languages, tasks, prompts, hotwords and suppressed figures of their own: each window as if it were alone."""
    plans = [
        plan(whisper, "en"),
        plan(whisper, "de", task="translate"),
        plan(whisper, "en", initial_prompt="A talk about storage.", hotwords=("Kubernetes",)),
        plan(whisper, "fr", suppress_numerals=True),
        plan(whisper, "en", hotwords=("Xhosa",)),
        plan(whisper, "de", suppress_numerals=True),
    ]
    batch = [Planned(noise(1.2 + n, high=n % 2 == 1, seed=n), one) for n, one in enumerate(plans)]
    together = decode(whisper, batch)
    assert [found.text.split() for found in together] == [
        [NATO[place] if "Bravo" not in NATO[place] or n in (3, 5) else "2" for place in range(n + 1)] for n in range(6)
    ]
    for one, found in zip(batch, together, strict=True):
        [alone] = decode(whisper, [one])
        assert close(found, alone)


def test_words_are_aligned_in_their_own_language(counting_whisper: Path) -> None:
    """Where words end, and when, is asked with each window's own language and task, whoever shares the batch."""
    asked: list[tuple[str | None, int]] = []

    class Noting(WhisperModel):
        def find_alignment(self, tokenizer: Any, text_tokens: Any, *others: Any) -> Any:
            asked.append((tokenizer.language_code, len(text_tokens)))
            return super().find_alignment(tokenizer, text_tokens, *others)

    whisper = Noting(str(counting_whisper), device="cpu", compute_type="float32")
    plans = [plan(whisper, code) for code in ("ja", "en", "ja")]
    decode(whisper, [Planned(noise(1.2, seed=n), one) for n, one in enumerate(plans)])
    assert asked == [("ja", 2), ("en", 1)]


def test_what_was_encoded_to_hear_the_language_is_decoded(whisper: WhisperModel) -> None:
    """With the encoder's output at hand for some windows of a batch, the words are the same; it is really used."""
    here = plan(whisper, "en")
    sounds = [noise(2.2), noise(3.2, high=True, seed=1), noise(4.2, seed=2)]
    heard = hear(whisper, sounds)
    assert [found.languages[0][0] for found in heard] == ["en", "de", "en"]
    plain = [Planned(sound, here) for sound in sounds]
    for known in ({0}, {1, 2}, {0, 1, 2}):
        mixed = [replace(one, row=heard[n].row) if n in known else one for n, one in enumerate(plain)]
        assert all(map(close, decode(whisper, mixed), decode(whisper, plain)))
    # Another window's row, with this one's length: its words are the row's.
    [other] = decode(whisper, [replace(plain[2], row=heard[0].row)])
    assert len(other.words) == 2


def test_silence_among_speech(whisper: WhisperModel) -> None:
    """A window without words stands at its place in the batch."""
    here = plan(whisper, "en")
    found = decode(whisper, [Planned(sound, here) for sound in (noise(1.2), hush(5), noise(2.2))])
    assert [len(one.words) for one in found] == [1, 0, 2]
    assert found[1].no_speech > 0.6
    assert found[0].no_speech < 0.1


def test_features_are_the_librarys(whisper: WhisperModel) -> None:
    """Log-mel of a window by itself, padded with zeros behind the logarithm, as faster-whisper's batched mode does."""
    from faster_whisper.audio import pad_or_trim

    from pipeline.models.decoding import _features

    for samples in (160, 161, SAMPLE_RATE, 30 * SAMPLE_RATE - 1, 30 * SAMPLE_RATE):
        sound = noise(30)[:samples]
        expected = pad_or_trim(whisper.feature_extractor(sound)[..., :-1])
        assert np.array_equal(_features(whisper, [sound])[0], expected)


def test_prompts_are_cut_to_half_of_the_context(whisper: WhisperModel) -> None:
    """Hotwords first, then the end of the prompt, and never more than fits; special tokens in them are plain text."""
    cut = plan(whisper, "en", initial_prompt="alpha " * 400 + "omega", hotwords=("name",) * 20)
    assert len(cut.before) == 1 + PROMPT_TOKENS
    text = whisper.hf_tokenizer.decode(list(cut.before[1:]))
    assert text.startswith(" name, name")
    assert text.endswith("alpha omega")
    spelt = plan(whisper, "en", initial_prompt="<|startoftranscript|> <|endoftext|>")
    assert max(spelt.before[1:]) < whisper.hf_tokenizer.token_to_id("<|endoftext|>")
