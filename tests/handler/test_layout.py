"""Where things lie, and what makes two inputs or two jobs the same."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.errors import SettingsError
from handler.layout import Layout, digest_of, is_options, is_recording, job_id_of
from handler.settings import load_settings
from handler.store.base import Info
from handler.types import canonical_json

LAYOUT = Layout.of("s3://bucket", load_settings())
INFO = Info("input/calls/a.wav", 4, "etag", 1_700_000_000)

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def test_every_key() -> None:
    """The bucket's layout is a format that others read: each kind of object has its one place."""
    assert [
        LAYOUT.input_key("calls/a.wav"), LAYOUT.result_key("calls/a.wav"), LAYOUT.progress_key("calls/a.wav"),
        LAYOUT.error_key("calls/a.wav"), LAYOUT.source_key("s"), LAYOUT.job_key("j"), LAYOUT.stage_key("d"),
        LAYOUT.blob_key("b"), LAYOUT.settled_key("s"), LAYOUT.dead_key("j"), LAYOUT.stats_key("w"),
    ] == [
        "input/calls/a.wav", "results/calls/a.wav.json", "progress/calls/a.wav.json", "errors/calls/a.wav.json",
        ".dropscribe/v1/sources/s.json", ".dropscribe/v1/jobs/j.json", ".dropscribe/v1/stages/d.json",
        ".dropscribe/v1/blobs/b", ".dropscribe/v1/settled/s", ".dropscribe/v1/dead/j.json",
        ".dropscribe/v1/stats/w.json",
    ]  # fmt: skip


def test_prefixes_are_settings() -> None:
    """Every prefix can be chosen, and sources are named relative to the input's."""
    layout = Layout.of(
        "s3://bucket",
        load_settings(
            input_prefix="in/", results_prefix="out/", progress_prefix="p/", errors_prefix="e/", state_prefix="state/"
        ),
    )
    assert [layout.result_key("a"), layout.progress_key("a"), layout.error_key("a"), layout.job_key("j")] == [
        "out/a.json", "p/a.json", "e/a.json", "state/jobs/j.json",
    ]  # fmt: skip
    assert layout.source(replace(INFO, key="in/in/a.wav")).key == "in/a.wav"


@pytest.mark.parametrize(
    "prefixes",
    [
        {"input_prefix": "results/in/"},
        {"input_prefix": ".dropscribe/v1/in/"},
        {"input_prefix": "results/.in/"},
        {"results_prefix": "input/out/"},
        {"state_prefix": "input/.state/"},
        {"input_prefix": "results/"},
        {"errors_prefix": "results/"},
        {"progress_prefix": "results/progress/"},
        {"results_prefix": "out/", "errors_prefix": "out/errors/"},
        {"results_prefix": ".dropscribe/v1/jobs/"},
        {"state_prefix": "errors/state/"},
    ],
    ids=lambda prefixes: " ".join(prefixes.values()),
)
def test_prefixes_in_each_other(prefixes: dict[str, str]) -> None:
    """Prefixes whose keys could be mixed up, so that results would be inputs or be overwritten, are refused by name."""
    with pytest.raises(SettingsError) as raised:
        load_settings(**prefixes)
    for name, value in prefixes.items():
        assert f"DROPSCRIBE_{name.upper()} ({value})" in raised.value.message


def test_prefixes_that_stay_apart() -> None:
    """Prefixes in one folder, or with a common beginning, are apart; and so is a dot folder among the results."""
    load_settings(input_prefix="a/in/", results_prefix="a/out/", progress_prefix="a/out2/", errors_prefix="a/out-e/")
    load_settings(results_prefix="out/", state_prefix="out/.dropscribe/v1/", errors_prefix="out/.errors/")


@pytest.mark.parametrize("changes", [{"key": "input/b.wav"}, {"version": "other"}, {"modified": 1_700_000_001}])
def test_one_version_one_source(changes: dict[str, object]) -> None:
    """Another key, ETag or date is another source; what only a HEAD shows makes no difference."""
    source = LAYOUT.source(INFO)
    assert LAYOUT.source(replace(INFO, **changes)).sid != source.sid  # type: ignore[arg-type]
    shown = replace(INFO, store_time=9.0, metadata={"dropscribe": "x"}, sha256="0" * 64, ready=False)
    assert LAYOUT.source(shown) == source
    assert (source.key, source.size, source.modified) == ("calls/a.wav", 4, 1_700_000_000)


def test_buckets_and_mounts() -> None:
    """The same key in two buckets is two sources; a folder may be mounted anywhere and keeps its sources."""
    settings = load_settings()
    sids = [Layout.of(url, settings).source(INFO).sid for url in ("s3://a", "s3://b", "file:///x", "file:///y")]
    assert len(set(sids)) == 3
    assert sids[2] == sids[3]


def test_ids_do_not_change() -> None:
    """Ids stand in buckets for years: these are what they were when the format was made."""
    body = '["s3://bucket","input/calls/a.wav","etag",1700000000]'
    assert LAYOUT.source(INFO).sid == hashlib.sha256(body.encode()).hexdigest()
    assert (
        digest_of({"é": None, "a": [1.5, True]}) == hashlib.sha256('[{"a":[1.5,true],"é":null}]'.encode()).hexdigest()
    )
    assert job_id_of("j", "s") == "9ed2b380-9274-5e4f-9bc6-2293f89a5920"


def test_job_ids() -> None:
    """A job's id is a UUID of its content's job and the input's version; inputs that never were a job have one, too."""
    ids = {job_id_of(jid, sid) for jid in ("j", "k", None) for sid in ("s", "t")}
    assert len(ids) == 6
    assert {uuid.UUID(each).version for each in ids} == {5}
    assert job_id_of("j", "s") == job_id_of("j", "s")


@given(_json)
def test_equal_values_equal_bytes(value: object) -> None:
    """A value's canonical JSON reads back as that value and does not depend on the order of its keys."""
    body = canonical_json(value)
    again = json.loads(body)
    assert again == value
    assert canonical_json(_reversed(again)) == body
    assert b"\n" not in body


def _reversed(value: object) -> object:
    if isinstance(value, dict):
        return {key: _reversed(value[key]) for key in reversed(value)}
    return [_reversed(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}])
def test_no_json_no_bytes(value: object) -> None:
    """What JSON has no word for is an error, not a document that nobody can read."""
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(value)


@given(st.text(min_size=1))
def test_recordings_and_options_are_apart(key: str) -> None:
    """No key is both a recording and somebody's options, whatever it looks like."""
    assert not (is_recording(key) and is_options(key))
    assert not is_recording(key + "/")
    assert not is_recording("." + key)
    assert is_options(key + ".options.json")
