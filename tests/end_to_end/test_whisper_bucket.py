"""Whisper from a folder of models, through a bucket and through ``dropscribe run``; and how a model is chosen."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from handler.cli import main
from handler.errors import EXIT_UNAVAILABLE
from pipeline.errors import ModelUnavailable
from tests.deepgram_contract import check_result
from tests.end_to_end import recordings
from tests.end_to_end.bucket_rig import Rig, transcript_of, warnings_of, words_of
from tests.pipeline import media

MakeRig = Callable[..., Rig]


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 s of English: ``Alpha Bravo.``"""
    return media.write_audio(tmp_path_factory.mktemp("steady") / "steady.flac", recordings.steady(3.0), codec="flac")


@pytest.fixture(scope="module")
def two_channels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """English on the left, German on the right, which begins a second later."""
    left, right = recordings.steady(3.0)[0], recordings.steady(3.0, high=True)[0]
    sound = np.zeros((2, len(left) + recordings.RATE))
    sound[0, : len(left)], sound[1, recordings.RATE :] = left, right
    return media.write_audio(tmp_path_factory.mktemp("stereo") / "stereo.wav", sound)


def model_of(result: dict[str, Any]) -> dict[str, Any]:
    [info] = result["metadata"]["model_info"].values()
    found: dict[str, Any] = info
    return found


# ── what is heard ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_punctuation_paragraphs_utterances(make_rig: MakeRig, tmp_path: Path) -> None:
    """Whisper's own case and punctuation come out, as words, sentences, paragraphs and utterances with a pause."""
    rig = make_rig()
    rig.drop("a.flac", media.write_audio(tmp_path / "a.flac", recordings.steady(3.0, again_at=28.5), codec="flac"))
    rig.drain()
    result = rig.result("a.flac")
    words = words_of(result)
    assert [word["word"] for word in words] == ["alpha", "bravo", "alpha", "bravo"]
    assert [word["punctuated_word"] for word in words] == ["Alpha", "Bravo.", "Alpha", "Bravo."]
    assert words[0]["start"] == pytest.approx(0.0, abs=0.2)
    assert words[2]["start"] == pytest.approx(28.5, abs=0.5)
    paragraphs = result["results"]["channels"][0]["alternatives"][0]["paragraphs"]
    sentences = [sentence["text"] for one in paragraphs["paragraphs"] for sentence in one["sentences"]]
    assert sentences == ["Alpha Bravo.", "Alpha Bravo."]
    assert "".join(one["transcript"] + " " for one in result["results"]["utterances"]).split() == [
        word["punctuated_word"] for word in words
    ]
    assert model_of(result)["arch"] == "whisper"
    assert warnings_of(result) == set()


def test_windows_are_filled(folder_rig: Rig, tmp_path: Path) -> None:
    """What is said twice within 30 s goes through the encoder once: this Whisper says more of a longer window."""
    path = media.write_audio(tmp_path / "a.flac", recordings.steady(3.0, again_at=10.0), codec="flac")
    folder_rig.drop("a.flac", path)
    folder_rig.drain()
    assert transcript_of(folder_rig.result("a.flac")).startswith("Alpha Bravo. Charlie Delta, Echo")


def test_without_punctuation(folder_rig: Rig, steady: Path) -> None:
    """With punctuate off there are bare words alone, and no paragraphs."""
    folder_rig.drop("steady.flac", steady, sidecar={"punctuate": False})
    folder_rig.drain()
    result = folder_rig.result("steady.flac")
    assert transcript_of(result) == "alpha bravo"
    assert "punctuated_word" not in words_of(result)[0]
    assert "paragraphs" not in result["results"]["channels"][0]["alternatives"][0]


def test_each_channel_in_its_own_language(make_rig: MakeRig, two_channels: Path) -> None:
    """Multichannel with detect_language: each channel has its own words, times and language."""
    rig = make_rig()
    rig.drop("stereo.wav", two_channels, sidecar={"multichannel": True, "detect_language": True})
    rig.drain()
    result = rig.result("stereo.wav")
    assert result["metadata"]["channels"] == 2
    channels = result["results"]["channels"]
    assert [channel["detected_language"] for channel in channels] == ["en", "de"]
    assert all(0.5 < channel["language_confidence"] <= 1 for channel in channels)
    assert transcript_of(result, 0).startswith("Alpha Bravo")
    assert transcript_of(result, 1).startswith("Alpha Bravo")
    assert words_of(result, 1)[0]["start"] - words_of(result, 0)[0]["start"] == pytest.approx(1.0, abs=0.3)
    assert {utterance["channel"] for utterance in result["results"]["utterances"]} == {0, 1}


def test_a_mix_without_multichannel(folder_rig: Rig, two_channels: Path) -> None:
    """Without multichannel the channels are mixed, and the result counts one."""
    folder_rig.drop("stereo.wav", two_channels)
    folder_rig.drain()
    result = folder_rig.result("stereo.wav")
    assert result["metadata"]["channels"] == 1
    assert "detected_language" not in result["results"]["channels"][0]


# ── without a bucket ─────────────────────────────────────────────────────────────────────────────────────────────────


def run(*args: str | Path, **env: str | Path) -> Result:
    """``dropscribe run ARGS`` with the real engine."""
    given = {name: str(value) for name, value in env.items()}
    return CliRunner(env=given).invoke(main, ["run", *(str(arg) for arg in args)])


def test_the_command_gives_what_the_bucket_gives(
    folder_rig: Rig, fixed_whisper: Path, two_channels: Path, tmp_path: Path
) -> None:
    """``dropscribe run`` writes the same results as a worker does, for the same bytes and options."""
    output = tmp_path / "out.json"
    done = run(
        two_channels,
        "-o",
        output,
        *("--option", "multichannel=true", "--option", "detect_language=true", "--option", "tag=a"),
        DROPSCRIBE_MODELS=fixed_whisper.parent,
        DROPSCRIBE_HOME=tmp_path / "home",
        DROPSCRIBE_WORK_DIR=tmp_path / "work",
    )
    assert done.exit_code == 0, done.stderr
    alone = check_result(output.read_bytes())
    folder_rig.drop("a.wav", two_channels, sidecar={"multichannel": True, "detect_language": True, "tag": "a"})
    folder_rig.drain()
    dropped = folder_rig.result("a.wav")
    assert alone["results"] == dropped["results"]
    own = {"request_id", "created"}
    for name in alone["metadata"].keys() - own:
        assert alone["metadata"][name] == dropped["metadata"][name], name
    assert list((tmp_path / "work").glob("run-*")) == []


def test_a_transcript_for_people(fixed_whisper: Path, steady: Path, tmp_path: Path) -> None:
    """``dropscribe run --model FOLDER`` prints what was said, with its punctuation, and no more."""
    done = run(
        steady, "--model", fixed_whisper, DROPSCRIBE_HOME=tmp_path / "home", DROPSCRIBE_WORK_DIR=tmp_path / "work"
    )
    assert done.exit_code == 0, done.stderr
    assert done.stdout.split() == ["Alpha", "Bravo."]


# ── which model ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_model_of_deepgrams(folder_rig: Rig, steady: Path) -> None:
    """nova-3 runs on the Whisper that is there, and the result says so."""
    folder_rig.drop("a.flac", steady, sidecar={"model": "nova-3"})
    folder_rig.drain()
    result = folder_rig.result("a.flac")
    assert model_of(result)["name"] == "fixed-whisper"
    assert warnings_of(result) == {"unsupported_model"}
    [warning] = result["metadata"]["warnings"]
    assert "nova-3" in warning["message"]
    assert transcript_of(result) == "Alpha Bravo."


def test_auto_without_weights_is_sphinx_and_says_so(make_rig: MakeRig, speech: Path) -> None:
    """With nothing named, configured or on disk, sphinx writes the transcript; model_info and a warning tell."""
    rig = make_rig(models=None)
    rig.drop("a.flac", speech)
    rig.drop("nova.flac", speech, sidecar={"model": "nova-3"})
    rig.drain()
    result = rig.result("a.flac")
    assert (model_of(result)["name"], model_of(result)["arch"]) == ("sphinx", "pocketsphinx")
    assert warnings_of(result) == {"fallback_model", "unsupported_model"}  # the latter: it does not punctuate
    assert {warning["parameter"] for warning in result["metadata"]["warnings"]} == {"model", "punctuate"}
    told = [warning["message"] for warning in rig.result("nova.flac")["metadata"]["warnings"]]
    assert any("nova-3" in message for message in told)
    assert any("No Whisper weights" in message for message in told)


def test_sphinx_by_name_is_no_fallback(folder_rig: Rig, speech: Path) -> None:
    """Who names sphinx gets it, beside Whisper's weights, without being told that it was a last resort."""
    folder_rig.drop("a.flac", speech, sidecar={"model": "sphinx"})
    folder_rig.drain()
    result = folder_rig.result("a.flac")
    assert model_of(result)["name"] == "sphinx"
    assert "fallback_model" not in warnings_of(result)


def test_auto_takes_the_whisper_that_was_fetched(
    make_folder_rig: MakeRig, fixed_whisper: Path, steady: Path, tmp_path: Path
) -> None:
    """Weights in the home folder are enough for auto never to take sphinx."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "tiny").symlink_to(fixed_whisper)
    rig = make_folder_rig(models=None)
    rig.drop("a.flac", steady)
    rig.drain()
    result = rig.result("a.flac")
    assert (model_of(result)["name"], model_of(result)["arch"]) == ("tiny", "whisper")
    assert warnings_of(result) == set()


def test_a_configured_source_without_weights_stops_the_worker(
    make_folder_rig: MakeRig, speech: Path, tmp_path: Path
) -> None:
    """Where models are configured and missing, nothing is claimed, nothing settled, and never does sphinx step in."""
    (tmp_path / "none").mkdir()
    rig = make_folder_rig(models=str(tmp_path / "none"))
    rig.drop("a.flac", speech)
    with pytest.raises(ModelUnavailable):
        rig.worker.sweep()
    assert rig.keys("results/") == rig.keys("errors/") == rig.keys(".dropscribe/v1/jobs/") == []
    assert rig.settled() == 0
    env = {"DROPSCRIBE_MODELS": str(tmp_path / "none"), "DROPSCRIBE_HOME": str(tmp_path / "home")}
    refused = CliRunner(env=env).invoke(main, ["work", str(tmp_path / "bucket"), "--drain"])
    assert refused.exit_code == EXIT_UNAVAILABLE
    assert len(refused.stderr.splitlines()) == 1


def test_weights_that_do_not_load(make_folder_rig: MakeRig, fixed_whisper: Path, speech: Path, tmp_path: Path) -> None:
    """A model of the worker's own that is damaged gives the job back uncharged and ends the worker; the next one, with
    whole weights, finishes it.
    """
    broken = tmp_path / "models" / "broken"
    broken.mkdir(parents=True)
    for file in fixed_whisper.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    whole = (broken / "model.bin").read_bytes()
    (broken / "model.bin").write_bytes(whole[: len(whole) // 2])
    rig = make_folder_rig(models=str(broken.parent))
    rig.drop("a.flac", speech)
    with pytest.raises(ModelUnavailable):
        rig.worker.sweep()
    assert rig.settled() == 0
    [job] = rig.keys(".dropscribe/v1/jobs/")
    assert json.loads(rig.read(f".dropscribe/v1/jobs/{job}") or b"")["attempts"] == 0
    (broken / "model.bin").write_bytes(whole)
    rig.new_worker()
    rig.drain()
    assert transcript_of(rig.result("a.flac")) == "Alpha Bravo."
