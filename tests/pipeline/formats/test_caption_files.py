"""SubRip, WebVTT, text and RTTM: what stands in the files, and that others read the same out of them."""

from __future__ import annotations

import html
import json
import re
from itertools import pairwise
from typing import Any

import pytest
from caption_rig import any_results, parsed, result, said, squeezed, word
from deepgram_captions import DeepgramConverter
from deepgram_captions import srt as deepgram_srt
from deepgram_captions import webvtt as deepgram_vtt
from hypothesis import given, settings
from real_responses import NAMES, text

from pipeline.errors import NotAResult, OptionsError
from pipeline.formats.captions import Captions, render
from pipeline.formats.captions.spoken import Voice, spoken, voices
from pipeline.formats.captions.vtt import escaped
from pipeline.options import OUTPUTS

SRT_TIMES = re.compile(r"\d\d:\d\d:\d\d,\d{3} --> \d\d:\d\d:\d\d,\d{3}")
RTTM = re.compile(r"SPEAKER \S+ [1-9]\d* \d+\.\d{3} \d+\.\d{3} <NA> <NA> \S+ <NA> <NA>")
TALK = result(
    [
        *said("Good morning, and welcome.", speaker=0),
        *said("Thank you, it is good to be here.", 3.0, speaker=1),
        *said("Tell me how it all began.", 3700.0, speaker=0),
    ]
)


# ── whatever the words ───────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=150, deadline=None)
@given(any_results)
def test_players_read_what_was_written(found: dict[str, Any]) -> None:
    """FFmpeg reads as many cues out of both files as were written, in order, with all of their text."""
    srt, vtt = parsed(render(found, "srt"), "srt"), parsed(render(found, "vtt"), "webvtt")
    assert [(cue.start, cue.end) for cue in srt] == [(cue.start, cue.end) for cue in vtt]
    assert all(before.end < after.start for before, after in pairwise(srt))
    shown = [squeezed(html.unescape(re.sub(r"</?v[^>]*>", "", cue.text))) for cue in vtt]
    assert shown == [squeezed(cue.text) for cue in srt]
    every = [one for channel in found["results"]["channels"] for one in channel["alternatives"][0]["words"]]
    told = "".join(squeezed(one.get("punctuated_word") or one["word"]) for one in every)
    assert sorted(c for c in "".join(shown) if c != "-") == sorted(c for c in told if c != "-")


@settings(max_examples=100, deadline=None)
@given(any_results)
def test_any_words_give_valid_text_and_turns(found: dict[str, Any]) -> None:
    """Whatever the words: every line of text has its time, every line of RTTM its ten fields, in order of time."""
    for line in render(found, "txt").splitlines():
        assert re.match(r"\[(\d\d+:)?\d\d:\d\d\] ", line)
    turns = render(found, "rttm", file="a talk.wav").splitlines()
    assert all(RTTM.fullmatch(line) for line in turns)
    onsets = [float(line.split()[3]) for line in turns]
    assert onsets == sorted(onsets)
    assert all(float(line.split()[4]) > 0 for line in turns)


# ── Deepgram's own ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", OUTPUTS)
def test_real_responses(name: str, kind: str) -> None:
    """Every real response of Deepgram's gives every form, with all of its words."""
    real = json.loads(text(name))
    words = real["results"]["channels"][0]["alternatives"][0]["words"]
    made = render(real, kind, file=name)
    assert made
    if kind == "rttm":
        spoken = sum(float(line.split()[4]) for line in made.splitlines())
        assert spoken >= sum(one["end"] - one["start"] for one in words) * 0.9
    else:
        shown = {
            "srt": lambda: "".join(cue.text for cue in parsed(made, "srt")),
            "vtt": lambda: html.unescape(re.sub(r"</?v[^>]*>", "", "".join(c.text for c in parsed(made, "webvtt")))),
            "txt": lambda: re.sub(r"(?m)^\[[\d:]+\] (Speaker \d+: )?", "", made),
        }[kind]()
        told = "".join(one.get("punctuated_word", one["word"]) for one in words)
        assert squeezed(shown).replace("-", "") == squeezed(told).replace("-", "")


@pytest.mark.parametrize("name", NAMES)
def test_deepgrams_own_captions_say_the_same(name: str) -> None:
    """deepgram-captions, on the same response, shows the same words within the same span of time."""
    real = json.loads(text(name))
    theirs = parsed(deepgram_srt(DeepgramConverter(real)), "srt")
    ours = parsed(render(real, "srt"), "srt")
    assert abs(theirs[0].start - ours[0].start) <= 1
    assert ours[-1].end >= theirs[-1].end - 1
    plain = [squeezed(re.sub(r"\[speaker \d+\]", "", "".join(cue.text for cue in each))) for each in (theirs, ours)]
    assert plain[0].replace("-", "") == plain[1].replace("-", "")
    assert deepgram_vtt(DeepgramConverter(real)).startswith("WEBVTT")


# ── each form ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_srt() -> None:
    """SubRip: numbers from 1, commas in the times, a blank line between; no names that nobody gave."""
    assert render(TALK, "srt") == (
        "1\n00:00:00,000 --> 00:00:01,530\nGood morning, and welcome.\n\n"
        "2\n00:00:03,000 --> 00:00:05,400\nThank you, it is good to be here.\n\n"
        "3\n01:01:40,000 --> 01:01:41,800\nTell me how it all began.\n"
    )


def test_srt_with_names() -> None:
    """Once one voice has a name, every turn begins with one."""
    made = parsed(render(TALK, "srt", {"0": "Alice"}), "srt")
    assert [cue.text.replace("\n", " ") for cue in made] == [
        "Alice: Good morning, and welcome.",
        "Speaker 1: Thank you, it is good to be here.",
        "Alice: Tell me how it all began.",
    ]


def test_vtt() -> None:
    """WebVTT: the header, points in the times, a span for each voice, entities for what would be markup."""
    made = render(result(said("Is 1 < 2 --> or R&D?", speaker=0)), "vtt", {"0": "A & B <i>"})
    assert made == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:02.100\n<v A &amp; B &lt;i&gt;>Is 1 &lt; 2 --&gt; or R&amp;D?</v>\n"
    )
    assert escaped("a-->b") == "a--&gt;b"


def test_vtt_without_speakers_has_no_spans() -> None:
    """Where nobody told speakers apart, there is nothing but the words."""
    assert "<v" not in render(result(said("Nobody knows who said this.")), "vtt")


def test_an_arrow_is_no_time() -> None:
    """A word that looks like SubRip's arrow cannot be taken for a line of times."""
    made = render(result(said("from a-->b and --> on")), "srt")
    assert len([line for line in made.splitlines() if "-->" in line]) == 1
    assert len(SRT_TIMES.findall(made)) == 1


def test_txt() -> None:
    """Text: the time and who speaks before each paragraph, with hours from the first hour on."""
    assert render(TALK, "txt", {"1": "Bob"}) == (
        "[00:00] Speaker 0: Good morning, and welcome.\n"
        "[00:03] Bob: Thank you, it is good to be here.\n"
        "[01:01:40] Speaker 0: Tell me how it all began.\n"
    )
    assert render(result(said("One two.")), "txt") == "[00:00] One two.\n"


def test_txt_has_paragraphs() -> None:
    """One who speaks for long gets a paragraph for each five sentences, or pauses where nothing is punctuated."""
    sentences = [part for number in range(12) for part in said("So it is.", number * 1.0)]
    assert [line.count("So it is.") for line in render(result(sentences), "txt").splitlines()] == [5, 5, 2]
    bare = [part for number in range(6) for part in said("so it is", number * 2.0)]
    assert [line.count("so it is") for line in render(result(bare), "txt").splitlines()] == [5, 1]


def test_rttm() -> None:
    """RTTM: ten fields a turn, channels from 1, no white space within a field."""
    assert render(TALK, "rttm", {"0": "Alice Smith"}, file="my talk.mp3") == (
        "SPEAKER my_talk.mp3 1 0.000 1.200 <NA> <NA> Alice_Smith <NA> <NA>\n"
        "SPEAKER my_talk.mp3 1 3.000 2.400 <NA> <NA> Speaker_1 <NA> <NA>\n"
        "SPEAKER my_talk.mp3 1 3700.000 1.800 <NA> <NA> Alice_Smith <NA> <NA>\n"
    )
    several = render(result(said("Hello."), said("Hello."), []), "rttm")
    assert [line.split()[2::5] for line in several.splitlines()] == [["1", "Channel_0"], ["2", "Channel_1"]]


@pytest.mark.parametrize(("kind", "empty"), [("srt", ""), ("vtt", "WEBVTT\n"), ("txt", ""), ("rttm", "")])
def test_silence(kind: str, empty: str) -> None:
    """A recording without words gives a valid file without cues; so does one without channels."""
    assert render(result([]), kind) == empty
    assert render(result(), kind) == empty
    assert Captions(result([word(" ", 0.0)])).words == 0


# ── what is taken ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_results_alone_and_utterances_alone() -> None:
    """The part ``results`` will do; and words that stand in the utterances only are found there."""
    assert render(TALK["results"], "txt") == render(TALK, "txt")
    words = said("Only here.")
    bare = {"channels": [{"alternatives": [{"transcript": "", "confidence": 1}]}], "utterances": [{"words": words}]}
    assert render({"results": bare}, "txt") == "[00:00] Only here.\n"


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"results": None},
        {"results": {"channels": {}}},
        {"text": "another service's"},
        {"results": {"channels": [{"alternative": []}]}},
        {"results": {"channels": [{"alternatives": [{"words": [{"word": "a"}]}]}]}},
        {"results": {"channels": [{"alternatives": [{"words": ["a"]}]}]}},
        {"results": {"channels": [{"alternatives": [{"words": [{"word": "a", "start": True, "end": 1}]}]}]}},
        {"err_code": "Bad Request", "err_msg": "no", "request_id": "x"},
    ],
)
def test_what_is_no_result_is_said_to_be_none(other: dict[str, Any]) -> None:
    """Anything else is refused in one sentence, for every form."""
    for kind in OUTPUTS:
        with pytest.raises(NotAResult, match="not a Deepgram result"):
            render(other, kind)


def test_an_unknown_form() -> None:
    """A form that there is not is refused with those that there are."""
    with pytest.raises(OptionsError) as caught:
        render(TALK, "docx")
    assert "srt" in caught.value.hint


@pytest.mark.parametrize("channels", [1, 2])
def test_a_first_word_without_a_speaker(channels: int) -> None:
    """Who speaks first speaks the words before, as in the JSON: nobody is called None, in any form."""
    unknown, known = word("so", 0.0), word("yes", 1.0, speaker=1)
    words = [unknown, known, word("no", 2.0, speaker=0)]
    result = {"results": {"channels": [{"alternatives": [{"words": words}]} for _ in range(channels)]}}
    for kind in ("srt", "vtt", "txt", "rttm"):
        assert "None" not in render(result, kind)
    assert voices(spoken(result)) == [Voice(channel, speaker) for channel in range(channels) for speaker in (0, 1)]
    assert [said.voice.speaker for said in spoken(result)[0]] == [1, 1, 0]
