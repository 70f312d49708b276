"""A batch file: what its lines ask for, and what is said of lines that are wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from handler.batches.lines import MAX_GLOBS, MAX_MEMBERS, Lines, read_lines
from handler.batches.plan import Plan, freeze, stored_plan
from handler.clock import VirtualClock
from handler.errors import BadBatch, Changed
from handler.layout import Layout
from handler.settings import load_settings
from handler.store.memory import Call, MemoryStore, Phase
from handler.types import Source

NAME = "all.batch.jsonl"
LAYOUT = Layout.of("memory://test", load_settings())


def written(*entries: str | dict[str, Any]) -> bytes:
    objects = [{"key": entry} if isinstance(entry, str) else entry for entry in entries]
    return b"\n".join(json.dumps(one).encode() for one in objects)


def refusal(lines: Lines) -> str:
    with pytest.raises(BadBatch) as raised:
        lines.problems.refuse(NAME)
    return raised.value.message


def test_lines_are_keys_and_globs_with_options() -> None:
    """One object a line; blank lines, a byte order mark and Windows' line ends do no harm."""
    body = (
        b'\xef\xbb\xbf{"key": "a.wav"}\r\n\r\n  \n{"glob": "calls/*", "options": {"language": "en"}}\n'
        b'{"options": {}, "key": "b.wav"}\n{"key": "c.wav", "options": null}'
    )
    lines = read_lines(body)
    lines.problems.refuse(NAME)
    assert {key: (ask.number, ask.options) for key, ask in lines.keys.items()} == {
        "a.wav": (1, None), "b.wav": (5, None), "c.wav": (6, None),
    }  # fmt: skip
    [glob] = lines.globs
    assert (glob.text, glob.fixed, glob.ask.number, glob.ask.options) == ("calls/*", "calls/", 4, 0)
    assert lines.options == [{"language": "en"}]


def test_equal_options_are_kept_once() -> None:
    """A hundred lines under the same options hold them once, in whichever order they name them."""
    pairs = [{"language": "en", "utt_split": 1.0}, {"utt_split": 1.0, "language": "en"}]
    lines = read_lines(written(*({"key": f"{n}.wav", "options": pairs[n % 2]} for n in range(100))))
    assert lines.options == [pairs[0]]
    assert {ask.options for ask in lines.keys.values()} == {0}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"{", "line 2: this is not JSON"),
        (b'["a.wav"]', "line 2: this is not an object"),
        (b'"a.wav"', "line 2: this is not an object"),
        (b"\xff\xfe", "line 2: this is not UTF-8"),
        (b"[" * 100_000, "line 2: this is not JSON"),
        (b"{}", "line 2: a line has either a key or a glob"),
        (b'{"key": "a.wav", "glob": "*"}', "line 2: a line has either a key or a glob"),
        (b'{"key": 7}', "line 2: its key is not a text"),
        (b'{"key": ""}', "line 2: its key is not a text"),
        (b'{"key": "a\\u0000.wav"}', "line 2: no key in a bucket can be a"),
        (b'{"key": "\\ud800.wav"}', "line 2: no key in a bucket can be ?.wav"),
        (b'{"glob": "' + b"a" * 1025 + b'*"}', "line 2: no key in a bucket can be aaaa"),
        (b'{"key": "a.wav", "\\ud800": 1}', "line 2: there is no field ?"),
        (b'{"key": "a.wav", "options": {"extra": "\\ud800"}}', "line 2: its options cannot be written as JSON"),
        (b'{"glob": null}', "line 2: its glob is not a text"),
        (b'{"key": "a.wav", "opitons": {}}', "line 2: there is no field opitons"),
        (b'{"key": "options.json"}', "line 2: options.json is not the key of a recording"),
        (b'{"key": "other.batch.jsonl"}', "line 2: other.batch.jsonl is not the key of a recording"),
        (b'{"key": ".hidden/a.wav"}', "is not the key of a recording"),
        (b'{"key": "a.wav", "options": ["language"]}', "line 2: its options are not an object"),
        (b'{"key": "a.wav", "options": {"utt_split": NaN}}', "line 2: its options cannot be written as JSON"),
        (b'{"key": "a.wav", "options": {"langauge": "en"}}', "line 2: options: there is no option 'langauge'; did you"),
        (b'{"key": "a.wav", "options": {"utt_split": "wide"}}', "line 2: options: utt_split"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_named(line: bytes, told: str) -> None:
    """Whatever is wrong with a line: the error says which line it is, and what."""
    assert told in refusal(read_lines(b'{"key": "a.wav"}\n' + line + b'\n{"key": "b.wav"}'))


def test_the_first_ten_wrong_lines_are_named() -> None:
    """Of many wrong lines the first ten are named, and the others counted."""
    told = refusal(read_lines(written(*({"key": f"{n}.wav", "what": n} for n in range(500)))))
    assert told.startswith(f"500 lines are wrong in {NAME}: line 1: there is no field what")
    assert [f"line {n}:" in told for n in (1, 10, 11)] == [True, True, False]
    assert told.endswith("; and 490 more")


def test_an_empty_file_is_an_error() -> None:
    """A file without a line would be a batch without an end."""
    for body in (b"", b"\n \r\n", b"\xef\xbb\xbf"):
        with pytest.raises(BadBatch, match="no line"):
            read_lines(body)


def test_limits() -> None:
    """Over a limit the error says which: bytes, recordings, globs. At the limit it is taken."""
    with pytest.raises(BadBatch, match="67,108,865 bytes; the limit is 67,108,864"):
        read_lines(bytes(64 * 2**20 + 1))
    body = b"".join(b'{"key":"%d"}\n' % number for number in range(MAX_MEMBERS))
    assert len(read_lines(body + body).keys) == MAX_MEMBERS
    with pytest.raises(BadBatch, match="more than 100,000 recordings"):
        read_lines(body + b'{"key":"one more"}')
    globs = [{"glob": f"{number}/*"} for number in range(MAX_GLOBS + 1)]
    assert len(read_lines(written(*globs[1:])).globs) == MAX_GLOBS
    with pytest.raises(BadBatch, match="more than 100 globs"):
        read_lines(written(*globs))


# ── the plan ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def dropped(store: MemoryStore, *entries: str | dict[str, Any], name: str = NAME) -> Source:
    store.drop(f"input/{name}", written(*entries))
    return LAYOUT.source(store.head(f"input/{name}"))


def planned(store: MemoryStore, *entries: str | dict[str, Any]) -> Plan:
    return freeze(store, LAYOUT, store.clock, dropped(store, *entries), etag=None)


def recordings(store: MemoryStore, *keys: str) -> None:
    for key in keys:
        store.drop(f"input/{key}", key.encode())


def test_globs_are_resolved(memory_store: MemoryStore) -> None:
    """``*`` crosses slashes, ``?`` and ``[]`` are as in a shell, case counts; only recordings are matched."""
    keys = ("a/1.wav", "a/b/2.wav", "a/b/3.WAV", "a/options.json", "a/1.wav.options.json", "a/.x/4.wav", "b/12.wav")
    recordings(memory_store, *keys)

    def matched(glob: str) -> list[str]:
        return [key for key, _ in planned(memory_store, {"glob": glob}).members]

    assert matched("a/*.wav") == ["a/1.wav", "a/b/2.wav"]
    assert matched("*") == ["a/1.wav", "a/b/2.wav", "a/b/3.WAV", "b/12.wav"]
    assert matched("b/?[23].wav") == ["b/12.wav"]
    assert matched("?/?.wav") == ["a/1.wav"]


def test_a_later_line_wins(memory_store: MemoryStore) -> None:
    """Of several lines that ask for one key the last decides, whether key or glob, for options or against."""
    recordings(memory_store, "a.wav", "b.wav", "c.wav")
    one, two = {"language": "en"}, {"language": "de"}
    plan = planned(
        memory_store, {"key": "a.wav", "options": one}, {"key": "b.wav", "options": one}, "b.wav",
        {"glob": "[ac].wav", "options": two}, {"glob": "c*"},
    )  # fmt: skip
    assert plan.options == (one, two)
    assert plan.members == (("a.wav", 1), ("b.wav", None), ("c.wav", None))


def test_what_names_no_recording_is_an_error(memory_store: MemoryStore) -> None:
    """A key that is not there, and a glob that matches nothing, fail the batch beside what else is wrong with it."""
    recordings(memory_store, "a.wav")
    plan = planned(memory_store, "a.wav", "b.wav", {"glob": "x*"}, {"file": "a.wav"})
    assert plan.members == ()
    assert plan.error is not None
    assert plan.error.message.startswith(f"3 lines are wrong in {NAME}: line 2: there is no recording b.wav; ")
    assert "line 3: no recording matches x*; line 4: there is no field file" in plan.error.message
    assert not plan.error.retryable


def test_an_overshadowed_glob_matches_all_the_same(memory_store: MemoryStore) -> None:
    """A glob whose every match a later line takes over is no mistake."""
    recordings(memory_store, "a.wav")
    assert planned(memory_store, {"glob": "a*", "options": {"language": "en"}}, "a.wav").members == (("a.wav", None),)


def test_too_many_matches(memory_store: MemoryStore) -> None:
    """The limit of members is also that of a glob's matches."""
    store = MemoryStore(memory_store.clock)
    for number in range(MAX_MEMBERS + 1):
        store.drop(f"input/{number}", b"x")
    plan = planned(store, {"glob": "*"})
    assert plan.error is not None
    assert "more than 100,000 recordings" in plan.error.message


def test_too_large_a_file_is_not_read(memory_store: MemoryStore) -> None:
    """A file over the limit is refused by its size: nobody loads it."""
    memory_store.drop(f"input/{NAME}", bytes(64 * 2**20 + 1))
    batch = LAYOUT.source(memory_store.head(f"input/{NAME}"))
    memory_store.calls.clear()
    plan = freeze(memory_store, LAYOUT, memory_store.clock, batch, etag=None)
    assert plan.error is not None
    assert "bytes; the limit is" in plan.error.message
    assert [call.method for call in memory_store.calls] == ["head", "put"]


def test_the_first_plan_stands(memory_store: MemoryStore) -> None:
    """Whoever plans second, and sees other recordings, uses what the first one stored."""
    recordings(memory_store, "a.wav")
    batch = dropped(memory_store, {"glob": "*"})
    first = freeze(memory_store, LAYOUT, memory_store.clock, batch, etag=None)
    recordings(memory_store, "b.wav")
    memory_store.clock.sleep(1)
    assert freeze(memory_store, LAYOUT, memory_store.clock, batch, etag=None) == first
    assert stored_plan(memory_store, LAYOUT, batch.sid) == (first, None)
    assert first.members == (("a.wav", None),)


@pytest.mark.parametrize("damage", [b"", b"{", b'{"format": 2}', "another", "out of range"])
def test_a_damaged_plan_is_made_again(memory_store: MemoryStore, damage: bytes | str) -> None:
    """What is no plan of this batch counts for nothing, and is replaced."""
    recordings(memory_store, "a.wav")
    batch = dropped(memory_store, "a.wav")
    good = freeze(memory_store, LAYOUT, memory_store.clock, batch, etag=None)
    if damage == "another":
        other = good.model_copy(update={"batch": batch.model_copy(update={"sid": "0" * 64})})
        damage = other.model_dump_json()
    elif damage == "out of range":
        damage = good.model_copy(update={"members": (("a.wav", 1),)}).model_dump_json()
    memory_store.drop(LAYOUT.plan_key(batch.sid), damage if isinstance(damage, bytes) else damage.encode())
    plan, etag = stored_plan(memory_store, LAYOUT, batch.sid)
    assert plan is None
    assert freeze(memory_store, LAYOUT, memory_store.clock, batch, etag=etag) == good
    assert stored_plan(memory_store, LAYOUT, batch.sid) == (good, None)


def test_a_file_that_changes_is_not_planned(virtual_clock: VirtualClock) -> None:
    """A batch that is replaced while it is read has no plan: neither the old lines nor the new ones are its."""

    def replace(call: Call, phase: Phase) -> None:
        if call.method == "get" and call.key == f"input/{NAME}" and phase == "after":
            store.drop(f"input/{NAME}", written("b.wav"))

    store = MemoryStore(virtual_clock)
    recordings(store, "a.wav", "b.wav")
    batch = dropped(store, "a.wav")
    with pytest.raises(Changed):
        freeze(store.client(replace), LAYOUT, virtual_clock, batch, etag=None)
    assert store.keys(LAYOUT.batches) == ()


def test_only_what_the_lines_have_in_common_is_listed(memory_store: MemoryStore) -> None:
    """A batch of one folder does not list a bucket of many."""
    recordings(memory_store, "calls/2026/a.wav", "calls/2026/b.wav", "x/y.wav")
    batch = dropped(memory_store, "calls/2026/b.wav", {"glob": "calls/2026/*"})
    memory_store.calls.clear()
    freeze(memory_store, LAYOUT, memory_store.clock, batch, etag=None)
    assert [call.key for call in memory_store.calls if call.verb == "LIST"] == ["input/calls/2026/"]
