"""Which weights a name means: pins, links, records, and what counts as another revision."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from catalog_rig import shelve

from pipeline import weights
from pipeline.catalog import on_disk, resolve
from pipeline.errors import ModelUnavailable, OptionsError, WeightsChanged


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "models"


def revision(folder: Path) -> str:
    return resolve(str(folder), None, folder, trusted=True).revision


# ── revisions ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_pin_is_honoured(fixed_whisper: Path, home: Path) -> None:
    """name@revision is a folder whose weights are that revision, by digest or commit; else it says what is there."""
    shelve(fixed_whisper, home, "small")
    found = revision(fixed_whisper)
    for pin in (found, found[:7], f"sha256-{found[:12]}", found[:12].upper()):
        assert resolve(f"small@{pin}", None, home).revision == found
    with pytest.raises(ModelUnavailable, match=f"sha256-{found[:12]}") as caught:
        resolve("small@0123456", None, home)
    assert "`python -m pipeline fetch small@0123456`" in caught.value.hint
    with pytest.raises(ModelUnavailable, match="tiny@0123456"):
        resolve("tiny@0123456", None, home)


def test_a_pin_of_a_path_is_honoured(fixed_whisper: Path, home: Path) -> None:
    """So it is when the operator names a folder."""
    found = revision(fixed_whisper)
    assert resolve(f"{fixed_whisper}@{found[:12]}", None, home, trusted=True).revision == found
    with pytest.raises(ModelUnavailable, match="not the revision 0123456"):
        resolve(f"{fixed_whisper}@0123456", None, home, trusted=True)


@pytest.mark.parametrize("name", ["small@", "small@main", "small@v1.0", "small@12345", "@0123456", "small@0123456@x"])
def test_what_is_no_revision_is_said(name: str, home: Path) -> None:
    """A branch or a tag may become another commit, so neither is a revision."""
    with pytest.raises(OptionsError, match="revision"):
        resolve(name, None, home)


def test_a_name_has_one_meaning_among_revisions(fixed_whisper: Path, home: Path) -> None:
    """The bare name is the folder without a revision in its name; only a revision may be there, too."""
    shelve(fixed_whisper, home, "small@aaaaaaaaaaaaaaaa", "base@bbbbbbbbbbbbbbbb", "base")
    assert resolve("base", None, home).folder == str(home / "base")
    assert resolve("small", None, home).folder == str(home / "small@aaaaaaaaaaaaaaaa")
    assert [model.name for model in on_disk(None, home)] == ["small", "base", "base"]


def test_a_link_is_followed_when_it_is_read(fixed_whisper: Path, home: Path) -> None:
    """A model that is chosen stays where it is when the link is moved to another."""
    shelve(fixed_whisper, home, ".one", ".two")
    (home / "small").symlink_to(".one")
    model = resolve("small", None, home)
    assert (model.name, model.folder) == ("small", str(home / ".one"))


# ── identity ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_revision_is_the_weights_and_nothing_else(fixed_whisper: Path, tmp_path: Path) -> None:
    """Same files anywhere, same revision; another byte, another revision; a README or a new mtime changes nothing."""
    one, two = tmp_path / "one", tmp_path / "two"
    shutil.copytree(fixed_whisper, one)
    shutil.copytree(fixed_whisper, two)
    (two / "README.md").write_text("hello")
    os.utime(two / "model.bin", (1, 1))
    assert revision(one) == revision(two)
    weights = bytearray((two / "model.bin").read_bytes())
    weights[-1] ^= 1
    (two / "model.bin").write_bytes(weights)
    assert revision(one) != revision(two)


def test_weights_are_hashed_once(fixed_whisper: Path, tmp_path: Path) -> None:
    """Gigabytes are not read again for every job while the folder stays as it is."""
    shutil.copytree(fixed_whisper, tmp_path / "one")
    revision(tmp_path / "one")
    before = weights._contents.cache_info()
    revision(tmp_path / "one")
    after = weights._contents.cache_info()
    assert (after.hits - before.hits, after.misses - before.misses) == (1, 0)


def test_recorded_commit_is_the_revision_until_the_weights_differ(fixed_whisper: Path, tmp_path: Path) -> None:
    """The hub's commit names the weights without hashing them; a file of another size makes the record a lie."""
    folder = tmp_path / "tiny"
    shutil.copytree(fixed_whisper, folder)
    weights.write_record(
        folder, weights.describe(folder, repo="Systran/faster-whisper-tiny", commit="0123456789abcdef")
    )
    model = resolve(str(folder), None, tmp_path, trusted=True)
    assert (model.revision, model.version) == ("0123456789abcdef", "0123456789ab")
    with (folder / "model.bin").open("ab") as file:
        file.write(b"x")
    assert revision(folder) != "0123456789abcdef"


def test_recorded_checksums_are_the_revision_without_reading_the_weights(fixed_whisper: Path, tmp_path: Path) -> None:
    """A model without a commit, of a conversion or out of a bucket, is not hashed at each start; a file younger than
    its record is.
    """
    folder = tmp_path / "tiny"
    shutil.copytree(fixed_whisper, folder)
    honest = weights.describe(folder)
    other = honest.model_copy(update={"sha256": dict.fromkeys(honest.files, "0" * 64)})
    weights.write_record(folder, other)
    assert weights.identity(folder) == (other.revision, f"sha256-{other.revision[:12]}")
    os.utime(folder / "model.bin", ns=(2**62, 2**62))
    assert revision(folder) == honest.revision


@pytest.mark.parametrize("record", ["", "{", "[]", json.dumps({"format": 2, "repo": "r", "commit": "c", "files": {}})])
def test_a_damaged_record_is_no_record(record: str, fixed_whisper: Path, tmp_path: Path) -> None:
    """Then the weights are hashed."""
    folder = tmp_path / "tiny"
    shutil.copytree(fixed_whisper, folder)
    (folder / weights.RECORD).write_text(record)
    assert revision(folder) == revision(fixed_whisper)


def test_other_weights_of_the_same_size_are_noticed(fixed_whisper: Path, tmp_path: Path) -> None:
    """A fine-tune put over the weights that a record names has the same sizes: its bytes tell, and its revision."""
    folder = tmp_path / "tiny"
    shutil.copytree(fixed_whisper, folder)
    weights.write_record(folder, weights.describe(folder, repo="a/b", commit="0123456789abcdef"))
    weights.check_unchanged(folder, "0123456789abcdef")
    body = bytearray((folder / "model.bin").read_bytes())
    body[-1] ^= 1
    (folder / "model.bin").write_bytes(body)
    os.utime(folder / "model.bin", ns=(2**62, 2**62))
    assert revision(folder) != "0123456789abcdef"
    with pytest.raises(WeightsChanged, match="were changed while the worker ran") as caught:
        weights.check_unchanged(folder, "0123456789abcdef")
    assert caught.value.retryable


def test_a_copied_record_is_believed(fixed_whisper: Path, tmp_path: Path) -> None:
    """A copy whose weights are younger than their record, but the same, is still the hub's commit."""
    folder = tmp_path / "tiny"
    shutil.copytree(fixed_whisper, folder)
    weights.write_record(folder, weights.describe(folder, repo="a/b", commit="0123456789abcdef"))
    os.utime(folder / "model.bin", ns=(2**62, 2**62))
    assert revision(folder) == "0123456789abcdef"


def test_unrecorded_weights_are_checked_by_content(fixed_whisper: Path, tmp_path: Path) -> None:
    """Without a record the revision is the content's, and so is the check; missing files are said."""
    folder = tmp_path / "tiny"
    shutil.copytree(fixed_whisper, folder)
    found = revision(folder)
    weights.check_unchanged(folder, found)
    with pytest.raises(WeightsChanged):
        weights.check_unchanged(folder, "f" * 64)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelUnavailable, match=r"tokenizer\.json"):
        weights.check_unchanged(folder, found)
    with pytest.raises(ModelUnavailable):
        weights.check_unchanged(tmp_path / "nowhere", found)


def test_a_records_revision_is_the_folders(fixed_whisper: Path) -> None:
    """A bucket's record alone tells the revision that the folder will have."""
    assert weights.describe(fixed_whisper).revision == revision(fixed_whisper)
