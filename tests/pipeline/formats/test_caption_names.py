"""Who is called what: a `speakers.json`, and what voices are called without one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from caption_rig import result, said
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats.captions import render
from pipeline.formats.captions.names import MAX_BYTES, read_names


def who(found: dict[str, Any], names: dict[str, str] | None = None) -> list[str]:
    """The names before each paragraph of the text."""
    return [line.partition("] ")[2].partition(": ")[0] for line in render(found, "txt", names).splitlines()]


SPEAKERS = result([*said("One here.", speaker=0), *said("Two here.", 1.0, speaker=1)])
CHANNELS = result(said("One here."), said("Two here.", 1.0))
BOTH = result([*said("One here.", speaker=0), *said("Two here.", 1.0, speaker=1)], said("Three here.", 2.0, speaker=0))


def test_speakers_of_one_channel() -> None:
    """Speakers are named by their numbers; one without a name keeps it."""
    assert who(SPEAKERS) == ["Speaker 0", "Speaker 1"]
    assert who(SPEAKERS, {"1": "Bob"}) == ["Speaker 0", "Bob"]
    assert who(SPEAKERS, {"0:1": "Bob"}) == ["Speaker 0", "Bob"]


def test_channels_are_speakers() -> None:
    """Without speakers, channels are: named by their numbers, too."""
    assert who(CHANNELS) == ["Channel 0", "Channel 1"]
    assert who(CHANNELS, {"0": "Agent", "1": "Customer"}) == ["Agent", "Customer"]


def test_speakers_of_several_channels() -> None:
    """Speakers are counted anew on each channel: `1:0` names one, a channel's number only a voice that is alone."""
    assert who(BOTH) == ["Channel 0 Speaker 0", "Channel 0 Speaker 1", "Channel 1"]
    assert who(BOTH, {"0": "Wrong", "0:1": "Bob", "1:0": "Carol"}) == ["Channel 0 Speaker 0", "Bob", "Carol"]
    assert who(BOTH, {"1": "Carol"})[2] == "Carol"


def test_nobody_is_named_where_nobody_was_told_apart() -> None:
    """Names for speakers are not put on a recording in which they were not told apart."""
    assert render(result(said("Who was it?")), "txt", {"0": "Alice"}) == "[00:00] Who was it?\n"


def test_names_are_read() -> None:
    """A good file gives its names, on one line each."""
    assert read_names(b'{"0": " Alice\\nSmith ", "1:0": "Bob"}') == ({"0": "Alice Smith", "1:0": "Bob"}, "")
    assert read_names(b"{}") == ({}, "")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"Alice, Bob", "not JSON"),
        (b'["Alice"]', "not a JSON object"),
        (b"[" * 30_000, "not JSON"),
        (b'{"0": "' + b"a" * MAX_BYTES + b'"}', "bytes long"),
        (json.dumps({str(number): "A" for number in range(1001)}).encode(), "at most 1,000"),
        (b"\xff\xfe", "not JSON"),
    ],
)
def test_a_file_that_cannot_be_used(body: bytes, problem: str) -> None:
    """A file that is wrong as a whole gives no names and says why."""
    names, said = read_names(body)
    assert names == {}
    assert problem in said


def test_bad_entries_are_left_out() -> None:
    """Entries that cannot be are named; the others count."""
    body = json.dumps({"0": "Alice", "speaker 1": "Bob", "2": 7, "3": " ", "4": "x" * 101}).encode()
    names, problem = read_names(body)
    assert names == {"0": "Alice"}
    assert "'speaker 1', '2', '3' …" in problem


@given(st.binary(max_size=60) | st.recursive(st.none() | st.text(), lambda inner: st.dictionaries(st.text(), inner)))
def test_any_file_has_an_answer(content: object) -> None:
    """Whatever the file holds, names come out, or a sentence that says what is wrong."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    names, problem = read_names(body)
    assert names or problem or json.loads(body) == {}
