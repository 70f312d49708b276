"""``dropscribe models`` and ``dropscribe doctor`` on models beside the recogniser: what there is, what is wrong, and
how it gets from here to there.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cli_rig import Cli, model_rows, one_line

from handler.cli.doctor.beside import companions
from handler.cli.doctor.finding import Context, Finding
from handler.cli.runtime import Runtime
from handler.errors import EXIT_UNAVAILABLE, EXIT_USAGE
from handler.settings import Settings
from pipeline.known import KNOWN
from tests.pipeline.companion_rig import aligner, cut, nemo, note, stock


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return stock(tmp_path / "home")


# ── list ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_list_shows_kinds_licences_and_sizes(cli: Cli, home: Path) -> None:
    """Models here and those that could be fetched, each with what it is for, its licence, languages and size."""
    found = model_rows(cli.json("models", "list"))
    for name, kind in (("htdemucs", "separator"), ("aligner-en", "aligner"), ("sortformer", "sortformer")):
        assert found[name, "local"]["kind"] == kind
        assert found[name, "local"]["folder"] == str(home / name)
    row = found["titanet", "local"]
    size = (home / "titanet" / "speakerverification_en_titanet_large.nemo").stat().st_size
    assert (row["kind"], row["licence"], row["size"], row["problem"]) == ("voices", "CC-BY-4.0", size, "")
    assert (found["aligner-en", "local"]["languages"], found["aligner-en", "local"]["backend"]) == ("en", "nemo")
    known = found["aligner-de", "hub"]
    assert (known["licence"], known["size"], known["languages"]) == ("CC-BY-4.0", KNOWN["aligner-de"].size, "de")
    assert found["sphinx", "package"]["kind"] == "recogniser"
    shown = cli("models", "list").stdout
    assert "separator" in shown
    assert "voices" in shown


def test_list_says_what_is_wrong(cli: Cli, home: Path) -> None:
    """A half copy and a file that nobody can use are shown with the reason and what to do; --verify ends with an error,
    also for one flipped bit.
    """
    cut(home / "htdemucs" / "model.safetensors")
    nemo(home / "stt_pt.nemo", "aligner")
    found = model_rows(cli.json("models", "list"))
    assert "bytes instead of" in found["htdemucs", "local"]["problem"]
    assert "dropscribe-aligner.json" in found["stt_pt", "local"]["problem"]
    assert found["htdemucs", "local"]["kind"] == "separator"
    result = cli("models", "list", "--verify")
    assert result.exit_code == EXIT_UNAVAILABLE
    assert "htdemucs" in one_line(result)


def test_list_verify_reads_every_byte(cli: Cli, home: Path, tmp_path: Path) -> None:
    """What was pushed has checksums: a bit that a disk turned over is found by --verify."""
    cli.json("models", "push", "sortformer", tmp_path / "share")
    cli.env["DROPSCRIBE_HOME"] = str(tmp_path / "share")
    assert cli("models", "list", "--verify").exit_code == 0
    (weights,) = (tmp_path / "share").glob("sortformer@*/*.nemo")
    body = bytearray(weights.read_bytes())
    body[len(body) // 2] ^= 1
    weights.write_bytes(body)
    result = cli("models", "list", "--verify")
    assert result.exit_code == EXIT_UNAVAILABLE
    assert "not the recorded checksum" in one_line(result)


# ── push and pull ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_models_go_through_a_bucket(s3_cli: tuple[Cli, str], home: Path) -> None:
    """Each kind, pushed here and pulled there, is the same revision; pushed again, nothing is sent; a list shows where
    it is.
    """
    cli, url = s3_cli
    before = {
        name: row["revision"]
        for (name, where), row in model_rows(cli.json("models", "list")).items()
        if "hub" not in where
    }
    names = ("htdemucs", "aligner-en", "sortformer", "titanet")
    for name in names:
        pushed = cli.json("models", "push", name, url)
        assert (pushed["revision"], pushed["already"]) == (before[name], False)
        assert cli.json("models", "push", name, url)["already"]
    assert model_rows(cli.json("models", "list", url))["titanet", "local,bucket"]["revision"] == before["titanet"]
    shutil.rmtree(home)
    listed = model_rows(cli.json("models", "list", url, "--verify"))
    assert listed["aligner-en", "bucket"]["languages"] == "en"
    assert listed["titanet", "bucket"]["licence"] == "CC-BY-4.0"
    for name in names:
        pulled = cli.json("models", "pull", name, "--from", url)
        assert (pulled["name"], pulled["revision"]) == (name, before[name])
    found = model_rows(cli.json("models", "list", "--verify"))
    assert {name: found[name, "local"]["revision"] for name in names} == {name: before[name] for name in names}


def test_a_folder_is_a_source_and_a_place(cli: Cli, home: Path, tmp_path: Path) -> None:
    """push and pull know folders, too; a model may be named by its path."""
    share = tmp_path / "share"
    pushed = cli.json("models", "push", home / "titanet", share)
    cli.env["DROPSCRIBE_HOME"] = str(tmp_path / "other")
    pulled = cli.json("models", "pull", "titanet", "--from", share)
    assert pulled["revision"] == pushed["revision"]
    assert Path(pulled["folder"]).parent == tmp_path / "other"


def test_troubles_are_one_line(s3_cli: tuple[Cli, str], home: Path) -> None:
    """What cannot be pushed or pulled says what to do."""
    cli, url = s3_cli
    cut(home / "htdemucs" / "model.safetensors")
    nemo(home / "two words.nemo", "voices")
    cli.json("models", "push", "titanet", url)
    for args, code, said in (
        (("push", "htdemucs", url), EXIT_UNAVAILABLE, "damaged"),
        (("push", "two words", url), EXIT_USAGE, "Rename"),
        (("push", "titanet@1234567", url), EXIT_UNAVAILABLE, "not 1234567"),
        (("pull", "sortformer", "--from", url), EXIT_UNAVAILABLE, "There is titanet"),
        (("pull", "titanet@1234567", "--from", url), EXIT_UNAVAILABLE, "not 1234567"),
    ):
        result = cli("models", *args)
        assert result.exit_code == code, (args, result.stderr)
        assert said in one_line(result), args


# ── doctor ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def check(home: Path, *lacking: str, **settings: Any) -> Finding:
    context = Context(settings=Settings(home=home, **settings), runtime=Runtime(), url=None)
    return companions(context, has=lambda package: package not in lacking)


def test_doctor_lists_them(home: Path) -> None:
    """Each part with its models, their languages and licences; nothing to do where all is there."""
    found = check(home)
    assert found.status == "ok"
    for said in (
        "htdemucs (licence unknown)",
        "aligner-en (en, CC-BY-4.0)",
        "sortformer (up to 4, CC-BY-4.0)",
        "titanet (any number",
    ):
        assert said in found.detail
    assert not found.advice
    assert {row["kind"] for row in found.data["models"]} == {"separator", "aligner", "sortformer", "voices"}


def test_doctor_says_how_to_have_them(tmp_path: Path) -> None:
    """With none it is no failure, and one command each brings them; what is switched off is not advised."""
    found = check(tmp_path)
    assert (found.status, found.detail.count("no model")) == ("ok", 3)
    for name in ("htdemucs", "aligner-en", "sortformer"):
        assert f"python -m pipeline fetch {name}" in found.advice
    off = check(tmp_path, diarizer="none")
    assert "switched off (DROPSCRIBE_DIARIZER=none)" in off.detail
    assert "fetch sortformer" not in off.advice


@pytest.mark.parametrize(
    ("lacking", "said"),
    [
        (("demucs",), "demucs is not installed: `pip install 'dropscribe[models]'`"),
        (("nemo", "torch"), "torch, nemo are not installed"),
    ],
)
def test_doctor_names_the_missing_extra(lacking: tuple[str, ...], said: str, home: Path) -> None:
    """Models whose library is not installed are of no use: that is a warning with the command that mends it."""
    found = check(home, *lacking)
    assert found.status == "warn"
    assert said in found.advice.replace("safetensors, ", "")


def test_doctor_needs_no_extra_for_nothing(home: Path) -> None:
    """A machine without a separator is not told to install one's library."""
    shutil.rmtree(home / "htdemucs")
    assert check(home, "demucs", "safetensors").status == "ok"


def test_doctor_says_what_is_wrong(home: Path) -> None:
    """What is passed over is named with the reason, and a licence that forbids commercial use, too."""
    cut(home / "sortformer" / "diar_streaming_sortformer_4spk-v2.nemo")
    aligner(home / "theirs", "pt", licence="CC-BY-NC-4.0")
    found = check(home)
    assert found.status == "warn"
    assert "sortformer" in found.advice
    assert "damaged" in found.advice
    assert "theirs has the licence CC-BY-NC-4.0, which forbids commercial use" in found.advice


def test_doctor_fails_for_a_name_that_is_not_there(cli: Cli, home: Path) -> None:
    """A setting that names a model which is not here would stop every worker: the check fails, in the command, too."""
    cli.env["DROPSCRIBE_ALIGNER"] = "aligner-pt"
    result = cli("doctor", "--json")
    assert result.exit_code == 1
    (found,) = [one for one in json.loads(result.stdout)["checks"] if one["name"] == "models beside"]
    assert found["status"] == "fail"
    assert "DROPSCRIBE_ALIGNER names 'aligner-pt'" in found["detail"]


def test_a_setting_that_cannot_be_is_a_usage_error(cli: Cli, home: Path, recording: Path) -> None:
    """A value that is no name is said with the setting, before anything starts."""
    cli.env["DROPSCRIBE_SEPARATOR"] = "none,htdemucs"
    result = cli("run", recording)
    assert result.exit_code == EXIT_USAGE
    assert "DROPSCRIBE_SEPARATOR" in one_line(result)


def test_a_worker_says_a_missing_name_at_once(cli: Cli, home: Path, bucket: Path) -> None:
    """A worker whose settings name a model that is not here takes no job and says so."""
    cli.env["DROPSCRIBE_DIARIZER"] = "sortformer"
    note(home / "sortformer", kind="voices")
    result = cli("work", bucket, "--drain")
    assert result.exit_code == EXIT_UNAVAILABLE
    assert "not of the kind voices" in one_line(result)
