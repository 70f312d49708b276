"""Which aligners are on a machine, and which one a language gets."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipeline.aligners import RECORD, AlignerModel, aligner_in, base, for_language
from pipeline.errors import ModelUnavailable


def put(
    shelf: Path, name: str, *languages: str, licence: str = "CC-BY-4.0", body: bytes = b"w", **more: object
) -> Path:
    folder = shelf / name
    folder.mkdir(parents=True)
    record = {"backend": "nemo", "file": "a.nemo", "languages": languages, "licence": licence, **more}
    (folder / RECORD).write_text(json.dumps(record))
    (folder / "a.nemo").write_bytes(body)
    return folder


def names(*found: AlignerModel) -> list[str]:
    return [one.info.name for one in found]


def test_the_language_decides(tmp_path: Path) -> None:
    """With or without a region; of several the one that may be used commercially, then the one of fewer languages."""
    put(tmp_path, "a-free", "en", licence="CC-BY-NC-4.0")
    put(tmp_path, "b-many", "en", "de", "fr")
    put(tmp_path, "c-one", "en")
    put(tmp_path, "d-one", "en")
    here = [aligner_in(folder) for folder in sorted(tmp_path.iterdir())]
    assert names(for_language("en", here), for_language("en-GB", here), for_language("DE", here)) == [
        "c-one", "c-one", "b-many",
    ]  # fmt: skip
    assert for_language("en", here[:1]).info.name == "a-free"
    assert base("pt_BR") == "pt"


@pytest.mark.parametrize(("language", "said"), [("da", "speaks da"), ("da-DK", "speaks da"), (None, "not known")])
def test_no_aligner(tmp_path: Path, language: str | None, said: str) -> None:
    """The error says what is missing and what to do."""
    put(tmp_path, "english", "en")
    with pytest.raises(ModelUnavailable, match=said) as caught:
        for_language(language, [aligner_in(tmp_path / "english")])
    assert caught.value.hint


def test_the_revision_is_of_weights_and_record(tmp_path: Path) -> None:
    """Other weights of the same size, or another delay, are another revision; the same ones elsewhere are not."""
    revisions = [
        aligner_in(put(tmp_path / str(nth), "one", "en", body=body, delay=delay)).info.revision
        for nth, (body, delay) in enumerate([(b"abc", 0.0), (b"abd", 0.0), (b"abc", 0.1), (b"abc", 0.0)])
    ]
    assert len(set(revisions)) == 3
    assert revisions[0] == revisions[3]
    folder = tmp_path / "0" / "one"
    (folder / "a.nemo").write_bytes(b"xyz")
    os.utime(folder / "a.nemo", ns=(1, 1))
    assert aligner_in(folder).info.revision not in revisions


@pytest.mark.parametrize(
    "change",
    [
        {"languages": []}, {"languages": ["en-GB"]}, {"languages": ["English"]}, {"licence": ""}, {"file": "../w.nemo"},
        {"file": ""}, {"delay": 5}, {"delay": float("nan")}, {"backend": "pickle"}, {"bundle": "WAV2VEC2"},
        {"backend": "torchaudio"}, {"format": 2}, {"lisence": "MIT"},
    ],
)  # fmt: skip
def test_records_that_describe_nothing(tmp_path: Path, change: dict[str, object]) -> None:
    """A record with a mistake is refused by name, never half believed."""
    folder = put(tmp_path, "one", "en")
    record = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps({**record, **change}))
    with pytest.raises(ModelUnavailable, match="does not describe an aligner"):
        aligner_in(folder)


def test_a_record_that_is_no_json(tmp_path: Path) -> None:
    """Neither is one that is cut off, and a folder without one is no aligner."""
    folder = put(tmp_path, "one", "en")
    (folder / RECORD).write_bytes(b'{"format": 1, "back')
    with pytest.raises(ModelUnavailable, match="does not describe"):
        aligner_in(folder)
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        aligner_in(tmp_path)
