"""Options that are wrong, wherever they stand, end in an error that names the option and the place."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.bucket_rig import Rig, transcript_of, words_of

MakeRig = Callable[..., Rig]

KEY = "calls/a.flac"


@dataclass(frozen=True)
class Wrong:
    """What is said, and what the error names."""

    name: str
    options: dict[str, Any]
    names: str
    error: str = "OptionsError"
    attempts: int = 1

    @property
    def key(self) -> str:
        return f"{self.name}/a.flac"


WRONG = [
    Wrong("unknown", {"langauge": "en"}, "did you mean language"),
    Wrong("a value that cannot be", {"punctuate": "maybe"}, "punctuate"),
    Wrong("impossible together", {"language": "en", "detect_language": "true"}, "detect_language"),
    Wrong("not supported", {"summarize": "v2"}, "summarize is not supported"),
    Wrong("not redacted", {"redact": "pii"}, "redact cannot be 'pii'"),
    Wrong("no such model", {"model": "gigantic"}, "model"),
    Wrong("a path for a model", {"model": "/etc"}, "model"),
    Wrong("a model that is not here", {"model": "large-v3"}, "large-v3", "ModelUnavailable", 3),
    Wrong("not in this model's power", {"language": "fr", "model": "sphinx"}, "language"),
]
OF_THE_FILES = {"unknown", "a value that cannot be", "impossible together", "not supported", "not redacted"}


def in_sidecar(rig: Rig, wrong: Wrong, speech: Path) -> str:
    rig.drop(wrong.key, speech, sidecar=wrong.options)
    return f"{wrong.key}.options.json"


def in_folder(rig: Rig, wrong: Wrong, speech: Path) -> str:
    rig.bucket.drop(f"input/{wrong.name}/options.json", json.dumps(wrong.options).encode())
    rig.drop(wrong.key, speech)
    return f"{wrong.name}/options.json"


def in_metadata(rig: Rig, wrong: Wrong, speech: Path) -> str:
    query = "&".join(f"{name}={value}" for name, value in wrong.options.items())
    rig.drop(wrong.key, speech, metadata={"dropscribe": query})
    return "x-amz-meta-dropscribe"


Put = Callable[[Rig, Wrong, Path], str]
PLACES: list[tuple[str, Put]] = [
    ("folder", in_sidecar),
    ("folder", in_folder),
    ("s3", in_sidecar),
    ("s3", in_folder),
    ("s3", in_metadata),
]


@pytest.mark.parametrize(
    ("store", "put"), PLACES, ids=[f"{store}, {put.__name__.removeprefix('in_')}" for store, put in PLACES]
)
def test_wrong_options(store: str, put: Put, request: pytest.FixtureRequest, speech: Path) -> None:
    """Each wrong option, in each place where options may stand, is an error that names the option and the place; a
    recording with right ones completes beside them.
    """
    rig: Rig = request.getfixturevalue(f"make_{store}_rig")()
    places = {wrong.name: put(rig, wrong, speech) for wrong in WRONG}
    right = Wrong("right", {"language": "en", "diarize": "false"}, "")
    put(rig, right, speech)
    rig.drain()
    assert words_of(rig.result(right.key))
    for wrong in WRONG:
        error = rig.error(wrong.key)
        expected = (wrong.error, wrong.error == "ModelUnavailable", wrong.attempts)
        assert (error["class"], error["retryable"], error["attempts"]) == expected, wrong.name
        assert wrong.names in error["err_msg"], wrong.name
        assert wrong.name not in OF_THE_FILES or places[wrong.name] in error["err_msg"], wrong.name


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"en"', b"\xff\xfe", b"[" * 100_000], ids=repr)
def test_options_that_are_no_options(folder_rig: Rig, body: bytes, speech: Path) -> None:
    """A sidecar that is not a JSON object is an error that names the file."""
    folder_rig.bucket.drop(f"input/{KEY}.options.json", body)
    folder_rig.drop(KEY, speech)
    folder_rig.drain()
    error = folder_rig.error(KEY)
    assert (error["class"], error["retryable"]) == ("OptionsError", False)
    assert f"{KEY}.options.json" in error["err_msg"]


def test_later_places_win(s3_rig: Rig, speech: Path) -> None:
    """The object's metadata wins over its sidecar, that over the folder's options.json, option by option."""
    s3_rig.bucket.drop("input/options.json", b'{"tag": "far", "punctuate": false}')
    s3_rig.bucket.drop("input/calls/options.json", b'{"tag": "folder", "extra": "who:folder", "utterances": false}')
    s3_rig.drop(KEY, speech, sidecar={"tag": "sidecar", "extra": "who:sidecar"}, metadata={"dropscribe": "tag=a&tag=b"})
    s3_rig.drain()
    result = s3_rig.result(KEY)
    assert result["metadata"]["tags"] == ["a", "b"]
    assert result["metadata"]["extra"] == {"who": "sidecar"}
    assert "utterances" not in result["results"]
    assert "punctuated_word" in words_of(result)[0]  # only the nearest options.json counts


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────

KEYS = [
    "two words.flac",
    "a+b.flac",
    "100%.flac",
    "%2e%2e%2Fescape.flac",
    "😀 – ünïcödé.flac",
    "u\u0308 is not \u00fc.flac",
    "deep/er/and/deep er/a.flac",
    "quo'te\"s&amp;<x>.flac",
    "back\\slash.flac",
    "question?mark=1#fragment.flac",
    "results/a.flac",
    "no-extension",
    "input.json",
    "-rf.flac",
]


@pytest.mark.parametrize("store", ["folder", "s3"])
def test_awkward_keys(store: str, request: pytest.FixtureRequest, speech: Path) -> None:
    """Whatever a recording is called, its result lies under just that name with .json."""
    rig: Rig = request.getfixturevalue(f"make_{store}_rig")()
    keys = [*KEYS, *([long_key(1000)] if store == "s3" else [])]
    for key in keys:
        rig.drop(key, speech)
    rig.drain()
    assert sorted(rig.keys("results/")) == sorted(f"{key}.json" for key in keys)
    for key in keys:
        assert transcript_of(rig.result(key)) == "Alpha Bravo."


def long_key(size: int, part: int = 100) -> str:
    """A key of ``size`` bytes, in folders of ``part``."""
    key = "/".join(["é" * ((part - 1) // 2)] * (size // part + 1)).encode()[: size - 5].decode(errors="replace")
    key = key.replace("\ufffd", "").rstrip("/")
    return key + "x" * (size - 5 - len(key.encode())) + ".flac"


@pytest.mark.parametrize(("store", "key"), [("folder", "n" * 240 + ".flac"), ("s3", long_key(1018))])
def test_names_too_long_for_an_output(
    store: str, key: str, request: pytest.FixtureRequest, speech: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A recording whose outputs would have names that the store cannot hold is settled and said in the log; it neither
    stops the worker nor is it tried for ever.
    """
    rig: Rig = request.getfixturevalue(f"make_{store}_rig")()
    rig.drop(key, speech)
    rig.drain()
    assert (rig.worker.tally.failed, rig.worker.tally.completed) == (1, 0)
    assert rig.settled() == 1
    [marker] = rig.keys(".dropscribe/v1/settled/")
    outcome = json.loads(rig.read(f".dropscribe/v1/settled/{marker}") or b"")
    assert outcome["outcome"] == "failed"
    assert "bytes" in outcome["reason"]
    assert any(record.levelname == "ERROR" and "bytes" in record.message for record in caplog.records)
    rig.drop("short.flac", speech)
    rig.drain()
    assert words_of(rig.result("short.flac"))
