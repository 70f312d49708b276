"""Cues: what stands together and for how long, whatever the words are like."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from caption_rig import any_results, ordinary_talk, result, said, squeezed, word
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formats.captions.cues import CHAIN, FLOOR, GAP, LEAST, LINGER, MOST, RATE, Cue, cues
from pipeline.formats.captions.layout import COLUMNS, LINES, width
from pipeline.formats.captions.spoken import labels, spoken, voices


def cues_of(*channels: list[dict[str, Any]], names: dict[str, str] | None = None) -> list[Cue]:
    read = spoken(result(*channels))
    called = labels(read, names)
    shown = {voice: label.text for voice in voices(read) if (label := called(voice)) and names}
    return list(cues(read, shown))


def texts(found: list[Cue]) -> list[str]:
    return ["\n".join(line.text for line in cue.lines) for cue in found]


# ── whatever the words ───────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=150, deadline=None)
@given(any_results, st.booleans())
def test_any_words_give_cues_in_order(found: dict[str, Any], named: bool) -> None:
    """Any words give cues in the order of time, each shown for a while, with a gap between, none too long."""
    read = spoken(found)
    names = {voice: f"Name {voice.channel}" for voice in voices(read)} if named else {}
    made = list(cues(read, names))
    for cue in made:
        assert 0 <= cue.start < cue.end <= cue.start + MOST
        assert cue.end - cue.start >= FLOOR
        assert 1 <= len(cue.lines) <= LINES
    for before, after in pairwise(made):
        assert after.start - before.end >= GAP


@settings(max_examples=150, deadline=None)
@given(any_results)
def test_any_words_are_all_there(found: dict[str, Any]) -> None:
    """Each channel's words, in order of their start, are the text of its cues: none lost, doubled or moved."""
    channels = found["results"]["channels"]
    made = list(cues(spoken(found)))
    for number, channel in enumerate(channels):
        words = channel["alternatives"][0]["words"]
        ordered = sorted(words, key=lambda one: max(0, round(one["start"] * 1000)))
        told = "".join(one.get("punctuated_word") or one["word"] for one in ordered)
        shown = "".join(line.text for cue in made for line in cue.lines if line.voice.channel == number)
        assert squeezed(shown) == squeezed(told)


@settings(max_examples=100, deadline=None)
@given(any_results, st.booleans())
def test_lines_are_as_wide_as_they_may_be(found: dict[str, Any], named: bool) -> None:
    """A line is wider than the limit only when it is a single word (or name) that is."""
    read = spoken(found)
    names = dict.fromkeys(voices(read), "Somebody") if named else {}
    single = Counter(one.text for words in read for one in words)
    for cue in cues(read, names):
        for line in cue.lines:
            label = f"{line.label}: " if line.label else ""
            columns = width("-" * cue.dashed + label + line.text)
            assert columns <= COLUMNS or line.text in single, line


@pytest.mark.parametrize("seed", range(5))
def test_the_limits_of_broadcasters(seed: int) -> None:
    """One person's ordinary speech: every limit is kept, and where reading or the least time comes short, the next
    words leave no more.
    """
    words = ordinary_talk(seed)
    made = cues_of(words)
    ends = iter(words)
    for cue, following in zip(made, [*made[1:], None], strict=True):
        count = sum(len(line.text.split()) for line in cue.lines)
        own = [next(ends) for _ in range(count)]
        assert cue.start == round(own[0]["start"] * 1000)  # in time with the first word
        spoken_until = max(round(one["end"] * 1000) for one in own)
        assert spoken_until - cue.start <= MOST
        assert all(len(line.text) <= 42 for line in cue.lines)
        crowded = following is not None and cue.end == following.start - GAP
        assert cue.end >= spoken_until or crowded
        seconds = (cue.end - cue.start) / 1000
        assert seconds >= 0.833 or crowded
        readable = sum(len(line.text) for line in cue.lines) / seconds <= RATE + 0.5
        assert readable or crowded or cue.end == max(spoken_until + LINGER, cue.start + LEAST) or seconds == 7
        assert following is None or crowded or following.start - cue.end >= CHAIN


# ── where they break ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_sentence_is_a_cue() -> None:
    """Sentences that are long enough to be read stand alone."""
    assert texts(cues_of(said("This is the first one. And this is the second."))) == [
        "This is the first one.",
        "And this is the second.",
    ]


def test_what_would_flash_stays_with_its_neighbour() -> None:
    """A sentence that would be gone in less than 5/6 s goes together with the next."""
    assert texts(cues_of(said("No. I said no, and I meant it."))) == ["No. I said no, and I meant it."]


def test_a_pause_ends_a_cue() -> None:
    """Words after a silence come when they are said, not before."""
    made = cues_of([*said("I think"), *said("that he is right", start=2.0)])
    assert texts(made) == ["I think", "that he is right"]
    assert [cue.start for cue in made] == [0, 2000]


def test_long_sentences_break_at_the_best_place() -> None:
    """A sentence of more than two lines is divided evenly, after a comma where one is near the middle."""
    text = (
        "When the rain had stopped and the sun came out again over the hills, "
        "we went back to the old house to look for the things that we had left there."
    )
    first, second = texts(cues_of(said(text, each=0.2)))
    assert first.replace("\n", " ").endswith("over the hills,")
    assert second.replace("\n", " ").startswith("we went back")


def test_lines_are_even_and_break_after_punctuation() -> None:
    """Two lines are broken near the middle, rather after a comma than anywhere else."""
    assert texts(cues_of(said("In the end, they all agreed on the very same thing."))) == [
        "In the end, they all agreed\non the very same thing."
    ]
    assert texts(cues_of(said("They came late in the evening, but we were all still there."))) == [
        "They came late in the evening,\nbut we were all still there."
    ]


def test_a_change_of_speaker_ends_a_cue() -> None:
    """Two people never stand on one line."""
    made = cues_of([*said("Where have you been all day long?", speaker=0), *said("At home.", 2.1, 1.0, speaker=1)])
    assert [{line.voice.speaker for line in cue.lines} for cue in made] == [{0}, {1}]


def test_an_overlong_word_stands_alone() -> None:
    """A word that fits no line is not split, and nothing stands beside it."""
    long = "https://example.org/" + "a" * 60
    assert texts(cues_of(said(f"look at {long} for more"))) == ["look at", long, "for more"]


def test_no_spaces_where_a_script_has_none() -> None:
    """Chinese and Thai break between words without spaces; full-width characters count twice, tone marks not at all."""
    words = [
        word(sign, place * 0.2, place * 0.2 + 0.2)
        for place, sign in enumerate("今天天气很好我们去公园散步吧你说怎么样呢")
    ]
    [only] = cues_of(words)
    assert [line.text for line in only.lines] == ["今天天气很好我们去公园散步吧你说怎么样呢"]
    assert width(only.lines[0].text) == 40
    longer = [word("好", place * 0.1, place * 0.1 + 0.1) for place in range(60)]
    assert all(len(line.text) <= 21 for cue in cues_of(longer) for line in cue.lines)
    assert width("ที่นี่") == 2


def test_a_long_last_word_is_capped() -> None:
    """A word whose end is far away, as after music, does not keep its cue on the screen for more than 7 s."""
    [cue] = cues_of([word("Ah", 1.0, 31.0)])
    assert (cue.start, cue.end) == (1000, 8000)


def test_slow_speech_stays_within_its_cue() -> None:
    """Who speaks slowly fills a cue by time, not by width: no word comes after its cue has gone."""
    words = said("We all have to wait for him until he comes.", each=1.4)
    made = cues_of(words)
    rest = iter(words)
    for cue in made:
        own = [next(rest) for line in cue.lines for _ in line.text.split()]
        assert cue.start == round(own[0]["start"] * 1000)
        assert cue.end >= round(own[-1]["end"] * 1000) - GAP
    assert len(made) == 2


# ── several at once ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_two_short_ones_at_once_share_a_cue() -> None:
    """People who talk at the same time stand on a dashed line each, in the order in which they began."""
    [cue] = cues_of(said("Are you coming with us?"), said("Of course I am.", start=0.5))
    assert cue.dashed
    assert [line.text for line in cue.lines] == ["Are you coming with us?", "Of course I am."]
    assert [line.voice.channel for line in cue.lines] == [0, 1]


def test_a_quick_answer_shares_a_cue() -> None:
    """So does an answer that would drive the question off the screen before it could be read."""
    [cue] = cues_of([*said("Coming?", speaker=0), *said("Yes.", 0.35, speaker=1)])
    assert cue.dashed


def test_two_long_ones_at_once_follow_each_other() -> None:
    """What does not fit beside the other follows it: never on top of each other, and both long enough to see."""
    one = said("There is one more thing that I would like to say before we all go home.")
    other = said("Nobody listens to me in this house, whatever it is that I have to say.", start=0.4)
    made = cues_of(one, other)
    assert [cue.lines[0].voice.channel for cue in made] == [0, 1]
    assert not any(cue.dashed for cue in made)
    assert all(cue.end - cue.start >= LEAST for cue in made)


def test_a_short_one_beside_a_long_one_is_seen() -> None:
    """A short remark into a long sentence gets the least time, though the sentence's words would ask for nearly all."""
    long = said("Hello there, my dear old friends of the house and other people. And so on we go.")
    remark = next(cue for cue in cues_of(long, said("No no.", 1.0)) if cue.lines[0].voice.channel == 1)
    assert remark.end - remark.start >= LEAST - GAP


def test_many_at_one_moment_do_not_pile_up() -> None:
    """Words that all claim the same moment are still shown one after the other, and the next real time is kept."""
    crowd = [word(f"word{number}", 1.0, 1.0) for number in range(60)]
    made = cues_of([*crowd, *said("And then it went on.", start=60.0)])
    assert made[-1].start == 60_000
    assert all(before.end < after.start for before, after in pairwise(made))


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_name_stands_where_the_voice_changes() -> None:
    """The name goes before the first words of each turn, and nowhere else; the lines still fit."""
    talk = [
        *said("I have been thinking about that for a very long time now.", speaker=0),
        *said("It cannot go on like this.", 4.0, speaker=0),
        *said("I do not agree with you at all.", 7.0, speaker=1),
    ]
    made = cues_of(talk, names={"0": "Professor Alice", "1": "Bob"})
    assert [[line.label for line in cue.lines] for cue in made] == [["Professor Alice", None], [None], ["Bob"]]
    assert all(len(f"{line.label or ''}: {line.text}") <= 42 for cue in made for line in cue.lines)
