"""The quality gate alone: made-up measures in, verdicts out. No model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.models.base import Rough
from pipeline.models.gate import GATE, Evidence, Fault, compression, loop, without_loops

SENTENCE = "So we looked at the figures again, and they were not what anybody in the room had expected."


def said(text: str, start: float = 0.5, end: float = 9.5) -> tuple[Rough, ...]:
    """The words of a text, evenly over the time."""
    words = text.split()
    step = (end - start) / max(1, len(words))
    return tuple(Rough(f" {word}", start + n * step, start + (n + 1) * step, 0.9) for n, word in enumerate(words))


def evidence(text: str = SENTENCE, **changes: object) -> Evidence:
    good = Evidence(text=text, words=said(text), logprob=-0.3, no_speech=0.02, speech=((0.0, 10.0),))
    return replace(good, **changes)  # type: ignore[arg-type]


def faults(found: Evidence) -> tuple[Fault, ...]:
    verdict = GATE.judge(found)
    assert not verdict.silent
    return verdict.faults


@pytest.mark.parametrize(
    "text",
    [
        SENTENCE,
        "No, no, no, no, that is not what I said.",
        "我们 再 看 了 一遍 那些 数字",
        "Yes.",
        "very " * 6 + "good indeed, and we all know it",
    ],
)
def test_speech_passes(text: str) -> None:
    """What people say passes: fast, slow, in Chinese, with emphasis."""
    spoken = 3.9 if text == "Yes." else 6.0
    assert faults(evidence(text, speech=((0.0, spoken),), words=said(text, 0.2, spoken))) == ()


def test_speech_passes_where_none_was_looked_for() -> None:
    """Without knowledge of where speech is, the rules about it are silent."""
    assert faults(evidence("Yes.", speech=None, words=(Rough("Yes.", 25, 26, 0.9),))) == ()


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        (evidence(logprob=-1.01), Fault.UNLIKELY),
        (evidence("Thank you for it all. " * 12, speech=((0.0, 30.0),)), Fault.REPETITIVE),
        (evidence("and so it goes " * 4, speech=((0.0, 10.0),)), Fault.LOOP),
        (evidence("Thank you for watching.", speech=((3.0, 3.6),), words=said("Thank you for watching.", 3, 3.6)),
         Fault.DENSE),
        (evidence("", words=(), speech=((0.0, 4.0),)), Fault.MISSING),
        (evidence("Yes.", speech=((0.0, 12.0),)), Fault.MISSING),
        (evidence(speech=((9.9, 19.0),), words=said(SENTENCE, 0.0, 8.0)), Fault.OUTSIDE),
    ],
)  # fmt: skip
def test_each_rule_finds_its_fault(found: Evidence, fault: Fault) -> None:
    """One measure out of bounds is that fault."""
    assert fault in faults(found)


def test_thresholds_are_whispers() -> None:
    """At the thresholds themselves a window still passes, as in Whisper."""
    assert faults(evidence(logprob=-1.0)) == ()
    assert not GATE.judge(evidence(no_speech=0.6, logprob=-2.0)).silent
    assert not GATE.judge(evidence(no_speech=0.99, logprob=-0.9)).silent


@pytest.mark.parametrize(
    "found",
    [
        evidence("Thanks for watching!", no_speech=0.61, logprob=-1.01),
        evidence("", words=(), no_speech=0.7, logprob=-0.1),
        evidence("you", speech=(), no_speech=0.0),
    ],
)
def test_silence_is_not_tried_again(found: Evidence) -> None:
    """What the decoder takes for silence and does not believe itself, or where no speech is, is nothing, at once."""
    verdict = GATE.judge(found)
    assert verdict.silent
    assert verdict.faults == ()


def test_a_few_words_beside_speech_are_the_aligners_error() -> None:
    """Word times are wrong by half a second now and then: that is no reason to decode again."""
    words = said(SENTENCE, 0.5, 9.5)
    assert faults(evidence(speech=((0.0, 8.2),), words=words)) == ()


def test_what_nobody_can_have_said_is_invented() -> None:
    """More than sixty characters a second, or words in what the decoder takes for silence, are dropped for good."""
    assert GATE.invented(evidence(speech=((2.0, 3.0),)))
    assert not GATE.invented(evidence(speech=((2.0, 4.0),)))
    away = evidence(speech=((20.0, 29.0),), no_speech=0.7)
    assert GATE.invented(away)
    assert not GATE.invented(replace(away, no_speech=0.5))


def test_the_better_attempt() -> None:
    """No loop before something said, that before fewer faults, those before likelihood."""
    ranks = [
        GATE.judge(found).rank
        for found in (
            evidence("and so it goes " * 4, logprob=-0.1),
            evidence("", words=(), logprob=-0.1),
            evidence(logprob=-1.5, speech=((9.9, 19.0),), words=said(SENTENCE, 0.0, 8.0)),
            evidence(logprob=-1.5),
            evidence(logprob=-1.2),
            evidence(),
        )
    ]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == len(ranks)


def test_loops_are_found_whatever_their_length() -> None:
    """A block of one to eight words that follows itself; case and punctuation do not hide it; a rest is no block."""
    for size in range(1, 9):
        block = [f"w{n}" for n in range(size)]
        words = ["but", *block * 9, block[0], "end"]
        assert loop(words) == (1, size, 9 + (size == 1))
    assert loop(["Go,", "go!", "GO"] * 3) == (0, 1, 9)
    assert loop(["no"] * 7) is None
    assert loop([]) is None


def test_a_loop_is_said_once() -> None:
    """The first time round is kept, with its times; what follows the loop stays."""
    words = (*said("well " + "and then we go " * 5, 0, 20), Rough("home.", 21, 22, 0.8))
    kept = without_loops(words)
    assert [word.text.strip() for word in kept] == ["well", "and", "then", "we", "go", "home."]
    assert kept[:5] == words[:5]
    assert kept[5] == words[-1]


def test_compression_is_whispers() -> None:
    """Bytes over compressed bytes; nothing is not repetitive."""
    assert compression("") == 0
    assert compression(SENTENCE) < 1.2
    assert compression("la " * 100) > 10
