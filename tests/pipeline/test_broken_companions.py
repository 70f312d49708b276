"""Models beside the recogniser that are broken: seen wherever the damage is, told by name, and never chosen."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from pipeline.beside import Companion, Problem, described, look
from pipeline.companions import Companions
from pipeline.records import Record
from tests.pipeline.companion_rig import cut, found_in, names, nemo, note, separator, stock

# ── what is broken ───────────────────────────────────────────────────────────────────────────────────────────────────


def half_separator(home: Path) -> None:
    cut(home / "htdemucs" / "model.safetensors")


def no_weights(home: Path) -> None:
    (home / "htdemucs" / "model.safetensors").unlink()


def half_sortformer(home: Path) -> None:
    note(home / "sortformer", kind="sortformer")
    cut(home / "sortformer" / "diar_streaming_sortformer_4spk-v2.nemo")


def unnamed_half_sortformer(home: Path) -> None:
    cut(home / "sortformer" / "diar_streaming_sortformer_4spk-v2.nemo")


def other_size(home: Path) -> None:
    found = look(home / "sortformer")
    assert isinstance(found, Companion)
    (home / "sortformer" / "dropscribe-companion.json").write_bytes(described(found).dump())
    nemo(home / "sortformer" / found.file, "sortformer", b"longer" * 10_000)


def half_aligner(home: Path) -> None:
    cut(home / "aligner-en" / "model.nemo")


def aligner_without_weights(home: Path) -> None:
    (home / "aligner-en" / "model.nemo").unlink()


def typing_error(home: Path) -> None:
    note(home / "sortformer", kind="sortformer", license="MIT")


def no_aligner(home: Path) -> None:
    nemo(home / "aligner-en" / "model.nemo", "voices")


def wrong_kind(home: Path) -> None:
    note(home / "sortformer", kind="voices")


@pytest.mark.parametrize(
    ("harm", "role", "part", "told"),
    [
        (half_separator, "separator", "separator", "bytes instead of"),
        (no_weights, "separator", "separator", "there is no model.safetensors"),
        (half_sortformer, "diarizer", "few", "damaged"),
        (unnamed_half_sortformer, "diarizer", "few", "damaged"),
        (other_size, "diarizer", "few", "not copied whole"),
        (half_aligner, "aligner", "aligners", "damaged"),
        (aligner_without_weights, "aligner", "aligners", "No such file"),
        (no_aligner, "aligner", "aligners", "cannot align words"),
        (typing_error, "diarizer", "few", "license"),
        (wrong_kind, "diarizer", "few", "not of the kind voices"),
    ],
)
def test_what_is_broken_is_never_chosen(harm: object, role: str, part: str, told: str, tmp_path: Path) -> None:
    """A half copy, a changed file or a wrong record is no model; the part says what is wrong, the others are there."""
    home = stock(tmp_path)
    harm(home)  # type: ignore[operator]
    found = found_in(home)
    assert names(found) == {
        "separator": "htdemucs", "aligners": "aligner-en", "few": "sortformer", "many": "titanet", part: None
    }  # fmt: skip
    assert len(found.problems) == 1
    message, hint = found.why_not(role)  # type: ignore[arg-type]
    assert told in message
    assert hint


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_every_cut_is_seen(share: float, tmp_path: Path) -> None:
    """Wherever a copy ended, a `.nemo` and a separator's weights are seen not to be whole."""
    home = stock(tmp_path)
    cut(home / "titanet" / "speakerverification_en_titanet_large.nemo", share)
    cut(home / "htdemucs" / "model.safetensors", share)
    assert names(found_in(home)) | {"aligners": None, "few": None} == dict.fromkeys(names(Companions()))


def test_archives_that_are_no_models_are_told(tmp_path: Path) -> None:
    """A `.nemo` without weights, one without a configuration, and what is no archive at all are problems by name."""
    with tarfile.open(tmp_path / "config-only.nemo", "w:") as tar:
        body = b"target: nemo.collections.asr.models.label_models.EncDecSpeakerLabelModel"
        member = tarfile.TarInfo("model_config.yaml")
        member.size = len(body)
        tar.addfile(member, io.BytesIO(body))
    with tarfile.open(tmp_path / "empty.nemo", "w:"):
        pass
    (tmp_path / "noise.nemo").write_bytes(b"no archive" * 400)
    found = found_in(tmp_path)
    assert found.all() == ()
    told = {problem.name: problem.message for problem in found.problems}
    assert set(told) == {"config-only", "empty", "noise"}
    assert "there is no model_weights.ckpt" in told["config-only"]
    assert "names a class" in told["empty"]


def test_an_aligner_without_its_languages_is_told(tmp_path: Path) -> None:
    """A CTC model that somebody dropped is not used, and its owner is told what it lacks."""
    nemo(tmp_path / "stt_pt.nemo", "aligner")
    found = found_in(tmp_path)
    assert found.aligners == ()
    message, hint = found.why_not("aligner")
    assert "which languages" in message
    assert "dropscribe-aligner.json" in hint


def test_another_class_is_told(tmp_path: Path) -> None:
    """A `.nemo` of a class that has no part here is no model, and no part speaks of it as of its own."""
    nemo(tmp_path / "tts.nemo", "nemo.collections.tts.models.FastPitchModel")
    [problem] = found_in(tmp_path).problems
    assert "FastPitchModel" in problem.message


# ── records ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "whisper"}, {"file": "../up.nemo"}, {"files": {"a/b": 1}}, {"format": 2}, {"files": {"a": -1}},
        {"files": {"a": 1}, "sha256": {"b": "0" * 64}}, {"file": "x", "files": {"y": 1}}, {"sha256": {"a": "no"}},
        {"files": {"dropscribe-companion.json": 1}},
    ],
)  # fmt: skip
def test_records_that_cannot_be_are_refused(fields: dict[str, object], tmp_path: Path) -> None:
    """File names become paths and checksums are trusted, so a record that is not consistent is a problem."""
    nemo(tmp_path / "mine" / "m.nemo", "voices")
    note(tmp_path / "mine", **fields)
    found = look(tmp_path / "mine")
    assert isinstance(found, Problem)
    assert "describes no model" in found.message


def test_the_record_of_a_model_is_the_same_bytes(tmp_path: Path) -> None:
    """Described twice, a model has the same record; read again it says the same."""
    found = look(separator(tmp_path / "htdemucs"))
    assert isinstance(found, Companion)
    record = described(found)
    assert record.dump() == described(found).dump()
    assert Record.model_validate_json(record.dump()) == record
    assert record.revision == found.info.revision
