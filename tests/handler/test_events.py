"""Bucket events of every form that is known, from a recorded corpus; and anything else at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.events import NotAnEvent, ObjectEvent, parse_events

CORPUS = sorted((Path(__file__).parents[1] / "data" / "events").glob("*.json"))

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


def corpus(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_every_recorded_form_is_understood(path: Path) -> None:
    """Each form gives its objects with the bucket's own keys, in order, each once; as text and as bytes."""
    recorded = corpus(path)
    expected = tuple(ObjectEvent(*event) for event in recorded["events"])
    assert parse_events(json.dumps(recorded["body"])) == expected
    assert parse_events(json.dumps(recorded["body"], ensure_ascii=False).encode()) == expected


@pytest.mark.parametrize(
    "body",
    [
        "", "hello", "[]", "null", "3", "{}", "{" * 100_000, b"\xff\xfe",
        '{"Records": 3}', '{"Records": [3]}', '{"Records": [{}]}',
        '{"Type":"Notification","TopicArn":"t","Message":"no JSON"}', '{"detail-type":"Object Created"}',
        '{"Records":[{"eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"b"},"object":{}}}]}',
        '{"Records":[{"s3":{"bucket":{"name":"b"},"object":{"key":"k"}}}]}',
        '{"Records":[{"eventName":"ObjectCreated:Put","s3":{"bucket":{},"object":{"key":"k"}}}]}',
        " " * ((1 << 20) + 1),
    ],
)  # fmt: skip
def test_what_is_no_event_is_refused(body: str | bytes) -> None:
    """Each is refused with a reason, so that it can go to the dead letters; none is taken for an event without
    objects.
    """
    with pytest.raises(NotAnEvent) as caught:
        parse_events(body)
    assert caught.value.message


def test_envelopes_have_an_end() -> None:
    """A message that is wrapped again and again is refused instead of followed."""
    body = json.dumps(corpus(CORPUS[0])["body"])
    for _ in range(8):
        body = json.dumps({"Type": "Notification", "TopicArn": "t", "Message": body})
    with pytest.raises(NotAnEvent):
        parse_events(body)


def test_a_key_that_was_not_encoded_is_taken_as_it_is() -> None:
    """A percent sign that encodes nothing stays; a broken encoding does not lose the event."""
    record = corpus(next(path for path in CORPUS if path.stem == "s3"))["body"]
    record["Records"][0]["s3"]["object"]["key"] = "input/%FF.wav"
    assert parse_events(json.dumps(record)) == (ObjectEvent("b", "input/%FF.wav"),)


@given(anything)
def test_any_json_is_an_event_or_refused(value: Any) -> None:
    """No JSON whatever makes the parser fail in another way."""
    try:
        parse_events(json.dumps(value))
    except NotAnEvent:
        return


@given(st.sampled_from(CORPUS), st.data())
def test_a_mutilated_event_is_an_event_or_refused(path: Path, data: st.DataObject) -> None:
    """A real event with anything in the place of any of its parts never makes the parser fail in another way."""
    body = corpus(path)["body"]
    at: Any = body
    while True:
        name = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        if isinstance(at[name], (dict, list)) and at[name] and data.draw(st.booleans()):
            at = at[name]
            continue
        at[name] = data.draw(anything)
        break
    try:
        parse_events(json.dumps(body))
    except NotAnEvent:
        return
