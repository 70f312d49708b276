"""Weights come from the hub whole or not at all, with a record of where they came from."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest
from huggingface_hub.errors import OfflineModeIsEnabled

from pipeline import weights
from pipeline.catalog import resolve
from pipeline.errors import ModelUnavailable, OptionsError, OutOfSpace
from pipeline.models.fetch import fetch

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """A hub of one model: copies what is asked for, as the hub's client would, and leaves its notes behind."""

    def __init__(self, model: Path, *, without: Sequence[str] = (), commit: str = COMMIT) -> None:
        self.model = model
        self.commit = commit
        self.without = without
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        self.revisions: list[str | None] = []

    def __call__(self, repo: str, folder: Path, files: Sequence[str], revision: str | None) -> str:
        self.asked.append((repo, tuple(files)))
        self.revisions.append(revision)
        (folder / ".cache/huggingface").mkdir(parents=True)
        (folder / ".gitattributes").write_text("")
        for name in files:
            if (self.model / name).is_file() and name not in self.without:
                shutil.copy(self.model / name, folder / name)
        return self.commit


def test_fetched_model_is_found_by_name(fixed_whisper: Path, tmp_path: Path) -> None:
    """After fetch the name resolves to the folder, and its revision is the hub's commit."""
    hub, home = Hub(fixed_whisper), tmp_path / "home"
    model = fetch("turbo", home, download=hub)
    assert (model.name, model.revision, model.folder) == ("large-v3-turbo", COMMIT, str(home / "large-v3-turbo"))
    assert resolve("turbo", None, home) == model
    assert [repo for repo, _ in hub.asked] == ["mobiuslabsgmbh/faster-whisper-large-v3-turbo"]
    record = json.loads((home / "large-v3-turbo" / weights.RECORD).read_text())
    assert (record["repo"], record["commit"]) == (hub.asked[0][0], COMMIT)
    assert record["files"]["model.bin"] == (fixed_whisper / "model.bin").stat().st_size


def test_only_what_the_recogniser_reads_is_fetched(fixed_whisper: Path, tmp_path: Path) -> None:
    """No pickle is ever asked for, and nothing but weights and the record stays in the folder."""
    hub = Hub(fixed_whisper)
    fetch("tiny", tmp_path, download=hub)
    ((_, files),) = hub.asked
    assert {Path(name).suffix for name in files} == {".json", ".bin", ".txt"}
    assert [name for name in files if name.endswith(".bin")] == ["model.bin"]
    assert {p.name for p in (tmp_path / "tiny").iterdir()} <= {*weights.WEIGHTS, weights.RECORD}
    assert [p.name for p in tmp_path.iterdir()] == ["tiny"]


def test_a_fetched_model_is_not_fetched_again(fixed_whisper: Path, tmp_path: Path) -> None:
    """The second fetch needs no network."""
    hub = Hub(fixed_whisper)
    assert fetch("tiny", tmp_path, download=hub) == fetch("tiny", tmp_path, download=hub)
    assert len(hub.asked) == 1


def test_a_broken_folder_is_replaced(fixed_whisper: Path, tmp_path: Path) -> None:
    """Fetch mends a model that lacks a file, as its error message promises."""
    hub = Hub(fixed_whisper)
    fetch("tiny", tmp_path, download=hub)
    (tmp_path / "tiny/tokenizer.json").unlink()
    fetch("tiny", tmp_path, download=hub)
    assert len(hub.asked) == 2
    assert (tmp_path / "tiny/tokenizer.json").is_file()


def test_a_cut_off_download_is_invisible_and_taken_up_again(fixed_whisper: Path, tmp_path: Path) -> None:
    """A half-fetched model is no model: auto does not choose it, and the next fetch goes on from it."""

    def cut_off(repo: str, folder: Path, files: Sequence[str], revision: str | None) -> str:
        for name in ("config.json", "model.bin"):
            shutil.copy(fixed_whisper / name, folder / name)
        raise httpx.ReadTimeout("timed out")

    with pytest.raises(ModelUnavailable):
        fetch("tiny", tmp_path, download=cut_off)
    assert resolve("auto", None, tmp_path).automatic
    seen: list[str] = []

    def goes_on(repo: str, folder: Path, files: Sequence[str], revision: str | None) -> str:
        seen.extend(sorted(p.name for p in folder.iterdir()))
        return Hub(fixed_whisper)(repo, folder, files, revision)

    assert fetch("tiny", tmp_path, download=goes_on).name == "tiny"
    assert seen == ["config.json", "model.bin"]


def test_two_fetches_at_once_leave_one_model(fixed_whisper: Path, tmp_path: Path) -> None:
    """Whoever comes second adopts the first one's folder."""

    def overtaken(repo: str, folder: Path, files: Sequence[str], revision: str | None) -> str:
        shutil.copytree(fixed_whisper, tmp_path / "tiny")
        return Hub(fixed_whisper)(repo, folder, files, revision)

    assert fetch("tiny", tmp_path, download=overtaken).folder == str(tmp_path / "tiny")
    assert [p.name for p in tmp_path.iterdir()] == ["tiny"]


def failing(error: Exception) -> Hub:
    class Failing(Hub):
        def __call__(self, repo: str, folder: Path, files: Sequence[str], revision: str | None) -> str:
            raise error

    return Failing(Path())


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("[Errno -3] Temporary failure in name resolution"),
        OfflineModeIsEnabled("Cannot reach the hub: offline mode is enabled.\nMore lines."),
        ConnectionResetError(),
    ],
)
def test_no_network_is_one_line_and_what_to_do(error: Exception, tmp_path: Path) -> None:
    """Offline, fetch says what failed in one line, and how to do without the hub."""
    with pytest.raises(ModelUnavailable) as caught:
        fetch("tiny", tmp_path, download=failing(error))
    assert caught.value.message.startswith("tiny could not be fetched from Systran/faster-whisper-tiny: ")
    assert "\n" not in caught.value.message
    assert caught.value.retryable
    assert str(tmp_path / "tiny") in caught.value.hint


def test_a_full_disk_is_called_one(tmp_path: Path) -> None:
    """No space is not the network's fault."""
    with pytest.raises(OutOfSpace, match="no space"):
        fetch("tiny", tmp_path, download=failing(OSError(errno.ENOSPC, "No space left on device")))


def test_a_repository_of_another_format_is_refused(fixed_whisper: Path, tmp_path: Path) -> None:
    """Weights for another library, or without a tokenizer, never become a model."""
    with pytest.raises(ModelUnavailable, match=r"tokenizer\.json"):
        fetch("openai/whisper-tiny", tmp_path, download=Hub(fixed_whisper, without=["tokenizer.json"]))
    assert [p.name for p in tmp_path.iterdir()] == ["openai--whisper-tiny.partial"]


def test_any_repository_can_be_fetched(fixed_whisper: Path, tmp_path: Path) -> None:
    """An operator's own fine-tune is fetched by owner/name and found by name."""
    for name in ("acme/Our-Whisper", "acme/tiny"):
        model = fetch(name, tmp_path, download=Hub(fixed_whisper))
        for trusted in (True, False):
            assert resolve(name, None, tmp_path, trusted=trusted) == model
    with pytest.raises(ModelUnavailable):  # acme's is not Whisper's
        resolve("tiny", None, tmp_path)


@pytest.mark.parametrize("name", ["nova-3", "sphinx", "a/b/c", "../x", "/etc", "a/..", "auto", ""])
def test_names_that_cannot_be_fetched(name: str, tmp_path: Path) -> None:
    """Nothing outside the folder of models is ever written, whatever the name."""
    with pytest.raises(OptionsError, match="no model called"):
        fetch(name, tmp_path / "home", download=failing(AssertionError("asked the hub")))
    assert not (tmp_path / "home").exists()


def test_a_missing_client_is_no_network_trouble(tmp_path: Path) -> None:
    """Whoever lacks the hub's client is told to install it, not to look at the network."""

    def download(repo: str, folder: Path, files: Sequence[str], revision: str | None) -> str:
        raise ModuleNotFoundError("No module named 'huggingface_hub'")

    with pytest.raises(ModelUnavailable) as caught:
        fetch("tiny", tmp_path, download=download)
    assert "huggingface_hub" in caught.value.hint
    assert "network" not in caught.value.hint


OTHER = "fedcba9876543210fedcba9876543210fedcba98"


def test_a_commit_is_asked_for_and_recorded(fixed_whisper: Path, tmp_path: Path) -> None:
    """name@commit asks the hub for that commit, and resolves under that name from then on, without the hub."""
    hub = Hub(fixed_whisper)
    model = fetch(f"tiny@{COMMIT[:10]}", tmp_path, download=hub)
    assert (hub.revisions, model.revision) == ([COMMIT[:10]], COMMIT)
    assert resolve(f"tiny@{COMMIT[:7]}", None, tmp_path) == resolve("tiny", None, tmp_path) == model
    fetch(f"tiny@{COMMIT[:12]}", tmp_path, download=hub)
    assert len(hub.asked) == 1


def test_revisions_lie_side_by_side(fixed_whisper: Path, tmp_path: Path) -> None:
    """A second commit of a model never replaces the first, which the bare name goes on meaning."""
    first = fetch("tiny", tmp_path, download=Hub(fixed_whisper))
    second = fetch(f"tiny@{OTHER[:12]}", tmp_path, download=Hub(fixed_whisper, commit=OTHER))
    assert (first.revision, second.revision) == (COMMIT, OTHER)
    assert resolve("tiny", None, tmp_path) == first
    assert resolve(f"tiny@{OTHER[:12]}", None, tmp_path) == second
    again = Hub(fixed_whisper)
    assert fetch(f"tiny@{OTHER[:12]}", tmp_path, download=again) == second
    assert again.asked == []


def test_another_commit_than_asked_for_is_refused(fixed_whisper: Path, tmp_path: Path) -> None:
    """A mirror of the hub that gives something else under that commit is not believed."""
    with pytest.raises(ModelUnavailable, match=COMMIT):
        fetch(f"tiny@{OTHER[:12]}", tmp_path, download=Hub(fixed_whisper))
    with pytest.raises(ModelUnavailable):
        resolve("tiny", None, tmp_path)


def test_the_record_has_checksums(fixed_whisper: Path, tmp_path: Path) -> None:
    """What was fetched can be verified later, byte for byte."""
    folder = Path(fetch("tiny", tmp_path, download=Hub(fixed_whisper)).folder or "")
    record = weights.read_record(folder)
    assert record is not None
    assert set(record.sha256) == set(record.files)
    assert weights.damage(folder) == ""
    (folder / "vocabulary.json").write_bytes(b"x" * record.files["vocabulary.json"])
    assert weights.damage(folder) == "vocabulary.json: not the recorded checksum"
