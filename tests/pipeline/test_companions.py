"""Which models beside the recogniser jobs get: what lies there says what it is, and what is broken is never chosen."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from pipeline.aligners import AlignerModel
from pipeline.beside import Companion, check_unchanged, damage, described, file_of, look
from pipeline.companions import Choice, Companions, companions_in
from pipeline.errors import ModelUnavailable, WeightsChanged
from tests.pipeline.companion_rig import aligner, cut, found_in, names, nemo, note, separator, stock
from tests.pipeline.demucs_rig import revision_of

MODELS = Path(__file__).parents[1] / "models"


# ── what lies there ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_weights_say_what_they_are(tmp_path: Path) -> None:
    """Folders of each kind are found by what is in them, with no record that anybody wrote."""
    found = found_in(stock(tmp_path))
    assert names(found) == {
        "separator": "htdemucs", "aligners": "aligner-en", "few": "sortformer", "many": "titanet"
    }  # fmt: skip
    assert found.few is not None
    assert (found.few.folder, found.few.file) == (
        str(tmp_path / "sortformer"), "diar_streaming_sortformer_4spk-v2.nemo"
    )  # fmt: skip
    assert (found.problems, found.off) == ((), ())


def test_a_download_may_lie_there_as_it_is(tmp_path: Path) -> None:
    """Bare `.nemo` files, alone or several in a folder, are models under their own names; known ones have a licence."""
    nemo(tmp_path / "diar_streaming_sortformer_4spk-v2.nemo", "sortformer")
    nemo(tmp_path / "both" / "mine.nemo", "voices")
    nemo(tmp_path / "both" / "yours.nemo", "sortformer", b"other")
    found = found_in(tmp_path)
    assert found.few is not None
    assert found.many is not None
    assert (found.few.name, found.few.licence) == ("diar_streaming_sortformer_4spk-v2", "CC-BY-4.0")
    assert (found.many.name, found.many.folder, found.many.file) == ("mine", str(tmp_path / "both"), "mine.nemo")
    assert found_in(tmp_path, diarizer="yours").few is not None


def test_compressed_files_are_read(tmp_path: Path) -> None:
    """A `.nemo` that is compressed, as older ones are, is what its configuration says."""
    nemo(tmp_path / "a.nemo", "voices", mode="w:gz")
    assert names(found_in(tmp_path))["many"] == "a"


def test_what_is_none_of_these_is_nobodys(tmp_path: Path, fixed_whisper: Path) -> None:
    """Whispers, models of other programs, half downloads, hidden folders and other revisions are passed over."""
    shutil.copytree(fixed_whisper, tmp_path / "small")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"architectures": ["Whisper"]}')
    (tmp_path / "other" / "model.safetensors").write_bytes(b"x")
    for name in ("htdemucs.partial", ".htdemucs.old1", "htdemucs@0123456789abcdef"):
        separator(tmp_path / name)
    (tmp_path / "notes.txt").write_text("")
    assert found_in(tmp_path) == Companions()


def test_no_folder_is_no_model(tmp_path: Path) -> None:
    """On a machine without a folder of models there are none, and every part says how to have one."""
    found = companions_in(str(tmp_path / "gone"), tmp_path / "none")
    assert found == Companions()
    for role in ("separator", "aligner", "diarizer"):
        message, hint = found.why_not(role)  # type: ignore[arg-type]
        assert "on this machine" in message
        assert "python -m pipeline fetch" in hint


def test_the_setting_hides_the_home(tmp_path: Path) -> None:
    """A model of the folder that DROPSCRIBE_MODELS names goes before one of its name in the home; a broken one
    does not.
    """
    ours, home = tmp_path / "ours", tmp_path / "home"
    separator(ours / "htdemucs", b"ours")
    separator(home / "htdemucs", b"home")
    found = companions_in(str(ours), home).separator
    assert found is not None
    assert found.folder == str(ours / "htdemucs")
    cut(ours / "htdemucs" / "model.safetensors")
    found = companions_in(str(ours), home).separator
    assert found is not None
    assert found.folder == str(home / "htdemucs")


def test_a_link_is_what_it_points_to(tmp_path: Path) -> None:
    """A name that is a link gives the folder behind it: another revision that the link gets later is not mixed in."""
    separator(tmp_path / "htdemucs@0123456789abcdef")
    (tmp_path / "htdemucs").symlink_to("htdemucs@0123456789abcdef")
    found = found_in(tmp_path).separator
    assert found is not None
    assert (found.name, found.folder) == ("htdemucs", str(tmp_path / "htdemucs@0123456789abcdef"))


def test_the_tests_own_models_are_found() -> None:
    """The tiny separator and aligner of the real classes are what they are."""
    found = found_in(MODELS)
    assert found.separator is not None
    assert (found.separator.name, found.separator.info.arch) == ("tiny-demucs", "htdemucs")
    assert found.separator.info.revision == revision_of(MODELS / "tiny-demucs")
    assert [one.info.name for one in found.aligners] == ["tiny-aligner"]
    assert not found.problems


# ── who they are ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_revision_is_of_the_weights(tmp_path: Path) -> None:
    """The same weights are the same revision wherever they lie and whatever licence is noted; other ones of the same
    size are another.
    """
    first = look(nemo(tmp_path / "a.nemo", "voices", b"1" * 99))
    nemo(tmp_path / "b" / "c.nemo", "voices", b"1" * 99)
    note(tmp_path / "b", licence="MIT")
    second, third = look(tmp_path / "b"), look(nemo(tmp_path / "d.nemo", "voices", b"2" * 99))
    assert isinstance(first, Companion)
    assert isinstance(second, Companion)
    assert isinstance(third, Companion)
    assert first.info.revision == second.info.revision != third.info.revision
    assert second.licence == "MIT"


def test_a_record_vouches_until_a_file_is_younger(tmp_path: Path) -> None:
    """Checksums on record are believed, so that gigabytes are not hashed; after a change they are not."""
    folder = separator(tmp_path / "htdemucs")
    found = look(folder)
    assert isinstance(found, Companion)
    record = described(found)
    lying = record.model_copy(update={"sha256": dict.fromkeys(record.sha256, "0" * 64)})
    (folder / "dropscribe-companion.json").write_bytes(lying.dump())
    believed = look(folder)
    assert isinstance(believed, Companion)
    assert believed.info.revision == lying.revision != found.info.revision
    assert "not the recorded checksum" in damage(believed)
    later = (folder / "dropscribe-companion.json").stat().st_mtime_ns + 10**9
    os.utime(folder / "model.safetensors", ns=(later, later))
    assert look(folder) == found


def test_weights_that_change_under_a_worker_are_noticed(tmp_path: Path) -> None:
    """What is loaded is what the job was planned with: other weights of the same size are an error, and so are none."""
    for one in found_in(stock(tmp_path)).all():
        check_unchanged(one)
        weights = Path(one.folder) / file_of(one)
        body = bytearray(weights.read_bytes())
        body[len(body) // 2] ^= 1
        weights.write_bytes(body)
        with pytest.raises(WeightsChanged, match=one.info.revision[:12]):
            check_unchanged(one)
        weights.unlink()
        with pytest.raises(ModelUnavailable, match="cannot be read"):
            check_unchanged(one)


def test_a_job_is_planned_alike_from_its_record(tmp_path: Path) -> None:
    """What a job's record keeps says no folder, and has the same revisions and languages when it is read again."""
    found = found_in(stock(tmp_path))
    kept = found.on_record()
    assert str(tmp_path) not in json.dumps(kept)
    again = Companions.model_validate(kept)
    assert [one.info for one in again.all()] == [one.info for one in found.all()]
    assert again.aligners[0].record == found.aligners[0].record
    assert Companions().on_record() == {}
    (tmp_path / "aligner-en" / "model.nemo").unlink()
    broken = found_in(tmp_path)
    assert Companions.model_validate(broken.on_record()).broken("aligner")
    assert str(tmp_path) not in json.dumps(broken.on_record())
    assert Companions.model_validate(found.model_dump(mode="json")) == found


# ── which one is chosen ──────────────────────────────────────────────────────────────────────────────────────────────


def test_licences_decide_first(tmp_path: Path) -> None:
    """Commercial use is allowed goes before nobody knows, and that before it is forbidden; then known names, then the
    alphabet.
    """
    order = []
    nemo(tmp_path / "diar_sortformer_4spk-v1.nemo", "sortformer")  # known to be CC-BY-NC
    for name, licence in (("a", ""), ("c", "CC-BY-4.0"), ("b", "CC-BY-4.0"), ("sortformer", "CC-BY-4.0")):
        nemo(tmp_path / name / "model.nemo", "sortformer", name.encode())
        note(tmp_path / name, licence=licence)
    while (best := found_in(tmp_path).few) is not None:
        order.append(best.name)
        shutil.rmtree(best.folder) if best.folder != str(tmp_path) else (tmp_path / best.file).unlink()
    assert order == ["sortformer", "b", "c", "a", "diar_sortformer_4spk-v1"]


def test_none_switches_off(tmp_path: Path) -> None:
    """A part that is switched off has no model, says so, and counts no others out."""
    found = found_in(stock(tmp_path), separator="none", diarizer="none")
    assert names(found) == {"separator": None, "aligners": "aligner-en", "few": None, "many": None}
    assert found.off == ("separator", "diarizer")
    assert "DROPSCRIBE_DIARIZER" in found.why_not("diarizer")[0]
    cut(tmp_path / "aligner-en" / "model.nemo")
    assert found_in(tmp_path, aligner="none").problems == ()
    assert found_in(tmp_path).broken("aligner")


def test_names_choose(tmp_path: Path) -> None:
    """Named models alone are chosen: one diarizer means no other kind, two mean both."""
    home = stock(tmp_path)
    aligner(home / "own", "en", "pt")
    nemo(home / "other.nemo", "sortformer")
    assert names(found_in(home, diarizer="titanet")) | {"separator": 1} == {
        "separator": 1, "aligners": "aligner-en,own", "few": None, "many": "titanet"
    }  # fmt: skip
    found = found_in(home, diarizer="other, titanet", aligner="own")
    assert names(found) == {"separator": "htdemucs", "aligners": "own", "few": "other", "many": "titanet"}


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ({"separator": "mine"}, "'mine', which is not on this machine"),
        ({"aligner": "aligner-de"}, "python -m pipeline fetch aligner-de"),
        ({"diarizer": "htdemucs"}, "a model for another part"),
        ({"diarizer": "sortformer"}, "damaged"),
    ],
)
def test_a_chosen_model_that_is_not_there_is_an_error(choice: dict[str, str], told: str, tmp_path: Path) -> None:
    """Who names a model never gets jobs without it, nor another one, in silence."""
    home = stock(tmp_path)
    cut(home / "sortformer" / "diar_streaming_sortformer_4spk-v2.nemo")
    with pytest.raises(ModelUnavailable) as raised:
        found_in(home, **choice)
    assert told in f"{raised.value.message} {raised.value.hint}"


@pytest.mark.parametrize("value", ["", "auto,none", "a/b", "none,x", "..", "x y"])
def test_settings_that_cannot_be_are_refused(value: str) -> None:
    """A setting is auto, none, or names: everything else is said at once."""
    with pytest.raises(ValueError, match="auto, none, or names"):
        Choice(separator=value)


def test_several_aligners_are_all_there(tmp_path: Path) -> None:
    """A job's language is not known yet, so all aligners come along."""
    for language in ("en", "de", "es"):
        aligner(tmp_path / f"aligner-{language}", language)
    found = found_in(tmp_path)
    assert [one.record.languages for one in found.aligners] == [("de",), ("en",), ("es",)]
    assert all(isinstance(one, AlignerModel) for one in found.aligners)
