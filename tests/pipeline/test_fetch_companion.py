"""Models beside the recogniser come from the hub by name, whole or not at all, and become what the engine loads."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from pipeline.aligners import AlignerModel
from pipeline.beside import Companion, damage
from pipeline.companions import companions_in
from pipeline.errors import ModelUnavailable, OptionsError, OutOfSpace
from pipeline.known import KNOWN, LICENCES, UNKNOWN, commercial, known_name
from pipeline.models.fetch import fetch
from pipeline.models.fetch_companion import fetch_companion
from pipeline.records import RECORD
from tests.pipeline.companion_rig import nemo
from tests.pipeline.hub_server import HubServer

OTHER = "fedcba9876543210fedcba9876543210fedcba98"


class Hub:
    """A hub with every model in `KNOWN`, small: gives the commit that it is asked for, and leaves its notes behind."""

    def __init__(self, kind: str, *, commit: str = "") -> None:
        self.kind = kind
        self.commit = commit
        self.asked: list[tuple[str, tuple[str, ...], str | None]] = []

    def __call__(self, repo: str, folder: Path, files: Sequence[str], revision: str | None) -> str:
        self.asked.append((repo, tuple(files), revision))
        (folder / ".cache/huggingface").mkdir(parents=True, exist_ok=True)
        (folder / "README.md").write_text("")
        for name in files:
            nemo(folder / name, self.kind)
        return self.commit or revision or ""


def failing(error: Exception) -> Hub:
    class Failing(Hub):
        def __call__(self, repo: str, folder: Path, files: Sequence[str], revision: str | None) -> str:
            raise error

    return Failing("voices")


# ── what comes ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", [name for name, known in KNOWN.items() if known.kind != "separator"])
def test_what_is_fetched_is_found(name: str, tmp_path: Path) -> None:
    """After fetch jobs get the model, with its licence and languages; one file of the named commit was asked for."""
    known = KNOWN[name]
    hub = Hub(known.kind)
    made = fetch_companion(name, tmp_path, download=hub)
    assert hub.asked == [(known.repo, (known.file,), known.commit)]
    found = companions_in(None, tmp_path)
    assert found.all() == (made,)
    assert made.info.name == name
    assert made.info.version == known.commit[:12]
    if isinstance(made, AlignerModel):
        assert (made.record.languages, made.record.licence) == (known.languages, known.licence)
    else:
        assert (made.kind, made.licence) == (known.kind, known.licence)
    record = json.loads((tmp_path / name / RECORD).read_text())
    assert (record["repo"], record["commit"]) == (known.repo, known.commit)
    kept = {path.name for path in (tmp_path / name).iterdir()}
    assert kept == {RECORD, known.file} | ({"dropscribe-aligner.json"} if known.kind == "aligner" else set())
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_was_fetched_can_be_verified(tmp_path: Path) -> None:
    """A byte that changes later is found, and the model is the same revision as one that was copied by hand."""
    made = fetch_companion("titanet", tmp_path / "a", download=Hub("voices"))
    assert isinstance(made, Companion)
    assert damage(made) == ""
    by_hand = tmp_path / "b" / made.file
    by_hand.parent.mkdir()
    shutil.copy(Path(made.folder) / made.file, by_hand)
    copied = companions_in(None, tmp_path / "b").many
    assert copied is not None
    assert (copied.info.revision, copied.licence) == (made.info.revision, made.licence)
    body = bytearray((Path(made.folder) / made.file).read_bytes())
    body[-1] ^= 1
    (Path(made.folder) / made.file).write_bytes(body)
    assert "not the recorded checksum" in damage(made)


def test_a_fetched_model_is_not_fetched_again(tmp_path: Path) -> None:
    """The second fetch needs no network; another commit in its place is an error, not a swap."""
    hub = Hub("sortformer")
    first = fetch_companion("sortformer", tmp_path, download=hub)
    assert fetch_companion("sortformer", tmp_path, download=hub) == first
    assert fetch_companion(f"sortformer@{KNOWN['sortformer'].commit[:10]}", tmp_path, download=hub) == first
    assert len(hub.asked) == 1
    with pytest.raises(ModelUnavailable, match=f"not {OTHER}"):
        fetch_companion(f"sortformer@{OTHER}", tmp_path, download=hub)
    assert len(hub.asked) == 1


def test_another_commit_may_be_asked_for(tmp_path: Path) -> None:
    """name@commit is that commit; a hub that gives another one is not believed."""
    hub = Hub("voices")
    assert fetch_companion(f"titanet@{OTHER}", tmp_path, download=hub).info.version == OTHER[:12]
    assert hub.asked[0][2] == OTHER
    with pytest.raises(ModelUnavailable, match="gave the commit"):
        fetch_companion("sortformer", tmp_path, download=Hub("sortformer", commit=OTHER))


def test_a_broken_folder_is_replaced(tmp_path: Path) -> None:
    """Fetch mends a model that lacks its weights."""
    made = fetch_companion("titanet", tmp_path, download=Hub("voices"))
    assert isinstance(made, Companion)
    (Path(made.folder) / made.file).unlink()
    assert fetch_companion("titanet", tmp_path, download=Hub("voices")).info == made.info


def test_two_fetches_at_once_leave_one_model(tmp_path: Path) -> None:
    """Whoever comes second adopts the first one's folder."""

    class Overtaken(Hub):
        def __call__(self, repo: str, folder: Path, files: Sequence[str], revision: str | None) -> str:
            nemo(tmp_path / "titanet" / "mine.nemo", "voices", b"first")
            return super().__call__(repo, folder, files, revision)

    found = fetch_companion("titanet", tmp_path, download=Overtaken("voices"))
    assert isinstance(found, Companion)
    assert found.file == "mine.nemo"
    assert [path.name for path in tmp_path.iterdir()] == ["titanet"]


# ── what does not ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    """Where a repository's file became something else, nothing is left of it."""
    with pytest.raises(ModelUnavailable, match="cannot be used"):
        fetch_companion("sortformer", tmp_path, download=Hub("voices"))
    assert list(tmp_path.iterdir()) == []


def test_a_cut_off_download_is_no_model(tmp_path: Path) -> None:
    """What is half there is not chosen, and the next fetch goes on from it."""
    with pytest.raises(ModelUnavailable, match="titanet could not be fetched from nvidia/"):
        fetch_companion("titanet", tmp_path, download=failing(httpx.ReadTimeout("timed out")))
    assert companions_in(None, tmp_path).all() == ()
    assert [path.name for path in tmp_path.iterdir()] == ["titanet.partial"]
    assert fetch_companion("titanet", tmp_path, download=Hub("voices")).info.name == "titanet"


def test_a_full_disk_is_called_one(tmp_path: Path) -> None:
    """No space is not the network's fault."""
    with pytest.raises(OutOfSpace, match="no space"):
        fetch_companion("titanet", tmp_path, download=failing(OSError(errno.ENOSPC, "No space left on device")))


@pytest.mark.parametrize("name", ["large-v3", "nvidia/else", "", "../x", "demucs"])
def test_names_that_are_not_known(name: str, tmp_path: Path) -> None:
    """Only what is known to be usable is fetched by name; the error says what that is."""
    with pytest.raises(OptionsError) as raised:
        fetch_companion(name, tmp_path / "home", download=failing(AssertionError("asked the hub")))
    assert "aligner-en" in raised.value.hint
    assert not (tmp_path / "home").exists()


def test_the_whispers_fetch_names_them_too(tmp_path: Path) -> None:
    """Who mistypes a name is shown all that could be fetched."""
    with pytest.raises(OptionsError) as raised:
        fetch("sortfromer", tmp_path)
    assert "sortformer" in raised.value.hint


# ── what is known ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_known_forbids_commercial_use() -> None:
    """Each model that is fetched by name has a licence that is known and lets people earn money, and a whole commit."""
    for name, known in KNOWN.items():
        assert known.licence != UNKNOWN
        assert commercial(known.licence), name
        assert re.fullmatch(r"[0-9a-f]{40}", known.commit), name
        assert known_name(known.repo) == name
        assert (known.kind == "aligner") == bool(known.languages)
    assert not commercial(LICENCES["diar_sortformer_4spk-v1"])


# ── for real ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def fetched(name: str, server: HubServer, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ, "HF_ENDPOINT": server.url, "DROPSCRIBE_HOME": str(home), "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(home.parent / "hub"), "HF_HUB_OFFLINE": "0",
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "pipeline", "fetch", name], env=environment, capture_output=True, text=True, check=False
    )


def test_the_command_fetches_over_http(tmp_path: Path) -> None:
    """`python -m pipeline fetch` asks a hub for the one commit and file with the hub's own client, and says where it
    is; without that commit it fails in one line.
    """
    known = KNOWN["sortformer"]
    weights = nemo(tmp_path / "theirs.nemo", "sortformer").read_bytes()
    files = {known.file: weights, "other.gguf": b"x", "README.md": b"y"}
    with HubServer(known.commit, {known.repo: files}).serving() as server:
        told = fetched("sortformer", server, tmp_path / "home")
        assert told.returncode == 0, told.stderr
        assert f"is in {tmp_path / 'home' / 'sortformer'}" in told.stdout
        assert server.served == [f"/{known.repo}/resolve/{known.commit}/{known.file}"]
        found = companions_in(None, tmp_path / "home").few
        assert found is not None
        assert (Path(found.folder) / found.file).read_bytes() == weights
        failed = fetched("titanet", server, tmp_path / "home")
    assert failed.returncode == 1
    assert "titanet could not be fetched" in failed.stderr.splitlines()[-1]


@pytest.mark.heavy
def test_a_separator_is_converted(tmp_path: Path) -> None:
    """htdemucs comes as its authors publish it and lies there as the engine loads it, with the same revision as one
    that was converted by hand.
    """
    from pipeline.models.demucs import load_demucs
    from pipeline.models.demucs_convert import convert_demucs
    from tests.pipeline.demucs_rig import revision_of, tiny_net
    from tests.pipeline.test_demucs import as_on_the_hub

    published = as_on_the_hub(tiny_net(), tmp_path / "955717e8.safetensors")
    known = KNOWN["htdemucs"]
    with HubServer(known.commit, {known.repo: {known.file: published.read_bytes()}}).serving() as server:
        told = fetched("htdemucs", server, tmp_path / "home")
    assert told.returncode == 0, told.stderr
    found = companions_in(None, tmp_path / "home").separator
    assert found is not None
    assert (found.licence, found.file) == ("MIT", "model.safetensors")
    folder = Path(found.folder)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", RECORD, "model.safetensors"]
    convert_demucs(published, tmp_path / "by-hand")
    assert found.info.revision == revision_of(folder) == revision_of(tmp_path / "by-hand")
    load_demucs(folder).unload()
